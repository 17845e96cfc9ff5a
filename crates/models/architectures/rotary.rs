//! What the models with rotary positions have in common: Llama's fields of `config.json`, and its names of
//! tensors.

use super::{activation, with_trunk};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::rope::{Ramp, RopeScaling, RopeSpec};
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
use rlhf_device::{AttentionShape, Norm, NormKind};

/// The keys that transformers knows in `rope_parameters`; those that a type does not use change nothing.
const KEYS: [&str; 15] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "finetuned",
];

/// What transformers takes where a field is absent.
pub(super) struct Defaults {
    pub(super) vocab: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// None: as many as there are heads.
    pub(super) kv_heads: Option<usize>,
    /// None: the width over the heads.
    pub(super) head_width: Option<usize>,
    pub(super) context: usize,
    pub(super) epsilon: f64,
    pub(super) tied: bool,
    /// The field of the activation, and what it is where it is absent.
    pub(super) activation: (&'static str, &'static str),
}

/// What the rotation of a head depends on beside the fields of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) width: usize,
    pub(super) context: usize,
}

/// How an architecture's fields say what its rotation is.
pub(super) type RopeOf = fn(&Fields<'_>, Head) -> Result<RopeSpec, String>;

/// The network of a `config.json` with Llama's fields: RMS norms before attention and a gated feed-forward
/// layer, rotary positions, no biases (Touvron et al. 2023).
pub(super) fn spec(
    fields: &Fields<'_>,
    defaults: &Defaults,
    rope: RopeOf,
) -> Result<ModelSpec, String> {
    let width = fields.positive("hidden_size", defaults.width)?;
    let context = fields.positive("max_position_embeddings", defaults.context)?;
    let norm = Norm {
        kind: NormKind::Rms,
        epsilon: fields.epsilon("rms_norm_eps", defaults.epsilon)?,
        weight_offset: 0.0,
    };
    let block = BlockSpec {
        norm,
        place: NormPlace::Before,
        residual: Residual::Serial,
        attention: attention(fields, defaults, (width, context), rope)?,
        mlp: MlpSpec {
            inner: fields.positive("intermediate_size", defaults.inner)?,
            activation: activation(fields, defaults.activation.0, defaults.activation.1)?,
            gate: Gate::Gated,
            bias: false,
        },
    };
    Ok(ModelSpec {
        vocab: fields.positive("vocab_size", defaults.vocab)?,
        context,
        width,
        embedding: EmbeddingSpec {
            scale: 1.0,
            positions: PositionSpec::Rotary,
        },
        blocks: vec![block; fields.layers("num_hidden_layers", defaults.layers)?],
        final_norm: norm,
        tied: fields.flag("tie_word_embeddings", defaults.tied)?,
        layout: WeightLayout::OutIn,
    })
}

fn attention(
    fields: &Fields<'_>,
    defaults: &Defaults,
    (width, context): (usize, usize),
    rope: RopeOf,
) -> Result<AttentionSpec, String> {
    let heads = fields.positive("num_attention_heads", defaults.heads)?;
    let kv_heads = fields.positive("num_key_value_heads", defaults.kv_heads.unwrap_or(heads))?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(format!(
            "num_key_value_heads = {kv_heads} does not divide num_attention_heads = {heads}"
        ));
    }
    let head_width = match (fields.get("head_dim"), defaults.head_width) {
        (None, None) if !width.is_multiple_of(heads) => {
            return Err(format!(
                "num_attention_heads = {heads} does not divide hidden_size = {width}, and head_dim is \
                 missing"
            ));
        }
        (_, default) => fields.positive("head_dim", default.unwrap_or(width / heads))?,
    };
    let head = Head {
        width: head_width,
        context,
    };
    Ok(AttentionSpec {
        shape: AttentionShape {
            heads,
            kv_heads,
            head_width,
            scale: 1.0 / (head_width as f32).sqrt(),
            window: None,
        },
        projection: Projection::Separate,
        qkv_bias: false,
        output_bias: false,
        qk_norm: QkNorm::None,
        rope: Some(rope(fields, head)?),
    })
}

