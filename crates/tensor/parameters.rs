//! A network's parameters: one flat buffer of weights and, where they are trained, one of
//! gradients and two of moments, with a table of names and shapes. Frozen matrices may lie in a
//! buffer of bf16 words instead.

use crate::cpu::{Buffer, Numbers, NumbersMut};
use crate::views::{Entry, Held};
use crate::{
    AdamW, Error, Gradients, Init, Moments, ParameterId, ParameterSpec, Result, Rng, Storage,
    Weights,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;

/// Offsets are multiples of this many floats, so that every tensor starts on a cache line.
const ALIGN: usize = 16;

/// Words of bf16 in a float's room.
const WORDS: usize = 2;

/// The parameters of one network.
#[derive(Debug)]
pub struct Parameters {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    storage: Storage,
    weights: Buffer,
    version: u64,
    /// Those held in bf16, two in a float.
    words: Buffer,
    training: Option<Training>,
}

/// What only trained parameters have.
#[derive(Debug)]
struct Training {
    gradients: Buffer,
    moments: Moments,
}

impl Parameters {
    /// Zero-filled parameters in the order of `specs`, whose names must differ.
    ///
    /// # Panics
    /// If two specs share a name: an architecture's table is code, not input.
    #[must_use]
    pub fn new(specs: Vec<ParameterSpec>, storage: Storage) -> Self {
        let mut entries = Vec::with_capacity(specs.len());
        let mut index = HashMap::with_capacity(specs.len());
        let (mut floats, mut words) = (0, 0);
        for spec in specs {
            let (held, end, align) = match storage.halves(&spec) {
                false => (Held::Floats, &mut floats, ALIGN),
                true => (Held::Words, &mut words, WORDS * ALIGN),
            };
            let start = usize::next_multiple_of(*end, align);
            *end = start + spec.shape.iter().product::<usize>();
            assert!(
                index.insert(spec.name.clone(), entries.len()).is_none(),
                "parameter `{}` is listed twice",
                spec.name
            );
            entries.push(Entry {
                spec,
                range: start..*end,
                held,
            });
        }
        let total = floats.next_multiple_of(ALIGN);
        let training = storage.is_trainable().then(|| Training {
            gradients: Buffer::zeroed(total),
            moments: Moments::new(total),
        });
        Self {
            entries,
            index,
            storage,
            weights: Buffer::zeroed(total),
            version: 0,
            words: Buffer::zeroed(words.div_ceil(WORDS)),
            training,
        }
    }

    /// The parameters' specs, in order.
    pub fn specs(&self) -> impl ExactSizeIterator<Item = &ParameterSpec> {
        self.entries.iter().map(|entry| &entry.spec)
    }

    /// Their ids, in the same order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ParameterId> + use<> {
        (0..self.entries.len()).map(ParameterId)
    }

    /// The number of trained or frozen values, without alignment gaps.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.iter().map(|entry| entry.range.len()).sum()
    }

    /// The id of the parameter called `name`.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<ParameterId> {
        self.index.get(name).copied().map(ParameterId)
    }

    /// The spec of one parameter.
    #[must_use]
    pub fn spec(&self, id: ParameterId) -> &ParameterSpec {
        &self.entries[id.0].spec
    }

    /// How they are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// All weights, to read.
    #[must_use]
    pub fn weights(&self) -> Weights<'_> {
        Weights {
            entries: &self.entries,
            flat: &self.weights,
            words: bytemuck::cast_slice(&self.words),
        }
    }

    /// How often the weights may have changed: where it is the same, they are.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One parameter's weights, to write.
    ///
    /// # Panics
    /// If it is held in bf16: see [`numbers_mut`](Self::numbers_mut).
    pub fn weights_mut(&mut self, id: ParameterId) -> &mut [f32] {
        let Entry { range, held, spec } = &self.entries[id.0];
        assert_eq!(*held, Held::Floats, "`{}` is held in bf16", spec.name);
        self.version += 1;
        &mut self.weights[range.clone()]
    }

    /// One parameter's weights, to write, as they are held.
    pub fn numbers_mut(&mut self, id: ParameterId) -> NumbersMut<'_> {
        self.version += 1;
        let Entry { range, held, .. } = &self.entries[id.0];
        match held {
            Held::Floats => NumbersMut::F32(&mut self.weights[range.clone()]),
            Held::Words => {
                let words: &mut [u16] = bytemuck::cast_slice_mut(&mut self.words);
                NumbersMut::Bf16(&mut words[range.clone()])
            }
        }
    }

    /// Copies `values` into the parameter called `name`.
    ///
    /// # Errors
    /// If there is none of that name, or their numbers differ.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let id = self
            .id(name)
            .ok_or_else(|| Error::UnknownParameter(name.into()))?;
        let entry = &self.entries[id.0];
        if entry.range.len() != values.len() {
            return Err(Error::WrongLength {
                name: name.into(),
                shape: entry.spec.shape.clone(),
                expected: entry.range.len(),
                got: values.len(),
            });
        }
        self.numbers_mut(id).write(0, values);
        Ok(())
    }

    /// Fills the parameter called `name`.
    ///
    /// # Panics
    /// If there is none, or it is held in bf16: an architecture's initialization is code, not input.
    pub fn initialize(&mut self, name: &str, init: Init, rng: &mut Rng) {
        let id = self
            .id(name)
            .unwrap_or_else(|| panic!("no parameter named `{name}`"));
        for value in self.weights_mut(id) {
            *value = match init {
                Init::Constant(x) => x,
                Init::Normal { std } => (std * rng.normal()) as f32,
            };
        }
    }

    /// All gradients, to add to.
    ///
    /// # Panics
    /// If the parameters are frozen: callers check [`storage`](Self::storage) where it is input.
    pub fn gradients_mut(&mut self) -> Gradients<'_> {
        self.split().1
    }

    /// The weights to read and the gradients to add to, both at once: what a backward pass needs.
    ///
    /// # Panics
    /// If the parameters are frozen.
    pub fn split(&mut self) -> (Weights<'_>, Gradients<'_>) {
        let training = self
            .training
            .as_mut()
            .expect("frozen parameters have no gradients");
        (
            Weights {
                entries: &self.entries,
                flat: &self.weights,
                words: &[],
            },
            Gradients {
                entries: &self.entries,
                flat: &mut training.gradients,
            },
        )
    }

    /// The gradient of one parameter, to read; `None` if frozen.
    #[must_use]
    pub fn gradient(&self, id: ParameterId) -> Option<&[f32]> {
        let training = self.training.as_ref()?;
        Some(&training.gradients[self.entries[id.0].range.clone()])
    }

    /// Sets all gradients to zero; nothing where frozen.
    pub fn zero_gradients(&mut self) {
        if let Some(training) = &mut self.training {
            training.gradients.fill(0.0);
        }
    }

    /// The Euclidean norm of all gradients (0 where frozen), the same for any thread count.
    #[must_use]
    pub fn gradient_norm(&self) -> f64 {
        let squares = self
            .training
            .as_ref()
            .map(|t| crate::optim::sum_of_squares(&t.gradients));
        squares.unwrap_or(0.0).sqrt()
    }

    /// One AdamW step (see [`AdamW`]) with gradients scaled by `gradient_scale`, then zero
    /// gradients. Nothing happens where the parameters are frozen.
    pub fn adamw_step(&mut self, adamw: &AdamW, learning_rate: f64, gradient_scale: f64) {
        let Some(training) = &mut self.training else {
            return;
        };
        self.version += 1;
        let groups = self
            .entries
            .iter()
            .map(|entry| (entry.range.clone(), entry.spec.decay));
        crate::optim::step(
            adamw,
            learning_rate,
            gradient_scale,
            groups,
            &mut self.weights,
            &mut training.gradients,
            &mut training.moments,
        );
    }

    /// The optimizer's state, to save; `None` if frozen.
    #[must_use]
    pub fn moments(&self) -> Option<&Moments> {
        self.training.as_ref().map(|training| &training.moments)
    }

    /// The optimizer's state, to restore; `None` if frozen.
    pub fn moments_mut(&mut self) -> Option<&mut Moments> {
        self.training.as_mut().map(|training| &mut training.moments)
    }

    /// One parameter's part of a flat buffer such as the moments.
    #[must_use]
    pub fn range(&self, id: ParameterId) -> Range<usize> {
        self.entries[id.0].range.clone()
    }

    /// SHA-256 over names, shapes and weights in f32, as lower-case hexadecimal: equal if and only if
    /// the parameters are, however they are held. What is held in bf16 counts as the number that it is,
    /// so that the sum is that of the weights computed with: another than the checkpoint's where those
    /// were rounded, the same where they are bf16 already.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        let weights = self.weights();
        let mut piece = [0.0; 1 << 10];
        for (id, entry) in self.ids().zip(&self.entries) {
            hash.update(format!("{}{:?}", entry.spec.name, entry.spec.shape));
            match weights.matrix(id) {
                Numbers::F32(values) => hash.update(bytemuck::cast_slice(values)),
                words => {
                    for start in (0..words.len()).step_by(piece.len()) {
                        let piece = &mut piece[..(words.len() - start).min(1 << 10)];
                        words.copy(start, piece);
                        hash.update(bytemuck::cast_slice(piece));
                    }
                }
            }
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    fn parameters(storage: Storage) -> Parameters {
        let specs = vec![
            ParameterSpec::matrix("a", &[3, 5]),
            ParameterSpec::undecayed("b", &[7]),
        ];
        let mut parameters = Parameters::new(specs, storage);
        let mut rng = Rng::new(1, Stream::Init, 0, 0);
        parameters.initialize("a", Init::Normal { std: 1.0 }, &mut rng);
        parameters.initialize("b", Init::Constant(0.5), &mut rng);
        parameters
    }

    #[test]
    fn layout_and_lookup() {
        let mut p = parameters(Storage::Frozen);
        assert_eq!(p.count(), 22);
        let b = p.id("b").unwrap();
        assert_eq!(p.weights().get(b), [0.5; 7]);
        assert_eq!(p.range(b).start % ALIGN, 0);
        p.set("b", &[1.0; 7]).unwrap();
        assert_eq!(p.weights().get(b), [1.0; 7]);
        assert!(matches!(p.set("c", &[]), Err(Error::UnknownParameter(_))));
        assert!(
            p.set("b", &[1.0])
                .unwrap_err()
                .to_string()
                .contains("`b` has shape [7]")
        );
        assert!(p.moments().is_none());
    }

    #[test]
    fn matrices_in_bf16() {
        let specs = |n: usize| {
            vec![
                ParameterSpec::matrix("a", &[n, 5]).may_round(),
                ParameterSpec::undecayed("b", &[7]),
                ParameterSpec::undecayed("c", &[2, 3]).may_round(),
            ]
        };
        let n = 501;
        let mut halves = Parameters::new(specs(n), Storage::FrozenBf16);
        let mut floats = Parameters::new(specs(n), Storage::Frozen);
        assert_eq!(halves.storage(), Storage::FrozenBf16);
        assert!(!halves.storage().is_trainable() && halves.moments().is_none());
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        for (name, n) in [("a", 5 * n), ("b", 7), ("c", 6)] {
            halves.set(name, &values(n)).unwrap();
            floats.set(name, &values(n)).unwrap();
        }
        assert_eq!(halves.count(), floats.count());
        assert_ne!(halves.checksum(), floats.checksum());
        // Matrices are rounded, the rest is not.
        for id in halves.ids() {
            let held = halves.weights().matrix(id);
            let name = &halves.spec(id).name;
            assert_eq!(matches!(held, Numbers::Bf16(_)), name != "b");
            let mut got = vec![0.0; held.len()];
            held.copy(0, &mut got);
            let rounded = floats.weights().get(id).iter();
            let rounded = rounded.map(|x| half::bf16::from_f32(*x).to_f32());
            assert_eq!(got == floats.weights().get(id), name == "b");
            if name != "b" {
                assert_eq!(got, rounded.collect::<Vec<_>>());
            }
            // The sum is of what is computed with, in either type of number.
            floats.set(name, &got).unwrap();
        }
        assert_eq!(halves.checksum(), floats.checksum());
        let last = halves.id("a").unwrap();
        halves.numbers_mut(last).write(5 * n - 1, &[9.0]);
        assert_ne!(halves.checksum(), floats.checksum());
    }

    #[test]
    #[should_panic(expected = "`a` is held in bf16")]
    fn words_are_no_floats() {
        let specs = vec![ParameterSpec::matrix("a", &[3, 5]).may_round()];
        let parameters = Parameters::new(specs, Storage::FrozenBf16);
        let id = parameters.id("a").unwrap();
        let _ = parameters.weights().get(id);
    }

    #[test]
    fn two_gradients_at_once() {
        let mut p = parameters(Storage::Trainable);
        let (a, b) = (p.id("a").unwrap(), p.id("b").unwrap());
        let mut gradients = p.gradients_mut();
        let (of_b, of_a) = gradients.get_two_mut(b, a);
        of_a.fill(1.0);
        of_b.fill(2.0);
        assert_eq!(p.gradient(a).unwrap(), [1.0; 15]);
        assert_eq!(p.gradient(b).unwrap(), [2.0; 7]);
    }

    #[test]
    fn checksum_sees_every_value() {
        let mut p = parameters(Storage::Trainable);
        let before = p.checksum();
        assert_eq!(before, parameters(Storage::Frozen).checksum());
        let (a, version) = (p.id("a").unwrap(), p.version());
        p.weights_mut(a)[14] += 1e-6;
        assert_ne!(before, p.checksum());
        assert_ne!(version, p.version());
        let version = p.version();
        p.adamw_step(&AdamW::default(), 0.0, 1.0);
        assert_ne!(version, p.version());
    }
}
