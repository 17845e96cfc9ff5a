//! The gradients, the AdamW moments and the optimizer steps of [`Parameters`].

use super::{Moments, Parameters};
use crate::{AdamW, Gradients, ParameterId, Weights};
use rlhf_device::{AdamWStep, Device, Dtype, Slice, SliceMut, StoredMut, Trained};
use std::borrow::Cow;

impl<D: Device> Parameters<D> {
    /// All gradients, to accumulate into.
    ///
    /// # Panics
    /// If the parameters are frozen: callers check [`storage`](Self::storage) first.
    pub fn gradients_mut(&mut self) -> Gradients<'_, D> {
        self.split().1
    }

    /// The weights to read and the gradients to accumulate into, as a backward pass needs them.
    ///
    /// # Panics
    /// If the parameters are frozen.
    pub fn split(&mut self) -> (Weights<'_, D>, Gradients<'_, D>) {
        let training = self
            .training
            .as_mut()
            .expect("frozen parameters have no gradients");
        (
            Weights {
                device: &self.device,
                entries: &self.entries,
                floats: &self.floats,
                words: &self.words,
                shared: self.shared.as_deref(),
            },
            Gradients {
                device: &self.device,
                entries: &self.entries,
                flat: &mut training.gradients,
            },
        )
    }

    /// Sets all gradients to zero. Does nothing if the parameters are frozen.
    pub fn zero_gradients(&mut self) {
        if let Some(training) = &mut self.training {
            let all = SliceMut::first(&mut training.gradients, training.length);
            self.device.clear(all);
        }
    }

    /// The Euclidean norm of all gradients (0 if frozen), the same for any number of threads.
    #[must_use]
    pub fn gradient_norm(&self) -> f64 {
        let squares = self.training.as_ref().map(|training| {
            let all = Slice::first(&training.gradients, training.length);
            self.device.sum_of_squares(all)
        });
        squares.unwrap_or(0.0).sqrt()
    }

    /// Takes one AdamW step (see [`AdamW`]) with gradients multiplied by `gradient_scale`, then sets the
    /// gradients to zero. Does nothing if the parameters are frozen.
    pub fn adamw_step(&mut self, adamw: &AdamW, learning_rate: f64, gradient_scale: f64) {
        let Some(training) = &mut self.training else {
            return;
        };
        self.version += 1;
        let Moments {
            steps,
            first,
            second,
        } = &mut training.moments;
        *steps += 1;
        let step = AdamWStep {
            adamw,
            number: *steps,
            learning_rate,
            gradient_scale,
        };
        let trained = self.entries.iter().filter_map(|entry| {
            Some(Trained {
                weights: entry.range.clone(),
                gradients: entry.gradient?,
                decay: entry.spec.decay,
            })
        });
        self.device.adamw_step(
            step,
            &trained.collect::<Vec<_>>(),
            &mut self.floats,
            &mut training.gradients,
            [first, second],
        );
    }

    /// The gradient of one parameter on the host; `None` if it is not trained.
    #[must_use]
    pub fn gradient_to_host(&self, id: ParameterId) -> Option<Cow<'_, [f32]>> {
        let range = self.entries[id.0].trained()?;
        let gradients = Slice::new(&self.training.as_ref()?.gradients, range);
        Some(self.device.to_host(gradients.into()))
    }

    /// The first and second moments of one parameter on the host; `None` if it is not trained.
    #[must_use]
    pub fn moments_to_host(&self, id: ParameterId) -> Option<[Cow<'_, [f32]>; 2]> {
        let range = self.entries[id.0].trained()?;
        let moments = &self.training.as_ref()?.moments;
        let to_host = |buffer| {
            let moments = Slice::new(buffer, range.clone());
            self.device.to_host(moments.into())
        };
        Some([&moments.first, &moments.second].map(to_host))
    }

    /// Restores the first and second moments of one parameter. Does nothing if it is not trained.
    ///
    /// # Panics
    /// If their lengths differ from that of its weights.
    pub fn set_moments(&mut self, id: ParameterId, values: [&[f32]; 2]) {
        let range = self.entries[id.0].trained();
        if let (Some(range), Some(training)) = (range, &mut self.training) {
            let Moments { first, second, .. } = &mut training.moments;
            for (buffer, values) in [first, second].into_iter().zip(values) {
                let into = StoredMut::new(buffer, Dtype::F32, range.clone());
                self.device.write(values, into);
            }
        }
    }

    /// How many optimizer steps were taken; 0 if the parameters are frozen.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let training = self.training.as_ref();
        training.map_or(0, |training| training.moments.steps)
    }

    /// Restores the number of steps. Does nothing if the parameters are frozen.
    pub fn set_steps(&mut self, steps: u64) {
        if let Some(training) = &mut self.training {
            training.moments.steps = steps;
        }
    }
}

impl Parameters {
    /// The gradient of one parameter, to read; `None` if it is not trained.
    #[must_use]
    pub fn gradient(&self, id: ParameterId) -> Option<&[f32]> {
        let range = self.entries[id.0].trained()?;
        Some(&self.training.as_ref()?.gradients[range])
    }
}
