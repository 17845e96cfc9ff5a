//! Views of weights (to read) and of gradients (to accumulate into), by parameter.

use crate::entry::Entry;
use crate::shared::SharedWeights;
use rlhf_device::{Cpu, Device, Dtype, PairMut, Slice, SliceMut, Stored};
use std::ops::Range;

/// A parameter's index in its [`Parameters`](crate::Parameters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// The index in the order of the specs.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// A view of the weights by [`ParameterId`].
#[derive(Debug)]
pub struct Weights<'a, D: Device = Cpu> {
    pub(crate) device: &'a D,
    pub(crate) entries: &'a [Entry],
    pub(crate) floats: &'a D::Buffer,
    pub(crate) words: &'a D::Buffer,
    pub(crate) shared: Option<&'a SharedWeights<D>>,
}

impl<D: Device> Clone for Weights<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Weights<'_, D> {}

impl<'a, D: Device> Weights<'a, D> {
    /// The device they are stored on.
    #[inline]
    #[must_use]
    pub fn device(&self) -> &'a D {
        self.device
    }

    /// The values of one parameter, row-major.
    ///
    /// # Panics
    /// If it is stored in bf16. Read parameters of [`Rounding::Allowed`](crate::Rounding::Allowed) with
    /// [`stored`](Self::stored).
    #[must_use]
    pub fn slice(&self, id: ParameterId) -> Slice<'a, D> {
        let stored_in_bf16 = || panic!("`{}` is stored in bf16", self.entries[id.0].spec.name);
        self.stored(id).floats().unwrap_or_else(stored_in_bf16)
    }

    /// The values of one parameter, row-major, in the type they are stored in.
    #[must_use]
    pub fn stored(&self, id: ParameterId) -> Stored<'a, D> {
        let entry = &self.entries[id.0];
        Stored::new(self.buffer(entry), entry.dtype, entry.range.clone())
    }

    /// The buffer that a parameter lies in.
    fn buffer(&self, entry: &Entry) -> &'a D::Buffer {
        let (floats, words) = match self.shared.filter(|_| entry.shared) {
            Some(shared) => (&shared.floats, &shared.words),
            None => (self.floats, self.words),
        };
        match entry.dtype {
            Dtype::F32 => floats,
            Dtype::Bf16 => words,
        }
    }

    /// The values of parameters that [adjoin](crate::Placement::Adjoining), in the type they are stored in.
    ///
    /// # Panics
    /// If there is none, or one does not lie directly after the one before it.
    #[must_use]
    pub fn joined(&self, ids: &[ParameterId]) -> Stored<'a, D> {
        let ranges = ids.iter().map(|id| self.entries[id.0].range.clone());
        let range = join(self.entries, ids, ranges);
        let first = &self.entries[ids[0].0];
        let place = |entry: &Entry| (entry.dtype, entry.shared);
        let alike = ids
            .iter()
            .all(|id| place(&self.entries[id.0]) == place(first));
        assert!(alike, "adjoining parameters are stored alike");
        Stored::new(self.buffer(first), first.dtype, range)
    }
}

/// The range of adjoining ranges.
fn join(
    entries: &[Entry],
    ids: &[ParameterId],
    ranges: impl Iterator<Item = Range<usize>>,
) -> Range<usize> {
    let mut whole: Option<Range<usize>> = None;
    for (place, range) in ranges.enumerate() {
        whole = Some(match whole {
            None => range,
            Some(before) if before.end == range.start => before.start..range.end,
            Some(_) => {
                let [a, b] = [place - 1, place].map(|place| &entries[ids[place].0].spec.name);
                panic!("`{a}` and `{b}` do not adjoin")
            }
        });
    }
    whole.expect("at least one parameter is joined")
}

impl<'a> Weights<'a> {
    /// The values of one parameter, row-major, on the host.
    ///
    /// # Panics
    /// As [`slice`](Self::slice).
    #[must_use]
    pub fn get(&self, id: ParameterId) -> &'a [f32] {
        self.slice(id).host()
    }
}

/// A mutable view of the gradients by [`ParameterId`]. Parameters that are not trained have none.
#[derive(Debug)]
pub struct Gradients<'a, D: Device = Cpu> {
    pub(crate) device: &'a D,
    pub(crate) entries: &'a [Entry],
    pub(crate) flat: &'a mut D::Buffer,
}

impl<'a, D: Device> Gradients<'a, D> {
    /// The device they are stored on.
    #[inline]
    #[must_use]
    pub fn device(&self) -> &'a D {
        self.device
    }

    /// The gradient of one parameter, row-major, to accumulate into.
    pub fn slice_mut(&mut self, id: ParameterId) -> Option<SliceMut<'_, D>> {
        let range = self.entries[id.0].trained()?;
        Some(SliceMut::new(self.flat, range))
    }

    /// The gradients of parameters that [adjoin](crate::Placement::Adjoining), which are trained together or
    /// not at all.
    ///
    /// # Panics
    /// If there is none, one does not lie directly after the one before it, or only some are trained.
    pub fn joined_mut(&mut self, ids: &[ParameterId]) -> Option<SliceMut<'_, D>> {
        let trained = ids.iter().filter_map(|id| self.entries[id.0].trained());
        let trained: Vec<Range<usize>> = trained.collect();
        if trained.is_empty() {
            return None;
        }
        assert_eq!(trained.len(), ids.len(), "some of these are trained");
        let range = join(self.entries, ids, trained.into_iter());
        Some(SliceMut::new(self.flat, range))
    }

    /// The gradients of two parameters at once; both are trained, or neither.
    ///
    /// # Panics
    /// If they are the same, or only one of them is trained.
    pub fn pair_mut(&mut self, a: ParameterId, b: ParameterId) -> Option<PairMut<'_, D>> {
        match [a, b].map(|id| self.entries[id.0].trained()) {
            [Some(a), Some(b)] => Some(PairMut::new(self.flat, [a, b])),
            [None, None] => None,
            _ => {
                let [a, b] = [a, b].map(|id| &self.entries[id.0].spec.name);
                panic!("only one of `{a}` and `{b}` is trained: train both or neither")
            }
        }
    }
}

impl Gradients<'_> {
    /// The gradient of one parameter, row-major, on the host.
    ///
    /// # Panics
    /// If it is not trained.
    pub fn get_mut(&mut self, id: ParameterId) -> &mut [f32] {
        let name = &self.entries[id.0].spec.name;
        match self.slice_mut(id) {
            Some(gradient) => gradient.host(),
            None => panic!("`{name}` is not trained"),
        }
    }
}
