//! AdamW in one pass over the parameters.

use crate::{AdamWStep, Trained, WeightDecay};
use rayon::prelude::*;

/// Work is cut into pieces of this many floats for any number of threads, so that sums do not depend on it.
const CHUNK: usize = 1 << 14;

/// Σx², summed in f64 over fixed chunks in order.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let chunk = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    x.par_chunks(CHUNK)
        .map(chunk)
        .collect::<Vec<_>>()
        .into_iter()
        .sum()
}

/// The numbers of one step that do not depend on the parameter.
struct Step {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    scale: f32,
    /// lr / (1 − β₁ᵗ)
    rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    root: f32,
}

/// One step over all `trained` parameters, which also sets their gradients to zero. `moments` are the first and
/// the second moments, laid out like the gradients.
///
/// # Panics
/// If a parameter is beyond its buffers.
pub fn adamw_step(
    AdamWStep {
        adamw,
        number,
        learning_rate,
        gradient_scale,
    }: AdamWStep<'_>,
    trained: &[Trained],
    weights: &mut [f32],
    gradients: &mut [f32],
    [first, second]: [&mut [f32]; 2],
) {
    let t = number as f64;
    let step = Step {
        beta1: adamw.beta1 as f32,
        beta2: adamw.beta2 as f32,
        epsilon: adamw.epsilon as f32,
        scale: gradient_scale as f32,
        rate: (learning_rate / (1.0 - adamw.beta1.powf(t))) as f32,
        root: (1.0 / (1.0 - adamw.beta2.powf(t)).sqrt()) as f32,
    };
    for parameter in trained {
        let keep = match parameter.decay {
            WeightDecay::Yes => (1.0 - learning_rate * adamw.weight_decay) as f32,
            WeightDecay::No => 1.0,
        };
        let start = parameter.gradients;
        let range = start..start + parameter.weights.len();
        weights[parameter.weights.clone()]
            .par_chunks_mut(CHUNK)
            .zip(gradients[range.clone()].par_chunks_mut(CHUNK))
            .zip(first[range.clone()].par_chunks_mut(CHUNK))
            .zip(second[range].par_chunks_mut(CHUNK))
            .for_each(|(((w, g), m), v)| step.apply(keep, w, g, m, v));
    }
}

impl Step {
    fn apply(&self, keep: f32, w: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let gradient = *g * self.scale;
            *m = self.beta1 * *m + (1.0 - self.beta1) * gradient;
            *v = self.beta2 * *v + (1.0 - self.beta2) * gradient * gradient;
            *w = *w * keep - self.rate * *m / (v.sqrt() * self.root + self.epsilon);
            *g = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdamW;

    /// Against the formula in f64, three steps, decayed and not.
    #[test]
    fn follows_the_formula() {
        let adamw = AdamW {
            weight_decay: 0.1,
            ..AdamW::default()
        };
        // There is a gap between the weights of the two parameters, and none between their gradients.
        let trained = [(0..2, 0, WeightDecay::Yes), (4..5, 2, WeightDecay::No)];
        let trained = trained.map(|(weights, gradients, decay)| Trained {
            weights,
            gradients,
            decay,
        });
        let mut weights = [1.0, -2.0, 7.0, 7.0, 0.5];
        let (mut first, mut second) = ([0.0; 3], [0.0; 3]);
        let (mut w, mut m, mut v) = ([1.0f64, -2.0, 0.5], [0.0f64; 3], [0.0f64; 3]);
        for t in 1..=3 {
            let g = [0.3 * f64::from(t), -0.1, 2.0];
            let mut gradients = g.map(|g| g as f32);
            let step = AdamWStep {
                adamw: &adamw,
                number: t as u64,
                learning_rate: 0.01,
                gradient_scale: 0.5,
            };
            let moments = [&mut first[..], &mut second[..]];
            adamw_step(step, &trained, &mut weights, &mut gradients, moments);
            for i in 0..3 {
                let g = 0.5 * g[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (
                    m[i] / (1.0 - 0.9f64.powi(t)),
                    v[i] / (1.0 - 0.999f64.powi(t)),
                );
                let decay = if i < 2 { 0.1 } else { 0.0 };
                w[i] = w[i] * (1.0 - 0.01 * decay) - 0.01 * mh / (vh.sqrt() + 1e-8);
            }
            assert_eq!(sum_of_squares(&gradients), 0.0);
        }
        for (got, want) in [weights[0], weights[1], weights[4]].iter().zip(w) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
        assert_eq!(weights[2..4], [7.0; 2]);
    }
}
