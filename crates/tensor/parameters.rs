//! A network's parameters on a device: one flat buffer of weights and, where they are trained, one of
//! gradients and two of moments, with a table of names and shapes. Frozen matrices may lie in a buffer
//! of bf16 words instead.

use crate::views::Entry;
use crate::{
    AdamW, Error, Gradients, Init, ParameterId, ParameterSpec, Placement, Result, Rng, Storage,
    Weights,
};
use rlhf_device::{AdamWStep, Cpu, Device, Dtype, Slice, SliceMut, StoredMut, Trained};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;

/// Offsets are multiples of this many floats, so that every tensor starts on a cache line.
const ALIGN: usize = 16;

/// Numbers brought to the host at a time.
const PIECE: usize = 1 << 18;

/// Words of bf16 in a float's room.
const WORDS: usize = 2;

/// The parameters of one network.
#[derive(Debug)]
pub struct Parameters<D: Device = Cpu> {
    device: D,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    storage: Storage,
    floats: D::Buffer,
    version: u64,
    /// Those held in bf16, two in a float.
    words: D::Buffer,
    training: Option<Training<D>>,
}

/// What only trained parameters have.
#[derive(Debug)]
struct Training<D: Device> {
    /// Floats of each of the three buffers.
    length: usize,
    gradients: D::Buffer,
    moments: Moments<D>,
}

/// The optimizer's state: the number of steps taken and the two moments, laid out as the gradients are.
#[derive(Debug)]
struct Moments<D: Device> {
    steps: u64,
    first: D::Buffer,
    second: D::Buffer,
}

impl Parameters {
    /// Zero-filled parameters in the processor's memory, in the order of `specs`, whose names must
    /// differ.
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn new(specs: Vec<ParameterSpec>, storage: Storage) -> Self {
        Self::on(Cpu, specs, storage)
    }
}

impl<D: Device> Parameters<D> {
    /// Zero-filled parameters on a device, in the order of `specs`, whose names must differ.
    ///
    /// # Panics
    /// If two specs share a name: an architecture's table is code, not input.
    #[must_use]
    pub fn on(device: D, specs: Vec<ParameterSpec>, storage: Storage) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(specs.len());
        let mut index = HashMap::with_capacity(specs.len());
        let (mut floats, mut words, mut trained) = (0, 0, 0);
        let place = |end: &mut usize, align: usize, length: usize| {
            let start = end.next_multiple_of(align);
            *end = start + length;
            start
        };
        for mut spec in specs {
            spec.trainable &= storage.is_trainable();
            let length = spec.shape.iter().product::<usize>();
            let align = match spec.placement {
                Placement::Aligned => ALIGN,
                Placement::Adjoining => 1,
            };
            let (dtype, start) = if storage.halves(&spec) {
                (
                    Dtype::Bf16,
                    place(&mut words, WORDS.min(align) * align, length),
                )
            } else {
                (Dtype::F32, place(&mut floats, align, length))
            };
            let gradient = spec.trainable.then(|| place(&mut trained, align, length));
            assert!(
                index.insert(spec.name.clone(), entries.len()).is_none(),
                "parameter `{}` is listed twice",
                spec.name
            );
            entries.push(Entry {
                spec,
                dtype,
                range: start..start + length,
                gradient,
            });
        }
        let length = trained.next_multiple_of(ALIGN);
        let training = storage.is_trainable().then(|| Training {
            length,
            gradients: device.zeroed(length),
            moments: Moments {
                steps: 0,
                first: device.zeroed(length),
                second: device.zeroed(length),
            },
        });
        Self {
            entries,
            index,
            storage,
            floats: device.zeroed(floats.next_multiple_of(ALIGN)),
            version: 0,
            words: device.zeroed(words.div_ceil(WORDS)),
            training,
            device,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The parameters' specs, in order.
    pub fn specs(&self) -> impl ExactSizeIterator<Item = &ParameterSpec> {
        self.entries.iter().map(|entry| &entry.spec)
    }

    /// Their ids, in the same order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ParameterId> + use<D> {
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

    /// The type of number one parameter is held in.
    #[must_use]
    pub fn dtype(&self, id: ParameterId) -> Dtype {
        self.entries[id.0].dtype
    }

    /// All weights, to read.
    #[must_use]
    pub fn weights(&self) -> Weights<'_, D> {
        Weights {
            device: &self.device,
            entries: &self.entries,
            floats: &self.floats,
            words: &self.words,
        }
    }

