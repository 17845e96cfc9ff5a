//! Where files keep the rows of a tensor in another order than parameters do.

use crate::config::ModelConfig;
use rlhf_models::Projection;
use rlhf_models::{BlockPart, Part};
use std::collections::HashMap;

/// The order of a tensor's values in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileOrder {
    /// As in the parameter.
    Same,
    /// The queries, keys and values of a head are together, one head after the other, where the parameter
    /// has the queries of all heads, then their keys, then their values (GPT-NeoX).
    ByHead {
        heads: usize,
        /// How many values the queries of one head are.
        unit: usize,
    },
}

impl FileOrder {
    /// How many values at a time keep their order, of `count` in all.
    pub(crate) fn unit(self, count: usize) -> usize {
        match self {
            Self::Same => count,
            Self::ByHead { unit, .. } => unit,
        }
    }

    /// Which unit of the parameter a unit of the file is.
    pub(crate) fn place(self, unit: usize) -> usize {
        match self {
            Self::Same => unit,
            Self::ByHead { heads, .. } => unit % 3 * heads + unit / 3,
        }
    }

    /// The units of a parameter in the order of the file.
    pub(crate) fn of_file(self, values: &[f32]) -> impl Iterator<Item = &[f32]> {
        let unit = self.unit(values.len()).max(1);
        (0..values.len() / unit).map(move |index| {
            let start = self.place(index) * unit;
            &values[start..start + unit]
        })
    }
}

/// The tensors whose files are in another order, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileOrders(HashMap<String, FileOrder>);

impl FileOrders {
    /// Those of a network.
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let mut orders = HashMap::new();
        for tensor in config.spec.tensors() {
            let Part::Block(layer, BlockPart::Qkv) = tensor.part else {
                continue;
            };
            let attention = &config.spec.blocks[layer].attention;
            if attention.projection == Projection::FusedByHead {
                let (heads, size) = (
                    attention.shape.heads,
                    tensor.shape.iter().product::<usize>(),
                );
                let unit = size / (3 * heads);
                let name = config.architecture.tensor(&tensor);
                orders.insert(name, FileOrder::ByHead { heads, unit });
            }
        }
        let adapter = config.adapter.iter();
        for layer in adapter.flat_map(|adapter| &adapter.layers) {
            let whole = format!("{}.weight", layer.module);
            if let Some(FileOrder::ByHead { heads, unit }) = orders.get(&whole).copied() {
                // The rows of B are those of the weight, of r numbers each.
                let rank = config
                    .adapter
                    .as_ref()
                    .map_or(1, |adapter| adapter.spec.rank);
                let unit = unit / layer.inputs * rank;
                orders.insert(layer.b(), FileOrder::ByHead { heads, unit });
            }
        }
        Self(orders)
    }

    /// The order of the tensor of this name.
    pub(crate) fn get(&self, name: &str) -> FileOrder {
        self.0.get(name).copied().unwrap_or(FileOrder::Same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_together_in_the_file() {
        // Two heads of queries 1 and 2, keys 3 and 4, values 5 and 6, two numbers each.
        let parameter: Vec<f32> = (2..14).map(|i| (i / 2) as f32).collect();
        let order = FileOrder::ByHead { heads: 2, unit: 2 };
        let file = order.of_file(&parameter).collect::<Vec<_>>().concat();
        assert_eq!(file, [1., 1., 3., 3., 5., 5., 2., 2., 4., 4., 6., 6.]);
        let same: Vec<_> = FileOrder::Same.of_file(&parameter).collect();
        assert_eq!(same, [&parameter[..]]);
    }
}
