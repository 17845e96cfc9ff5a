//! The cosines and sines of a network's rotary positions, on its device.

use rlhf_device::{Device, Dtype, Rope, Slice, StoredMut};
use rlhf_models::RopeSpec;

/// Fewest positions that tables are computed for.
const FEWEST: usize = 256;

/// A pair of tables for each rotation that blocks of a network use. They grow with the longest sequence
/// that has been read: a context may be far longer than any.
#[derive(Debug)]
pub(super) struct Ropes<D: Device> {
    tables: Vec<Tables<D>>,
}

#[derive(Debug)]
struct Tables<D: Device> {
    spec: RopeSpec,
    /// How many there are for.
    positions: usize,
    cos: D::Buffer,
    sin: D::Buffer,
}

impl<D: Device> Ropes<D> {
    pub(super) fn new() -> Self {
        Self { tables: Vec::new() }
    }

    /// The number by which blocks of this rotation ask for its tables.
    pub(super) fn number(&mut self, spec: RopeSpec) -> usize {
        let found = self.tables.iter().position(|tables| tables.spec == spec);
        found.unwrap_or_else(|| {
            self.tables.push(Tables {
                spec,
                positions: 0,
                cos: D::Buffer::default(),
                sin: D::Buffer::default(),
            });
            self.tables.len() - 1
        })
    }

    /// Computes tables for at least so many positions.
    pub(super) fn make_room(&mut self, device: &D, positions: usize) {
        for tables in &mut self.tables {
            if tables.positions < positions {
                tables.positions = positions.next_power_of_two().max(FEWEST);
                let values = tables.spec.tables(0..tables.positions);
                for (buffer, values) in
                    [(&mut tables.cos, values.cos), (&mut tables.sin, values.sin)]
                {
                    device.at_least(buffer, values.len());
                    let all = StoredMut::new(buffer, Dtype::F32, 0..values.len());
                    device.write(&values, all);
                }
            }
        }
    }

    /// The tables of a rotation.
    pub(super) fn get(&self, number: usize) -> Rope<'_, D> {
        let tables = &self.tables[number];
        let size = tables.positions * tables.spec.rotary / 2;
        Rope {
            cos: Slice::first(&tables.cos, size),
            sin: Slice::first(&tables.sin, size),
            rotary: tables.spec.rotary,
        }
    }
}