    /// How often the weights may have changed: where it is the same, they are.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One parameter's weights in f32, on the host: copied, unless they lie there so.
    #[must_use]
    pub fn to_host(&self, id: ParameterId) -> Cow<'_, [f32]> {
        self.device.to_host(self.weights().stored(id))
    }

    /// Writes one parameter's weights from the one at `start` on, each as the nearest number that it can
    /// hold, ties to even.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&mut self, id: ParameterId, start: usize, values: &[f32]) {
        self.version += 1;
        let Entry { range, dtype, .. } = &self.entries[id.0];
        let buffer = match dtype {
            Dtype::F32 => &mut self.floats,
            Dtype::Bf16 => &mut self.words,
        };
        let all = StoredMut::new(buffer, *dtype, range.clone());
        let some = all.part(start..start + values.len());
        self.device.write(values, some);
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
        self.write(id, 0, values);
        Ok(())
    }

    /// Fills the parameter called `name`.
    ///
    /// # Panics
    /// If there is none: an architecture's initialization is code, not input.
    pub fn initialize(&mut self, name: &str, init: Init, rng: &mut Rng) {
        let id = self
            .id(name)
            .unwrap_or_else(|| panic!("no parameter named `{name}`"));
        let next = || match init {
            Init::Constant(x) => x,
            Init::Normal { std } => (std * rng.normal()) as f32,
        };
        let values = std::iter::repeat_with(next).take(self.entries[id.0].range.len());
        self.write(id, 0, &values.collect::<Vec<f32>>());
    }

    /// All gradients, to add to.
    ///
    /// # Panics
    /// If the parameters are frozen: callers check [`storage`](Self::storage) where it is input.
    pub fn gradients_mut(&mut self) -> Gradients<'_, D> {
        self.split().1
    }

    /// The weights to read and the gradients to add to, both at once: what a backward pass needs.
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
            },
            Gradients {
                device: &self.device,
                entries: &self.entries,
                flat: &mut training.gradients,
            },
        )
    }

    /// Sets all gradients to zero; nothing where frozen.
    pub fn zero_gradients(&mut self) {
        if let Some(training) = &mut self.training {
            let all = SliceMut::first(&mut training.gradients, training.length);
            self.device.clear(all);
        }
    }

    /// The Euclidean norm of all gradients (0 where frozen), the same for any thread count.
    #[must_use]
    pub fn gradient_norm(&self) -> f64 {
        let squares = self.training.as_ref().map(|training| {
            let all = Slice::first(&training.gradients, training.length);
            self.device.sum_of_squares(all)
        });
        squares.unwrap_or(0.0).sqrt()
    }

    /// One AdamW step (see [`AdamW`]) with gradients scaled by `gradient_scale`, then zero
    /// gradients. Nothing happens where the parameters are frozen.
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

    /// Restores the first and second moments of one parameter; nothing if it is not trained.
    ///
    /// # Panics
    /// If they are not as many as its weights.
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

    /// How many optimizer steps were taken; 0 where frozen.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let training = self.training.as_ref();
        training.map_or(0, |training| training.moments.steps)
    }

    /// Restores the number of steps; nothing where frozen.
    pub fn set_steps(&mut self, steps: u64) {
        if let Some(training) = &mut self.training {
            training.moments.steps = steps;
        }
    }

    /// SHA-256 over names, shapes and weights in f32, as lower-case hexadecimal: equal if and only if
    /// the parameters are, however they are held. What is held in bf16 counts as the number that it is,
    /// so that the sum is that of the weights computed with: another than the checkpoint's where those
    /// were rounded, the same where they are bf16 already.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for (id, entry) in self.ids().zip(&self.entries) {
            hash.update(format!("{}{:?}", entry.spec.name, entry.spec.shape));
            let values = self.weights().stored(id);
            for start in (0..values.len()).step_by(PIECE) {
                let piece = values.part(start..values.len().min(start + PIECE));
                hash.update(bytemuck::cast_slice(&self.device.to_host(piece)));
            }
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// In the processor's memory.
impl Parameters {
    /// One parameter's weights, to write.
    ///
    /// # Panics
    /// If it is held in bf16: see [`write`](Self::write).
    pub fn weights_mut(&mut self, id: ParameterId) -> &mut [f32] {
        let Entry {
            range, dtype, spec, ..
        } = &self.entries[id.0];
        assert_eq!(*dtype, Dtype::F32, "`{}` is held in bf16", spec.name);
        self.version += 1;
        &mut self.floats[range.clone()]
    }