/// The fields of the base and of the part of each head that is rotated, with what they are where they are
/// absent.
pub(super) struct RopeFields {
    pub(super) theta: (&'static str, f64),
    pub(super) partial: (&'static str, f64),
}

/// Llama's rotation: of whole heads.
pub(super) fn whole_rope(fields: &Fields<'_>, head: Head) -> Result<RopeSpec, String> {
    let names = RopeFields {
        theta: ("rope_theta", 10_000.0),
        partial: ("partial_rotary_factor", 1.0),
    };
    let rope = rope(fields, head, &names)?;
    if rope.rotary != head.width {
        return Err(
            "partial_rotary_factor is not 1, which is not supported in this architecture".into(),
        );
    }
    Ok(rope)
}

/// The rotation that `rope_parameters` describes, or `rope_scaling` and other fields in older files.
pub(super) fn rope(
    fields: &Fields<'_>,
    head: Head,
    names: &RopeFields,
) -> Result<RopeSpec, String> {
    let theta = fields.above_zero(names.theta.0, names.theta.1)?;
    let partial = fields.above_zero(names.partial.0, names.partial.1)?;
    // As transformers has it, the older field wins.
    let scaling = fields.object("rope_scaling")?;
    let newer = fields.object("rope_parameters")?;
    let (theta, partial, scaling) = match scaling.or(newer) {
        None => (theta, partial, RopeScaling::None),
        Some(of) => (
            of.above_zero("rope_theta", theta)?,
            of.above_zero("partial_rotary_factor", partial)?,
            scaled(&of, fields, head.context)?,
        ),
    };
    rotation(head, (theta, partial), scaling)
}

/// A rotation of a part of each head.
pub(super) fn rotation(
    head: Head,
    (theta, partial): (f64, f64),
    scaling: RopeScaling,
) -> Result<RopeSpec, String> {
    let rotary = (head.width as f64 * partial) as usize;
    if rotary == 0 || rotary > head.width || !rotary.is_multiple_of(2) {
        return Err(format!(
            "rotary positions turn {rotary} of the {} numbers of a head ({partial} of it): this must be an \
             even number between 2 and all",
            head.width
        ));
    }
    Ok(RopeSpec {
        theta,
        rotary,
        scaling,
    })
}

/// The scaling of a rotation, from its fields and those beside them.
pub(super) fn scaled(
    of: &Fields<'_>,
    top: &Fields<'_>,
    context: usize,
) -> Result<RopeScaling, String> {
    let kind = match of.text("rope_type")? {
        Some(kind) => kind,
        None => of.text("type")?.unwrap_or("default"),
    };
    let unknown = of
        .not_asked()
        .find(|(key, _)| !KEYS.contains(&key.as_str()));
    if let Some((key, value)) = unknown {
        return Err(format!(
            "rope_parameters.{key} = {value} is not supported: the model would compute something else"
        ));
    }
    let original = || -> Result<f64, String> {
        let key = "original_max_position_embeddings";
        // As transformers has it, a field beside `rope_parameters` wins over one in it.
        let tokens = match top.get(key) {
            Some(_) => top.positive(key, context)?,
            None => of.positive(key, context)?,
        };
        Ok(tokens as f64)
    };
    match kind {
        // The base of `dynamic` changes beyond the length of pretraining, which is our context.
        "default" | "dynamic" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear {
            factor: of.required_above_zero("factor")?,
        }),
        "llama3" => {
            let scaling = RopeScaling::Llama3 {
                factor: of.required_above_zero("factor")?,
                low: of.required_above_zero("low_freq_factor")?,
                high: of.required_above_zero("high_freq_factor")?,
                original_context: original()?,
            };
            match scaling {
                RopeScaling::Llama3 { low, high, .. } if low >= high => Err(format!(
                    "low_freq_factor = {low} is not below high_freq_factor = {high}"
                )),
                scaling => Ok(scaling),
            }
        }
        "yarn" => yarn(of, original()?, context),
        other => Err(format!(
            "rope_type = {other:?} is not supported; default, linear, llama3, yarn and dynamic are"
        )),
    }
}

/// Yarn's fields with the defaults of its authors (Peng et al. 2023, §3.3 and §3.4).
fn yarn(of: &Fields<'_>, original: f64, context: usize) -> Result<RopeScaling, String> {
    let factor = of.above_zero("factor", context as f64 / original)?;
    let magnitude = |scale: f64, by: f64| match scale {
        scale if scale <= 1.0 => 1.0,
        scale => 0.1 * by * scale.ln() + 1.0,
    };
    let (all, some) = (of.number("mscale_all_dim", 0.0)?, of.number("mscale", 0.0)?);
    let attention = if some != 0.0 && all != 0.0 {
        magnitude(factor, some) / magnitude(factor, all)
    } else {
        magnitude(factor, 1.0)
    };
    let or = |number: f64, default: f64| if number == 0.0 { default } else { number };
    Ok(RopeScaling::Yarn {
        factor,
        fast: or(of.number("beta_fast", 32.0)?, 32.0),
        slow: or(of.number("beta_slow", 1.0)?, 1.0),
        original_context: original,
        attention: of.above_zero("attention_factor", attention)?,
        ramp: if of.flag("truncate", true)? {
            Ramp::Whole
        } else {
            Ramp::Exact
        },
    })
}

/// The windows of Qwen's layers: none, unless `use_sliding_window` says so; then those of the layers that
/// `layer_types` names, or from `max_window_layers` on.
pub(super) fn windows(fields: &Fields<'_>, layers: usize) -> Result<Vec<Option<usize>>, String> {
    let first = match fields
        .get("max_window_layers")
        .map(serde_json::Value::as_u64)
    {
        None => 28,
        Some(Some(first)) => usize::try_from(first).unwrap_or(usize::MAX),
        Some(None) => return Err("max_window_layers is not a number of layers".into()),
    };
    let window = match fields.get("sliding_window") {
        Some(_) if fields.flag("use_sliding_window", false)? => {
            Some(fields.positive("sliding_window", 4096)?)
        }
        _ => None,
    };
    let slides = match fields.words("layer_types", layers)? {
        None => (0..layers)
            .map(|layer| window.is_some() && layer >= first)
            .collect(),
        Some(words) => slides(&words)?,
    };
    if window.is_none() && slides.contains(&true) {
        let message = "layer_types names sliding_attention, but there is no window: set \
                       use_sliding_window and sliding_window";
        return Err(message.into());
    }
    Ok(slides
        .into_iter()
        .map(|slides| window.filter(|_| slides))
        .collect())
}

/// Which layers have a window, by their types.
pub(super) fn slides(types: &[&str]) -> Result<Vec<bool>, String> {
    let slides = |word: &&str| match *word {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => Err(format!(
            "layer_types names {other:?}; full_attention and sliding_attention are supported"
        )),
    };
    types.iter().map(slides).collect()
}

pub(super) fn name(part: Part) -> String {
    match part {
        Part::Tokens => "model.embed_tokens".into(),
        Part::FinalNorm => "model.norm".into(),
        Part::Head => "lm_head".into(),
        Part::Positions => unreachable!("rotary positions have no table"),
        Part::Block(layer, part) => {
            let part = match part {
                BlockPart::AttentionNorm => "input_layernorm",
                BlockPart::Query => "self_attn.q_proj",
                BlockPart::Key => "self_attn.k_proj",
                BlockPart::Value => "self_attn.v_proj",
                BlockPart::QueryNorm => "self_attn.q_norm",
                BlockPart::KeyNorm => "self_attn.k_norm",
                BlockPart::AttentionOut => "self_attn.o_proj",
                BlockPart::MlpNorm => "post_attention_layernorm",
                BlockPart::Gate => "mlp.gate_proj",
                BlockPart::Up => "mlp.up_proj",
                BlockPart::Down => "mlp.down_proj",
                other => unreachable!("Llama has no {other:?}"),
            };
            format!("model.layers.{layer}.{part}")
        }
    }
}

/// Older files store the frequencies of the rotation, which are no weights.
pub(super) fn canonical(name: &str) -> Option<String> {
    with_trunk(name, "model.", &[".rotary_emb.inv_freq"])
}
