//! log σ, the log-probability of a preference given a difference of rewards.

use crate::Result;
use rlhf_tensor::Tensor;

/// log σ(x) = −log(1 + e⁻ˣ), elementwise: the log-probability of a preference under Bradley and
/// Terry (1952) whose reward difference is x, nats. Finite for every finite x. Its gradient is σ(−x)
/// everywhere, including ½ at 0, where every preference loss starts.
///
/// # Errors
/// If a tensor operation fails.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    let size = x.abs()?;
    // candle's derivative of |x| at 0 is +1; it cancels in (|x| − x)/2, which a relu would not do.
    let negative_part = ((&size - x)? * 0.5)?;
    Ok((negative_part + (size.neg()?.exp()? + 1.0)?.log()?)?.neg()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Device, Var};

    #[test]
    fn values_and_gradients_are_exact_over_the_whole_range() {
        let points = [-1e30f64, -500.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 30.0, 1e30];
        let x = Var::new(&points, &Device::Cpu).unwrap();
        let y = log_sigmoid(&x).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec1::<f64>().unwrap();
        for (i, (&x, y)) in points.iter().zip(y.to_vec1::<f64>().unwrap()).enumerate() {
            let exact = x.min(0.0) - (-x.abs()).exp().ln_1p();
            assert!(
                (y - exact).abs() <= 1e-12 * exact.abs().max(1.0),
                "{x}: {y}"
            );
            let slope = 1.0 / (1.0 + x.exp());
            assert!((gradient[i] - slope).abs() < 1e-12, "{x}: {}", gradient[i]);
        }
    }

    #[test]
    fn the_gradient_at_zero_is_exactly_one_half() {
        for zero in [0f32, -0.0] {
            let x = Var::new(&[zero], &Device::Cpu).unwrap();
            let gradients = log_sigmoid(&x).unwrap().backward().unwrap();
            assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.5]);
        }
    }
}
