//! The processor's types, and the host slices of operands.

use super::{
    Buffer, Cache, GroupStats, HostColumns, HostColumnsMut, HostRope, Numbers, NumbersMut,
    PackedMatrix, RowSummary, Segments, View,
};
use crate::{
    Columns, ColumnsMut, DeviceTypes, Dtype, Matrix, PairMut, Rope, Slice, SliceMut, Stored,
    StoredMut,
};

/// The processor, on the threads of rayon's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cpu;

impl DeviceTypes for Cpu {
    type Buffer = Buffer;
    type Segments = Segments;
    type NormStats = Vec<GroupStats>;
    type RowSummaries = Vec<RowSummary>;
    type Packed = PackedMatrix;
    type Cache = Cache;
}

impl<'a> Slice<'a, Cpu> {
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn host(self) -> &'a [f32] {
        &self.buffer[self.range()]
    }
}

impl<'a> SliceMut<'a, Cpu> {
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn host(self) -> &'a mut [f32] {
        let range = self.range();
        &mut self.buffer[range]
    }
}

impl<'a> PairMut<'a, Cpu> {
    /// The numbers of both.
    #[must_use]
    pub fn host(self) -> [&'a mut [f32]; 2] {
        let both = self.buffer.get_disjoint_mut(self.ranges);
        both.expect("they are checked not to overlap")
    }
}

impl<'a> Stored<'a, Cpu> {
    #[inline]
    pub(super) fn host(self) -> Numbers<'a> {
        match self.dtype() {
            Dtype::F32 => Numbers::F32(&self.buffer[self.range()]),
            Dtype::Bf16 => Numbers::Bf16(&bytemuck::cast_slice(self.buffer)[self.range()]),
        }
    }
}

impl<'a> StoredMut<'a, Cpu> {
    pub(super) fn host(self) -> NumbersMut<'a> {
        let range = self.range();
        match self.dtype() {
            Dtype::F32 => NumbersMut::F32(&mut self.buffer[range]),
            Dtype::Bf16 => {
                let words: &mut [u16] = bytemuck::cast_slice_mut(self.buffer);
                NumbersMut::Bf16(&mut words[range])
            }
        }
    }
}

impl<'a> Matrix<'a, Cpu> {
    #[inline]
    pub(super) fn host(self) -> View<'a> {
        let view = View::of(self.data.host(), self.stored_columns);
        if self.transposed { view.t() } else { view }
    }
}

impl<'a> Columns<'a, Cpu> {
    pub(super) fn host(self) -> HostColumns<'a> {
        HostColumns::new(self.data.host(), self.row_width, &self.columns)
    }
}

impl<'a> ColumnsMut<'a, Cpu> {
    pub(super) fn host(self) -> HostColumnsMut<'a> {
        HostColumnsMut::new(self.data.host(), self.row_width, &self.columns)
    }
}

impl<'a> Rope<'a, Cpu> {
    pub(super) fn host(self) -> HostRope<'a> {
        HostRope {
            cos: self.cos.host(),
            sin: self.sin.host(),
            rotary: self.rotary,
        }
    }
}
