//! Parses numbers in a range.

pub(super) fn from_zero(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("must be a number from 0".into())
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match from_zero(text)? {
        0.0 => Err("must be a positive number".into()),
        number => Ok(number),
    }
}