    /// The gradient of one parameter, to read; `None` if it is not trained.
    #[must_use]
    pub fn gradient(&self, id: ParameterId) -> Option<&[f32]> {
        let range = self.entries[id.0].trained()?;
        Some(&self.training.as_ref()?.gradients[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_device::Memory;
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
        assert_eq!(p.weights().slice(b).range().start % ALIGN, 0);
        p.set("b", &[1.0; 7]).unwrap();
        assert_eq!(p.weights().get(b), [1.0; 7]);
        assert!(matches!(p.set("c", &[]), Err(Error::UnknownParameter(_))));
        assert!(
            p.set("b", &[1.0])
                .unwrap_err()
                .to_string()
                .contains("`b` has shape [7]")
        );
        assert!(p.moments_to_host(b).is_none());
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
        assert!(
            !halves.storage().is_trainable()
                && halves.gradient_to_host(halves.id("a").unwrap()).is_none()
        );
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        for (name, n) in [("a", 5 * n), ("b", 7), ("c", 6)] {
            halves.set(name, &values(n)).unwrap();
            floats.set(name, &values(n)).unwrap();
        }
        assert_eq!(halves.count(), floats.count());
        assert_ne!(halves.checksum(), floats.checksum());
        // Matrices are rounded, the rest is not.
        for id in halves.ids() {
            let name = &halves.spec(id).name;
            assert_eq!(halves.dtype(id) == Dtype::Bf16, name != "b");
            let got = halves.to_host(id);
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
        halves.write(last, 5 * n - 1, &[9.0]);
        assert_ne!(halves.checksum(), floats.checksum());
    }

    /// Two matrices of odd sizes, and what is read and added to as one.
    #[test]
    fn adjoining_parameters_are_read_as_one() {
        for storage in [Storage::Trainable, Storage::FrozenBf16] {
            let specs = vec![
                ParameterSpec::undecayed("before", &[3]),
                ParameterSpec::matrix("a", &[3, 5]).may_round(),
                ParameterSpec::matrix("b", &[2, 5]).may_round().adjoining(),
                ParameterSpec::undecayed("after", &[3]),
            ];
            let mut p = Parameters::new(specs, storage);
            let ids = ["a", "b"].map(|name| p.id(name).unwrap());
            let values: Vec<f32> = (0..25).map(|i| i as f32).collect();
            p.set("a", &values[..15]).unwrap();
            p.set("b", &values[15..]).unwrap();
            let joined = p.weights().joined(&ids);
            assert_eq!(p.device().to_host(joined), values);
            assert!(p.to_host(p.id("after").unwrap()).iter().all(|x| *x == 0.0));
            if storage.is_trainable() {
                let all = p.gradients_mut().joined_mut(&ids).unwrap().host();
                all.copy_from_slice(&values);
                assert_eq!(p.gradient(ids[0]).unwrap(), &values[..15]);
                assert_eq!(p.gradient(ids[1]).unwrap(), &values[15..]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "`a` and `b` do not adjoin")]
    fn parameters_apart_are_not_joined() {
        let p = parameters(Storage::Frozen);
        let _ = p
            .weights()
            .joined(&["a", "b"].map(|name| p.id(name).unwrap()));
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
        let [of_b, of_a] = gradients.pair_mut(b, a).unwrap().host();
        of_a.fill(1.0);
        of_b.fill(2.0);
        assert_eq!(p.gradient(a).unwrap(), [1.0; 15]);
        assert_eq!(p.gradient(b).unwrap(), [2.0; 7]);
    }

    /// A base and what is trained on top of it, in one table.
    #[test]
    fn each_parameter_says_whether_it_is_trained() {
        let specs = |base: ParameterSpec| {
            vec![
                ParameterSpec::matrix("a", &[3, 5]),
                base,
                ParameterSpec::undecayed("c", &[20]),
            ]
        };
        let base = ParameterSpec::matrix("b", &[7]);
        let step = |base: ParameterSpec| {
            let mut p = Parameters::new(specs(base), Storage::Trainable);
            let ids: Vec<_> = p.ids().collect();
            for id in &ids {
                p.weights_mut(*id).fill(1.0);
                if let Some(gradient) = p.gradients_mut().slice_mut(*id) {
                    gradient.host().fill(1.0 + id.index() as f32);
                }
            }
            let (trained, norm) = (
                ids.iter()
                    .map(|id| p.moments_to_host(*id).map_or(0, |[first, _]| first.len()))
                    .sum(),
                p.gradient_norm(),
            );
            p.adamw_step(&AdamW::default(), 0.1, 1.0);
            (p, trained, norm)
        };
        let (all, count, norm) = step(base.clone());
        assert_eq!(
            (count, norm),
            (42usize, (15.0f64 + 4.0 * 7.0 + 9.0 * 20.0).sqrt())
        );
        let (mut some, count, norm) = step(base.clone().frozen());
        assert_eq!((count, norm), (35usize, (15.0f64 + 9.0 * 20.0).sqrt()));
        for name in ["a", "c"] {
            let id = all.id(name).unwrap();
            assert!(some.spec(id).trainable && some.weights().get(id)[0] < 1.0);
            assert_eq!(some.weights().get(id), all.weights().get(id));
        }
        let b = some.id("b").unwrap();
        assert_eq!(some.weights().get(b), [1.0; 7]);
        assert!(!some.spec(b).trainable && some.gradient(b).is_none());
        assert!(some.gradients_mut().slice_mut(b).is_none());
        assert!(some.moments_to_host(b).is_none() && some.gradient_to_host(b).is_none());
        // In a frozen table nothing is trained, whatever was said of it.
        let frozen = Parameters::new(specs(base), Storage::Frozen);
        assert!(frozen.specs().all(|spec| !spec.trainable));
    }

    #[test]
    #[should_panic(expected = "`a` and `b` are trained together or not at all")]
    fn a_pair_is_trained_together() {
        let specs = vec![
            ParameterSpec::matrix("a", &[3]),
            ParameterSpec::matrix("b", &[3]).frozen(),
        ];
        let mut p = Parameters::new(specs, Storage::Trainable);
        let (a, b) = (p.id("a").unwrap(), p.id("b").unwrap());
        let _ = p.gradients_mut().pair_mut(a, b);
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
