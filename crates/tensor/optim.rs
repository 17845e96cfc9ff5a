//! AdamW in one pass over the parameters.

use crate::Decay;
use crate::cpu::Buffer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Work is cut into pieces of this many floats, whatever the thread count, so that sums do not
/// depend on it.
const CHUNK: usize = 1 << 14;

/// AdamW's constants (Kingma & Ba 2014; decoupled decay: Loshchilov & Hutter 2017), as PyTorch
/// places them: θ ← θ(1 − lr·decay) − lr·m̂/(√v̂ + ε).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to √v̂.
    pub epsilon: f64,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// The optimizer's state: the step count and the two moments, laid out as the parameters are.
#[derive(Debug)]
pub struct Moments {
    /// Steps taken.
    pub steps: u64,
    /// First moments.
    pub first: Buffer,
    /// Second moments.
    pub second: Buffer,
}

impl Moments {
    pub(crate) fn new(length: usize) -> Self {
        Self {
            steps: 0,
            first: Buffer::zeroed(length),
            second: Buffer::zeroed(length),
        }
    }
}

/// Σx², summed in f64 over fixed chunks in order.
pub(crate) fn sum_of_squares(x: &[f32]) -> f64 {
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

/// One AdamW step over all of `groups`, clearing the gradients as it goes.
pub(crate) fn step(
    adamw: &AdamW,
    learning_rate: f64,
    gradient_scale: f64,
    groups: impl Iterator<Item = (Range<usize>, Decay)>,
    weights: &mut [f32],
    gradients: &mut [f32],
    moments: &mut Moments,
) {
    moments.steps += 1;
    let t = moments.steps as f64;
    let step = Step {
        beta1: adamw.beta1 as f32,
        beta2: adamw.beta2 as f32,
        epsilon: adamw.epsilon as f32,
        scale: gradient_scale as f32,
        rate: (learning_rate / (1.0 - adamw.beta1.powf(t))) as f32,
        root: (1.0 / (1.0 - adamw.beta2.powf(t)).sqrt()) as f32,
    };
    for (range, decay) in groups {
        let keep = match decay {
            Decay::Yes => (1.0 - learning_rate * adamw.weight_decay) as f32,
            Decay::No => 1.0,
        };
        weights[range.clone()]
            .par_chunks_mut(CHUNK)
            .zip(gradients[range.clone()].par_chunks_mut(CHUNK))
            .zip(moments.first[range.clone()].par_chunks_mut(CHUNK))
            .zip(moments.second[range].par_chunks_mut(CHUNK))
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
    use crate::{AdamW, ParameterSpec, Parameters, Storage};

    /// Against the formula in f64, three steps, decayed and not.
    #[test]
    fn follows_the_formula() {
        let adamw = AdamW {
            weight_decay: 0.1,
            ..AdamW::default()
        };
        let specs = vec![
            ParameterSpec::matrix("w", &[2]),
            ParameterSpec::undecayed("b", &[1]),
        ];
        let mut p = Parameters::new(specs, Storage::Trainable);
        p.set("w", &[1.0, -2.0]).unwrap();
        p.set("b", &[0.5]).unwrap();
        let (mut w, mut m, mut v) = ([1.0f64, -2.0, 0.5], [0.0f64; 3], [0.0f64; 3]);
        for t in 1..=3 {
            let g = [0.3 * f64::from(t), -0.1, 2.0];
            p.gradients_mut()
                .get_mut(p_id(0))
                .copy_from_slice(&[g[0] as f32, g[1] as f32]);
            p.gradients_mut()
                .get_mut(p_id(1))
                .copy_from_slice(&[g[2] as f32]);
            p.adamw_step(&adamw, 0.01, 0.5);
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
            assert_eq!(p.gradient_norm(), 0.0);
        }
        let got = [p.weights().get(p_id(0)), p.weights().get(p_id(1))].concat();
        for (got, want) in got.iter().zip(w) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
    }

    fn p_id(i: usize) -> crate::ParameterId {
        let specs = vec![
            ParameterSpec::matrix("w", &[2]),
            ParameterSpec::undecayed("b", &[1]),
        ];
        Parameters::new(specs, Storage::Frozen)
            .ids()
            .nth(i)
            .unwrap()
    }
}
