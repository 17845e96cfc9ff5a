//! The linear layers that an adapter changes, and the parameters that it adds.

use super::spec::{AdapterSpec, Targets};
use rayon::prelude::*;
use regex::Regex;
use rlhf_device::Device;
use rlhf_models::WeightLayout;
use rlhf_models::{Architecture, ModelSpec, Part, Role, Which};
use rlhf_tensor::{ParameterSpec, Parameters, Rng, Stream};

/// A linear layer with an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdaptedLayer {
    pub(crate) part: Part,
    /// Its name in files, as in `model.layers.0.self_attn.q_proj`.
    pub(crate) module: String,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// The same for the layers whose products are computed as one, because they read the same input.
    group: usize,
}

impl AdaptedLayer {
    /// The name of A.
    pub(crate) fn a(&self) -> String {
        format!("{}.lora_A.weight", self.module)
    }

    /// The name of B.
    pub(crate) fn b(&self) -> String {
        format!("{}.lora_B.weight", self.module)
    }

    /// W += s·B·A, for A [r, in] and B [out, r], with W laid out as the architecture stores it.
    pub(crate) fn add_update(
        &self,
        weight: &mut [f32],
        (a, b): (&[f32], &[f32]),
        scale: f64,
        layout: WeightLayout,
    ) {
        let rank = a.len() / self.inputs;
        let (row_width, transposed) = match layout {
            WeightLayout::OutIn => (self.inputs, false),
            WeightLayout::InOut => (self.outputs, true),
        };
        let update = |output: usize, input: usize| -> f64 {
            let terms = (0..rank)
                .map(|r| f64::from(b[output * rank + r]) * f64::from(a[r * self.inputs + input]));
            terms.sum()
        };
        let rows = weight.par_chunks_mut(row_width).enumerate();
        rows.for_each(|(row, values)| {
            for (column, value) in values.iter_mut().enumerate() {
                let (output, input) = if transposed {
                    (column, row)
                } else {
                    (row, column)
                };
                *value = (f64::from(*value) + scale * update(output, input)) as f32;
            }
        });
    }
}

/// The layers of a network that the targets name, in the order of its parameters.
///
/// # Errors
/// If a target names none; the message says which layers there are.
pub(crate) fn adapted(
    architecture: &Architecture,
    spec: &ModelSpec,
    targets: &Targets,
) -> Result<Vec<AdaptedLayer>, String> {
    let all = linear_layers(architecture, spec);
    let known = || {
        let mut last: Vec<&str> = all.iter().map(|layer| last_name(&layer.module)).collect();
        last.sort_unstable();
        last.dedup();
        last.join(", ")
    };
    let matching = |matches: &dyn Fn(&str) -> bool| -> Vec<AdaptedLayer> {
        let found = all.iter().filter(|layer| matches(&layer.module));
        found.cloned().collect()
    };
    match targets {
        Targets::Pattern(all_linear) if all_linear == Targets::ALL_LINEAR => Ok(all),
        Targets::Pattern(pattern) => {
            let whole = Regex::new(&format!("^(?:{pattern})$"));
            let whole = whole.map_err(|error| {
                let error = error.to_string().replace('\n', " ");
                format!("the target {pattern:?} is not a regular expression: {error}")
            })?;
            let found = matching(&|module| whole.is_match(module));
            if found.is_empty() {
                return Err(format!(
                    "the target {pattern:?} matches no linear layer of the blocks; their names end in {}",
                    known()
                ));
            }
            Ok(found)
        }
        Targets::Names(names) => {
            let named =
                |module: &str, name: &str| module == name || module.ends_with(&format!(".{name}"));
            for name in names {
                if !all.iter().any(|layer| named(&layer.module, name)) {
                    return Err(format!(
                        "the target {name:?} matches no linear layer of the blocks; their names end in {}",
                        known()
                    ));
                }
            }
            Ok(matching(&|module| {
                names.iter().any(|name| named(module, name))
            }))
        }
    }
}

fn last_name(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Every linear layer of the blocks.
pub(crate) fn linear_layers(architecture: &Architecture, spec: &ModelSpec) -> Vec<AdaptedLayer> {
    let tensors = spec.tensors().into_iter();
    let matrices = tensors.filter(|tensor| {
        let of_block = matches!(tensor.part, Part::Block(..));
        of_block && matches!(tensor.role, Role::Matrix | Role::ResidualMatrix)
    });
    let mut group = 0;
    matrices
        .map(|tensor| {
            if !tensor.adjoins {
                group += 1;
            }
            let name = architecture.tensor_name(tensor.part, Which::Weight);
            let module = name.strip_suffix(".weight").unwrap_or(&name);
            let (inputs, outputs) = match spec.layout {
                WeightLayout::InOut => (tensor.shape[0], tensor.shape[1]),
                WeightLayout::OutIn => (tensor.shape[1], tensor.shape[0]),
            };
            AdaptedLayer {
                part: tensor.part,
                module: module.into(),
                inputs,
                outputs,
                group,
            }
        })
        .collect()
}

/// The parameters that an adapter of this rank adds to the layers: of layers that read the same input, first
/// the A's, each directly after the one before it so that they are read as one matrix, then the B's.
pub(crate) fn parameter_specs(layers: &[AdaptedLayer], rank: usize) -> Vec<ParameterSpec> {
    let mut specs = Vec::with_capacity(2 * layers.len());
    for together in layers.chunk_by(|a, b| a.group == b.group) {
        for (index, layer) in together.iter().enumerate() {
            let a = ParameterSpec::matrix(layer.a(), &[rank, layer.inputs]);
            specs.push(if index == 0 { a } else { a.adjoining() });
        }
        for layer in together {
            specs.push(ParameterSpec::matrix(layer.b(), &[layer.outputs, rank]));
        }
    }
    specs
}

/// Initializes an adapter as PEFT does: A uniform in ±1/√in (Kaiming with a = √5), B 0, so that the adapted
/// network starts as its base.
pub(crate) fn initialize<D: Device>(
    parameters: &mut Parameters<D>,
    layers: &[AdaptedLayer],
    seed: u64,
) {
    for (index, layer) in layers.iter().enumerate() {
        let id = parameters.id(&layer.a());
        let id = id.expect("an adapted layer has parameters");
        let bound = 1.0 / (layer.inputs as f64).sqrt();
        let mut rng = Rng::new(seed, Stream::Init, index as u64, 0);
        let next = || (bound * (2.0 * rng.uniform() - 1.0)) as f32;
        let count = parameters.spec(id).shape.iter().product();
        let values: Vec<f32> = std::iter::repeat_with(next).take(count).collect();
        parameters.write(id, 0, &values);
    }
}

impl AdapterSpec {
    /// The number of trained values of an adapter of this network.
    pub(crate) fn count(&self, layers: &[AdaptedLayer]) -> u64 {
        let sizes = layers.iter().map(|layer| layer.inputs + layer.outputs);
        (self.rank * sizes.sum::<usize>()) as u64
    }
}
