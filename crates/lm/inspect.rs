//! What a checkpoint folder holds, from its headers alone.

use crate::adapter::layers::parameter_specs;
use crate::adapter::spec::AdapterSpec;
use crate::adapter::weights;
use crate::checkpoint::Tensors;
use crate::config::{Adapter, ModelConfig};
use crate::ends::{self, EndToken};
use crate::error::{Error, Result};
use crate::loading::check_labels;
use crate::options::OutputHeads;
use crate::parameters::SCORE_WEIGHT;
use rlhf_device::Nonlinearity;
use rlhf_models::RopeScaling;
use rlhf_models::{Gate, ModelSpec, PositionSpec};
use rlhf_tensor::{ParameterSpec, Storage};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A checkpoint in a few numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its `model_type`, as in `config.json`.
    pub architecture: &'static str,
    /// The number of parameters, a value head apart.
    pub parameters: u64,
    /// The number of blocks.
    pub layers: usize,
    /// The number of attention heads.
    pub heads: usize,
    /// The number of key and value heads, which groups of attention heads share.
    pub kv_heads: usize,
    /// The width of each head.
    pub head_width: usize,
    /// D.
    pub width: usize,
    /// The width of the feed-forward layers.
    pub inner: usize,
    /// Their nonlinearity.
    pub activation: &'static str,
    /// Whether the feed-forward layers are gated.
    pub gated: bool,
    /// How the network knows positions, in words.
    pub positions: String,
    /// The attention windows of the blocks, tokens; null where a token attends to all before it.
    pub windows: Vec<Option<usize>>,
    /// The context, tokens.
    pub context: usize,
    /// V.
    pub vocab: usize,
    /// How many ids there are up to the last that has text: V, or fewer where rows of the embedding are
    /// padding.
    pub ids_with_text: usize,
    /// Whether the vocabulary head is the token embedding.
    pub tied: bool,
    /// The end-of-sequence token that completions are trained to end with.
    pub eos: Option<u32>,
    /// All end-of-sequence tokens, that one first.
    pub ends: Vec<EndToken>,
    /// The beginning-of-sequence token.
    pub bos: Option<u32>,
    /// Whether there is a tokenizer; without one, texts are ids.
    pub tokenizer: bool,
    /// Whether there is a value head beside the network.
    pub value_head: bool,
    /// Whether this is a reward model, which has no vocabulary head.
    pub reward_model: bool,
    /// The types of number in the files.
    pub dtypes: Vec<String>,
    /// The adapter on the network, if the folder is one.
    pub adapter: Option<AdapterSummary>,
    /// What is worth knowing of how the files were read, in sentences.
    pub notes: Vec<String>,
    /// Bytes in memory.
    pub memory: Memory,
    /// The tensors, by name.
    pub tensors: Vec<TensorSummary>,
    /// What the network is made of.
    #[serde(skip)]
    pub spec: ModelSpec,
}

/// An adapter in a few numbers.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterSummary {
    /// The folder of the base's weights.
    pub base: PathBuf,
    /// r.
    pub rank: usize,
    /// α.
    pub alpha: f64,
    /// The number of layers that it changes.
    pub layers: usize,
    /// The number of its values.
    pub parameters: u64,
}

/// The adapter on the network of a folder, from its settings alone: the folder's own if it is an adapter, or
/// else a new one of this `spec`, if there is one.
///
/// # Errors
/// If the folder's settings cannot be read, or a target names no layer.
pub fn plan_adapter(folder: &Path, spec: Option<&AdapterSpec>) -> Result<Option<AdapterSummary>> {
    let config = ModelConfig::load(folder)?;
    let config = match spec.filter(|_| config.adapter.is_none()) {
        Some(spec) => config
            .with_adapter(spec.clone(), folder)
            .map_err(|message| Error::Text(format!("model.adapter: {message}")))?,
        None => config,
    };
    Ok(config.adapter.as_ref().map(AdapterSummary::of))
}

impl AdapterSummary {
    fn of(adapter: &Adapter) -> Self {
        Self {
            base: adapter.base.clone(),
            rank: adapter.spec.rank,
            alpha: adapter.spec.alpha,
            layers: adapter.layers.len(),
            parameters: adapter.spec.count(&adapter.layers),
        }
    }
}

/// Bytes of memory, activations apart.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// Weights in f32: what a prior takes.
    pub frozen: u64,
    /// Weights with matrices in bf16: what a prior takes that is held so.
    pub frozen_bf16: u64,
    /// Weights, gradients and two moments in f32: what a policy in training takes.
    pub trainable: u64,
}

/// One tensor of a file.
#[derive(Debug, Clone, Serialize)]
pub struct TensorSummary {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type of number.
    pub dtype: String,
    /// The file it is in.
    pub file: String,
}

