//! A plot axis: its range, and ticks at round numbers.

/// A linear map from values to pixels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// An axis between two pixels whose range covers all finite `values`, widened to round numbers.
    pub(crate) fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| {
            (l.min(x), h.max(x))
        });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // A single value gets a range of width 1.
        let width = if high - low > 1e-9 * high.abs().max(1.0) {
            high - low
        } else {
            1.0
        };
        let step = round_step(width / 5.0);
        let low = (low / step + 1e-9).floor() * step;
        let high = ((high / step - 1e-9).ceil() * step).max(low + step);
        Self {
            low,
            high,
            from,
            to,
            step,
        }
    }

    /// The position of a value, in pixels.
    pub(crate) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The ticks: value and label.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let tick = |i| {
            let value = self.low + i as f64 * self.step;
            // Negative zero would be printed with its sign.
            let value = if value.abs() < self.step * 1e-6 {
                0.0
            } else {
                value
            };
            (value, format!("{value:.decimals$}").replace('-', "−"))
        };
        (0..=count).map(tick).collect()
    }
}

/// The next larger round number: 1, 2 or 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| f * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        for (values, labels) in [
            (vec![0.0, 1.27], vec!["0.0", "0.5", "1.0", "1.5"]),
            (
                vec![0.37, 0.55],
                vec!["0.35", "0.40", "0.45", "0.50", "0.55"],
            ),
            (vec![-3.0, 4.2], vec!["−4", "−2", "0", "2", "4", "6"]),
            (vec![2.0], vec!["2.0", "2.2"]),
            (vec![], vec!["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ] {
            let axis = Axis::new(values.iter().copied(), 0.0, 100.0);
            let shown: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
            assert_eq!(shown, labels);
            for value in values {
                assert!((-1e-9..=100.0 + 1e-9).contains(&axis.at(value)));
            }
        }
    }

    #[test]
    fn the_first_pixel_may_be_the_larger() {
        let axis = Axis::new([0.0, 1.0].into_iter(), 300.0, 100.0);
        assert_eq!((axis.at(0.0), axis.at(1.0)), (300.0, 100.0));
    }
}
