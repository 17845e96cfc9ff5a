//! A network's parameters on a device: a table of names and shapes, one flat f32 buffer of weights, one
//! flat buffer of the weights stored in bf16, and, where there is training, one buffer of gradients and
//! two of moments.

use crate::entry::Entry;
use crate::shared::SharedWeights;
use crate::{Error, Init, ParameterId, ParameterSpec, Placement, Result, Rng, Storage, Weights};
use rlhf_device::{Cpu, Device, Dtype, StoredMut};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

mod optimizer;
#[cfg(test)]
mod optimizer_tests;
#[cfg(test)]
mod parameters_tests;
#[cfg(test)]
mod shared_tests;

/// Offsets are multiples of this many floats, so that every tensor starts on a cache line.
const ALIGN: usize = 16;

/// How many numbers a checksum copies to the host at a time.
const CHECKSUM_CHUNK: usize = 1 << 18;

/// How many bf16 numbers fit in the memory of one f32.
const BF16_PER_F32: usize = 2;

/// The parameters of one network.
#[derive(Debug)]
pub struct Parameters<D: Device = Cpu> {
    device: D,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    storage: Storage,
    floats: D::Buffer,
    version: u64,
    /// The weights stored in bf16, two in the memory of one f32.
    words: D::Buffer,
    /// The weights that its first entries lie in, if it was made by [`over`](Self::over).
    shared: Option<Arc<SharedWeights<D>>>,
    training: Option<Training<D>>,
}

/// The gradients and the optimizer's state. Only [`Storage::Trainable`] has them.
#[derive(Debug)]
struct Training<D: Device> {
    /// The length of each of the three buffers, in f32 numbers.
    length: usize,
    gradients: D::Buffer,
    moments: Moments<D>,
}

/// The optimizer's state: the number of steps taken, and the two moments in the layout of the gradients.
#[derive(Debug)]
struct Moments<D: Device> {
    steps: u64,
    first: D::Buffer,
    second: D::Buffer,
}

impl Parameters {
    /// Zero-filled parameters in host memory, in the order of `specs`. Their names must differ.
    ///
    /// # Panics
    /// As [`on`](Self::on).
    #[must_use]
    pub fn new(specs: Vec<ParameterSpec>, storage: Storage) -> Self {
        Self::on(Cpu, specs, storage)
    }
}

impl<D: Device> Parameters<D> {
    /// Zero-filled parameters on a device, in the order of `specs`. Their names must differ.
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
            let (align, align_bf16) = match spec.placement {
                Placement::Aligned => (ALIGN, BF16_PER_F32 * ALIGN),
                Placement::Adjoining => (1, 1),
            };
            let (dtype, start) = if storage.stores_bf16(&spec) {
                (Dtype::Bf16, place(&mut words, align_bf16, length))
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
                shared: false,
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
            words: device.zeroed(words.div_ceil(BF16_PER_F32)),
            training,
            shared: None,
            device,
        }
    }

    /// A table of `shared` weights followed by zero-filled parameters of its own, in the order of `specs`:
    /// a frozen base and what is trained on top of it.
    ///
    /// # Panics
    /// If two parameters share a name: an architecture's table is code, not input.
    #[must_use]
    pub fn over(
        shared: &Arc<SharedWeights<D>>,
        specs: Vec<ParameterSpec>,
        storage: Storage,
    ) -> Self {
        let mut own = Self::on(shared.device.clone(), specs, storage);
        let mut entries = shared.entries.clone();
        entries.append(&mut own.entries);
        let names = entries.iter().map(|entry| entry.spec.name.clone());
        let index: HashMap<String, usize> = names.zip(0..).collect();
        assert_eq!(index.len(), entries.len(), "a parameter is listed twice");
        Self {
            entries,
            index,
            shared: Some(shared.clone()),
            ..own
        }
    }

    /// The same weights, frozen, for any number of tables to share.
    ///
    /// # Panics
    /// If some of them are shared already.
    #[must_use]
    pub fn into_shared(self) -> Arc<SharedWeights<D>> {
        assert!(
            self.shared.is_none(),
            "some weights of this table are shared already"
        );
        let entries = self.entries.into_iter().map(|entry| Entry {
            spec: entry.spec.frozen(),
            shared: true,
            gradient: None,
            ..entry
        });
        Arc::new(SharedWeights {
            device: self.device,
            entries: entries.collect(),
            floats: self.floats,
            words: self.words,
        })
    }

    /// The device they are stored on.
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

    /// How the weights are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The type one parameter is stored in.
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
            shared: self.shared.as_deref(),
        }
    }

    /// Counts the calls that may have changed the weights. As long as it is equal, so are the weights.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One parameter's weights in f32, on the host. They are borrowed if they are stored that way, else
    /// copied.
    #[must_use]
    pub fn to_host(&self, id: ParameterId) -> Cow<'_, [f32]> {
        self.device.to_host(self.weights().stored(id))
    }

    /// Overwrites one parameter's weights from index `start` on, rounded to the type it is stored in (to
    /// the nearest, ties to even).
    ///
    /// # Panics
    /// If they do not fit, or the parameter is shared.
    pub fn write(&mut self, id: ParameterId, start: usize, values: &[f32]) {
        self.version += 1;
        let Entry {
            range,
            dtype,
            spec,
            shared,
            ..
        } = &self.entries[id.0];
        assert!(!shared, "`{}` is shared and cannot be written", spec.name);
        let buffer = match dtype {
            Dtype::F32 => &mut self.floats,
            Dtype::Bf16 => &mut self.words,
        };
        let parameter = StoredMut::new(buffer, *dtype, range.clone());
        let written = parameter.part(start..start + values.len());
        self.device.write(values, written);
    }

    /// Copies `values` into the parameter called `name`.
    ///
    /// # Errors
    /// If no parameter has that name, it is shared, or the lengths differ.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let id = self
            .id(name)
            .ok_or_else(|| Error::UnknownParameter(name.into()))?;
        let entry = &self.entries[id.0];
        if entry.shared {
            return Err(Error::Shared(name.into()));
        }
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

    /// Initializes the parameter called `name`.
    ///
    /// # Panics
    /// If there is no such parameter: an architecture's initialization is code, not input.
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

    /// SHA-256 over names, shapes and weights in f32, as lower-case hexadecimal. It is equal if and only
    /// if the parameters are equal, in either storage type: a bf16 weight is converted to f32 exactly.
    /// It therefore differs from the checkpoint's checksum if loading rounded the weights to bf16.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for (id, entry) in self.ids().zip(&self.entries) {
            hash.update(format!("{}{:?}", entry.spec.name, entry.spec.shape));
            let values = self.weights().stored(id);
            for start in (0..values.len()).step_by(CHECKSUM_CHUNK) {
                let chunk = values.part(start..values.len().min(start + CHECKSUM_CHUNK));
                hash.update(bytemuck::cast_slice(&self.device.to_host(chunk)));
            }
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Access for parameters in host memory.
impl Parameters {
    /// One parameter's weights, mutable.
    ///
    /// # Panics
    /// If it is stored in bf16 (use [`write`](Self::write)), or shared.
    pub fn weights_mut(&mut self, id: ParameterId) -> &mut [f32] {
        let Entry {
            range,
            dtype,
            spec,
            shared,
            ..
        } = &self.entries[id.0];
        assert!(!shared, "`{}` is shared and cannot be written", spec.name);
        assert_eq!(*dtype, Dtype::F32, "`{}` is stored in bf16", spec.name);
        self.version += 1;
        &mut self.floats[range.clone()]
    }
}