/// Looks at a checkpoint folder without reading its weights.
///
/// # Errors
/// As [`load`](crate::load), of everything but the weights' values.
pub fn inspect(folder: &Path) -> Result<Summary> {
    let (config, tokenizer, ends) = ends::settle(folder, ModelConfig::load(folder)?)?;
    let mut notes = tokenizer.notes().to_vec();
    notes.extend(ends::beyond(folder, &config)?);
    notes.extend(ends::disagreement(&ends));
    let (rows, used) = (config.spec.vocab, tokenizer.ids_with_text());
    if used < rows {
        notes.push(format!(
            "config.json: of vocab_size = {rows} entries the last {} have no text in the tokenizer: sampling, \
             training and KL leave them out and renormalize; score keeps them, as transformers does",
            rows - used
        ));
    }
    let weights_folder = config.weights_folder(folder);
    let model = Tensors::open_model(weights_folder, config.architecture.canonical)?;
    check_labels(weights_folder, &model)?;
    let adapter = config.adapter.as_ref();
    let of_adapter = adapter.map(|_| weights::tensors(folder)).transpose()?;
    let saved_score = of_adapter.as_ref();
    let saved_score = saved_score.is_some_and(|tensors| tensors.contains(SCORE_WEIGHT));
    let reward_model = model.contains(SCORE_WEIGHT) || saved_score;
    let heads = if reward_model {
        OutputHeads::Score
    } else {
        OutputHeads::Language
    };
    let (specs, block) = (config.parameter_specs(heads), config.spec.blocks[0]);
    let shape = block.attention.shape;
    let windows = config.spec.blocks.iter();
    let windows = windows.map(|block| block.attention.shape.window);
    let in_model = |spec: &&ParameterSpec| spec.name != SCORE_WEIGHT || !saved_score;
    let of_model: Vec<ParameterSpec> = specs.iter().filter(in_model).cloned().collect();
    let head = config.head_weight();
    match (adapter, &of_adapter) {
        (Some(adapter), Some(tensors)) => {
            model.check(&of_model, &[&head, SCORE_WEIGHT])?;
            tensors.check(
                &parameter_specs(&adapter.layers, adapter.spec.rank),
                &[SCORE_WEIGHT],
            )?;
        }
        _ => model.check(&of_model, &[&head])?,
    }
    let tensors: Vec<TensorSummary> = model
        .entries()
        .map(|(file, entry)| TensorSummary {
            name: entry.name.clone(),
            shape: entry.shape.clone(),
            dtype: format!("{:?}", entry.dtype),
            file: file_name(file),
        })
        .collect();
    let dtypes: BTreeSet<&String> = tensors.iter().map(|tensor| &tensor.dtype).collect();
    let size = |spec: &ParameterSpec| spec.shape.iter().product::<usize>() as u64;
    let parameters = specs.iter().map(size).sum();
    let halved = specs
        .iter()
        .filter(|spec| Storage::FrozenBf16.stores_bf16(spec));
    let halved: u64 = halved.map(size).sum();
    Ok(Summary {
        architecture: config.architecture.model_type,
        parameters,
        layers: config.spec.blocks.len(),
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_width: shape.head_width,
        width: config.spec.width,
        inner: block.mlp.inner,
        activation: activation(block.mlp.activation),
        gated: block.mlp.gate == Gate::Gated,
        positions: positions(&config.spec),
        windows: windows.collect(),
        context: config.spec.context,
        vocab: config.spec.vocab,
        ids_with_text: tokenizer.ids_with_text(),
        tied: config.spec.tied,
        eos: config.eos.first().copied(),
        ends,
        bos: config.bos,
        tokenizer: !tokenizer.is_ids(),
        value_head: Tensors::open_critic(folder, config.architecture.canonical)?.is_some(),
        reward_model,
        dtypes: dtypes.into_iter().cloned().collect(),
        notes,
        adapter: adapter.map(AdapterSummary::of),
        memory: Memory {
            frozen: 4 * parameters,
            frozen_bf16: 4 * parameters - 2 * halved,
            trainable: match adapter {
                Some(adapter) => 4 * parameters + 16 * adapter.spec.count(&adapter.layers),
                None => 16 * parameters,
            },
        },
        tensors,
        spec: config.spec.clone(),
    })
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A nonlinearity by transformers' name of it.
fn activation(nonlinearity: Nonlinearity) -> &'static str {
    match nonlinearity {
        Nonlinearity::GeluNew => "gelu_new",
        Nonlinearity::Gelu => "gelu",
        Nonlinearity::Relu => "relu",
        Nonlinearity::Silu => "silu",
    }
}

/// How a network knows positions, in words: `learned`, or `rotary` with what is particular in it.
fn positions(spec: &ModelSpec) -> String {
    if matches!(spec.embedding.positions, PositionSpec::Learned { .. }) {
        return "learned".into();
    }
    let mut words: Vec<String> = Vec::new();
    for block in &spec.blocks {
        let Some(rope) = block.attention.rope else {
            continue;
        };
        let mut rotary = format!("rotary, base {}", rope.theta);
        if rope.rotary < block.attention.shape.head_width {
            rotary += &format!(
                ", {} of {} numbers a head",
                rope.rotary, block.attention.shape.head_width
            );
        }
        rotary += &match rope.scaling {
            RopeScaling::None => String::new(),
            RopeScaling::Linear { factor } => format!(", linear × {factor}"),
            RopeScaling::Llama3 { factor, .. } => format!(", llama3 × {factor}"),
            RopeScaling::Yarn { factor, .. } => format!(", yarn × {factor}"),
        };
        if !words.contains(&rotary) {
            words.push(rotary);
        }
    }
    words.join("; ")
}
