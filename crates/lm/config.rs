//! `config.json` of a GPT-2 checkpoint in Hugging Face layout.

use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The nonlinearity of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x) by the tanh approximation (Hendrycks & Gimpel 2016, §2): GPT-2's own.
    GeluNew,
    /// x·Φ(x), exact.
    Gelu,
    /// max(x, 0).
    Relu,
    /// x·σ(x).
    Silu,
}

impl Activation {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluNew),
            "gelu" => Some(Self::Gelu),
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            _ => None,
        }
    }
}

/// Which of transformers' classes a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `GPT2LMHeadModel`.
    LanguageModel,
    /// `GPT2ForSequenceClassification` with one label.
    RewardModel,
}

/// 64 GiB in f32: beyond this a file is mistaken, or not for this program.
const MOST_PARAMETERS: u64 = 1 << 34;
const MOST_LAYERS: usize = 1 << 12;

/// The end of a text in the configuration that transformers takes where nothing is said.
const LIBRARY_EOS: u64 = 50256;

/// Everything in `config.json` that changes what a GPT-2 computes, and the rest as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpt2Config {
    /// V.
    pub vocab: usize,
    /// The context, tokens.
    pub positions: usize,
    /// D.
    pub width: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of attention heads, a divisor of D.
    pub heads: usize,
    /// The width of the feed-forward layer.
    pub inner: usize,
    /// Its nonlinearity.
    pub activation: Activation,
    /// ε of the layer norms.
    pub norm_epsilon: f32,
    /// Whether the vocabulary head is the token embedding.
    pub tied: bool,
    /// Whether attention scores are divided by √(head width).
    pub scale_by_width: bool,
    /// Whether attention scores of block i are divided by i + 1.
    pub scale_by_layer: bool,
    /// The beginning-of-sequence token.
    pub bos: Option<u32>,
    /// The end-of-sequence tokens: each ends a response, and the first is what completions are trained
    /// to end with.
    pub eos: Vec<u32>,
    /// The token that ends of texts are filled up with elsewhere. Nothing is ever padded here; a
    /// reward model does not read its score at this token.
    pub pad: Option<u32>,
    /// The whole file, to write back.
    raw: Map<String, Value>,
}

impl Gpt2Config {
    /// Reads `config.json` of a checkpoint folder.
    ///
    /// # Errors
    /// If it is missing, malformed, or asks for something that is not supported; the message names
    /// the field.
    pub fn load(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let message = match folder.exists() {
                true => "is not a folder: give the folder of a checkpoint",
                false => "no such folder: give one with config.json and model.safetensors",
            };
            return Err(Error::invalid(folder, message));
        }
        Self::read(&folder.join("config.json"))
    }

    /// Reads a file in the format of `config.json`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            Error::invalid(path, format!("is not JSON ({error}): copy it again"))
        })?;
        Self::from_json(value).map_err(|message| Error::invalid(path, message))
    }

    /// Interprets the content of a `config.json`.
    ///
    /// # Errors
    /// A message that names the field at fault.
    pub fn from_json(value: Value) -> std::result::Result<Self, String> {
        let Value::Object(raw) = value else {
            return Err("not a JSON object".into());
        };
        let fields = Fields(&raw);
        fields.check_architecture()?;
        let width = fields.positive("n_embd", 768)?;
        let heads = fields.positive("n_head", 12)?;
        if width % heads != 0 {
            return Err(format!("n_head = {heads} does not divide n_embd = {width}"));
        }
        let positions = match fields.get("n_positions") {
            Some(_) => fields.positive("n_positions", 1024)?,
            None => fields.positive("n_ctx", 1024)?,
        };
        let vocab = fields.positive("vocab_size", 50257)?;
        let name = fields.text("activation_function")?.unwrap_or("gelu_new");
        let activation = Activation::parse(name).ok_or_else(|| {
            format!("activation_function = {name:?} is not one of gelu_new, gelu, relu, silu")
        })?;
        let epsilon = fields.number("layer_norm_epsilon", 1e-5)?;
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(format!(
                "layer_norm_epsilon = {epsilon} is not between 0 and 1"
            ));
        }
        let config = Self {
            vocab,
            positions,
            width,
            layers: fields.positive("n_layer", 12)?,
            heads,
            inner: fields.positive("n_inner", 4 * width)?,
            activation,
            norm_epsilon: epsilon as f32,
            tied: fields.flag("tie_word_embeddings", true)?,
            scale_by_width: fields.flag("scale_attn_weights", true)?,
            scale_by_layer: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
            bos: fields.token("bos_token_id", vocab)?,
            eos: end_tokens(&raw, vocab)?,
            pad: fields.token("pad_token_id", vocab)?,
            raw: raw.clone(),
        };
        // Said before anything is allocated for it.
        let parameters = config.parameters();
        if parameters > MOST_PARAMETERS || config.layers > MOST_LAYERS {
            return Err(format!(
                "vocab_size, n_positions, n_embd, n_inner and n_layer = {} describe {parameters} \
                 parameters, more than are supported",
                config.layers
            ));
        }
        Ok(config)
    }

    /// The number of parameters, the value head apart.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let [v, p, d, inner, layers] = [
            self.vocab,
            self.positions,
            self.width,
            self.inner,
            self.layers,
        ]
        .map(|size| size as u128);
        let block = 4 * d * d + 2 * d * inner + 9 * d + inner;
        let heads = if self.tied { 1 } else { 2 };
        let total = layers * block + (heads * v + p + 2) * d;
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// Takes the end-of-sequence and beginning-of-sequence tokens from the tokenizer where the
    /// file says nothing of them; `null` says that there is none.
    #[must_use]
    pub fn or_special(mut self, end_of_text: Option<u32>) -> Self {
        let known = end_of_text.filter(|id| (*id as usize) < self.vocab);
        if !self.says_eos() {
            self.eos = known.into_iter().collect();
        }
        if !self.raw.contains_key("bos_token_id") {
            self.bos = known;
        }
        self
    }

    /// Whether the file says which tokens end a response, or that none does.
    pub(crate) fn says_eos(&self) -> bool {
        self.raw.contains_key("eos_token_id")
    }

    /// The ids of the file's ends that no token of the vocabulary has.
    pub(crate) fn ends_beyond(&self) -> Vec<u64> {
        ends_beyond(&self.raw, self.vocab)
    }

    /// The configuration of a reward model made from this language model. A pad token that is also
    /// an EOS is forgotten: the score is to be read at the EOS, which says that a response is over.
    #[must_use]
    pub fn as_new_reward_model(mut self) -> Self {
        self.pad = self.pad.filter(|pad| !self.eos.contains(pad));
        self
    }

    /// The content of the `config.json` that describes this network, for Python too.
    #[must_use]
    pub fn to_json(&self, architecture: Architecture) -> Value {
        let mut raw = self.raw.clone();
        let class = match architecture {
            Architecture::LanguageModel => "GPT2LMHeadModel",
            Architecture::RewardModel => {
                // One label; transformers takes two unless it is said.
                let labels = raw.get("id2label").and_then(Value::as_object);
                if labels.is_none_or(|labels| labels.len() != 1) {
                    raw.insert("id2label".into(), json!({"0": "reward"}));
                    raw.insert("label2id".into(), json!({"reward": 0}));
                }
                raw.insert("pad_token_id".into(), json!(self.pad));
                "GPT2ForSequenceClassification"
            }
        };
        raw.insert("architectures".into(), json!([class]));
        raw.insert("model_type".into(), "gpt2".into());
        for key in ["torch_dtype", "dtype"] {
            raw.remove(key);
        }
        raw.insert("torch_dtype".into(), "float32".into());
        // Said even where they are the defaults of today, so that other readers agree.
        let token = |token: Option<u32>| token.map_or(Value::Null, Value::from);
        raw.insert("bos_token_id".into(), token(self.bos));
        raw.insert("eos_token_id".into(), self.ends_to_write());
        raw.insert("tie_word_embeddings".into(), self.tied.into());
        Value::Object(raw)
    }

    /// `eos_token_id`, so that the same tokens end a response when the folder is read again. Where the
    /// file names its ends, those of other files stay in these. Where it names none, all are written: what
    /// it says then holds over the default that is one of them.
    fn ends_to_write(&self) -> Value {
        let own = match self.says_eos() {
            true => end_tokens(&self.raw, self.vocab).unwrap_or_default(),
            false => self.eos.clone(),
        };
        match own[..] {
            [] => Value::Null,
            [one] => one.into(),
            _ => own.into(),
        }
    }

    /// What attention scores of block `layer` are multiplied by.
    #[must_use]
    pub fn attention_scale(&self, layer: usize) -> f32 {
        let width = if self.scale_by_width {
            ((self.width / self.heads) as f32).sqrt()
        } else {
            1.0
        };
        let depth = if self.scale_by_layer {
            (layer + 1) as f32
        } else {
            1.0
        };
        1.0 / (width * depth)
    }
}

/// Typed access to the fields of the file, with messages that name them.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn check_architecture(&self) -> std::result::Result<(), String> {
        let gpt2 = |name: &str| name == "gpt2" || name.starts_with("GPT2");
        let model_type = self.text("model_type")?;
        let architectures = self.get("architectures").and_then(Value::as_array);
        let architecture = architectures
            .and_then(|all| all.first())
            .and_then(Value::as_str);
        match model_type.or(architecture) {
            Some(name) if gpt2(name) => {}
            Some(name) => return Err(format!("model_type = {name:?}: only gpt2 is supported")),
            None => return Err("model_type is missing: is this a language model's config?".into()),
        }
        if self.flag("add_cross_attention", false)? {
            return Err("add_cross_attention = true is not supported".into());
        }
        if self.get("quantization_config").is_some() {
            return Err("quantization_config: quantized checkpoints are not supported".into());
        }
        Ok(())
    }

    fn positive(&self, key: &str, default: usize) -> std::result::Result<usize, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                // Beyond this no checkpoint of GPT-2's kind exists, and products would overflow.
                Some(number) if (1..1 << 24).contains(&number) => Ok(number as usize),
                _ => Err(format!(
                    "{key} = {value} is not a positive whole number of sane size"
                )),
            },
        }
    }

    fn number(&self, key: &str, default: f64) -> std::result::Result<f64, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_f64()
            .ok_or_else(|| format!("{key} = {value} is not a number"))
    }

    fn flag(&self, key: &str, default: bool) -> std::result::Result<bool, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| format!("{key} = {value} is not true or false"))
    }

    fn text(&self, key: &str) -> std::result::Result<Option<&str>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| format!("{key} = {value} is not a string"))
    }

    /// A token id; one beyond the vocabulary (the library's default 50256 on a small model) counts
    /// as none.
    fn token(&self, key: &str, vocab: usize) -> std::result::Result<Option<u32>, String> {
        match self.tokens(key, vocab)?[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(format!("{key} = {} is not one token id", self.0[key])),
        }
    }

    /// Token ids, one or a list.
    fn tokens(&self, key: &str, vocab: usize) -> std::result::Result<Vec<u32>, String> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let all = match value.as_array() {
            Some(all) => all.as_slice(),
            None => std::slice::from_ref(value),
        };
        let mut ids = Vec::with_capacity(all.len());
        for one in all {
            let wrong = || format!("{key} = {value} is neither a token id nor a list of them");
            let id = one.as_u64().ok_or_else(wrong)?;
            if id < vocab as u64 && !ids.contains(&(id as u32)) {
                ids.push(id as u32);
            }
        }
        Ok(ids)
    }
}

/// `eos_token_id`, one token or a list, of `config.json` or `generation_config.json`.
pub(crate) fn end_tokens(
    keys: &Map<String, Value>,
    vocab: usize,
) -> std::result::Result<Vec<u32>, String> {
    Fields(keys).tokens("eos_token_id", vocab)
}

/// The ids of `eos_token_id` that no token of the vocabulary has. The library's default, which it writes
/// for a small model too, is no such id.
pub(crate) fn ends_beyond(keys: &Map<String, Value>, vocab: usize) -> Vec<u64> {
    let value = keys.get("eos_token_id").unwrap_or(&Value::Null);
    let all = match value.as_array() {
        Some(all) => all.as_slice(),
        None if *value == LIBRARY_EOS => &[],
        None => std::slice::from_ref(value),
    };
    let ids = all.iter().filter_map(Value::as_u64);
    ids.filter(|id| *id >= vocab as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: Value) -> std::result::Result<Gpt2Config, String> {
        let mut config = json!({"model_type": "gpt2", "vocab_size": 61, "n_embd": 32, "n_head": 2,
            "n_layer": 2, "n_positions": 16});
        config[key] = value;
        Gpt2Config::from_json(config)
    }

    #[test]
    fn defaults_and_fields() {
        let config = with("n_inner", Value::Null).unwrap();
        assert_eq!(
            (config.inner, config.positions, config.tied),
            (128, 16, true)
        );
        assert_eq!(config.activation, Activation::GeluNew);
        assert!((config.attention_scale(3) - 0.25).abs() < 1e-7);
        let scaled = with("scale_attn_by_inverse_layer_idx", json!(true)).unwrap();
        assert!((scaled.attention_scale(3) - 0.0625).abs() < 1e-7);
        let unscaled = with("scale_attn_weights", json!(false)).unwrap();
        assert_eq!(unscaled.attention_scale(3), 1.0);
        assert_eq!(with("eos_token_id", json!(50256)).unwrap().eos, [0u32; 0]);
        assert_eq!(with("eos_token_id", json!(60)).unwrap().eos, [60]);
        let special = |key, value| {
            let config = with(key, value).unwrap().or_special(Some(7));
            (config.eos, config.bos)
        };
        assert_eq!(special("n_inner", json!(3)), (vec![7], Some(7)));
        assert_eq!(special("eos_token_id", Value::Null), (vec![], Some(7)));
        assert_eq!(special("eos_token_id", json!([3])), (vec![3], Some(7)));
        assert_eq!(
            special("eos_token_id", json!([3, 9, 61])),
            (vec![3, 9], Some(7))
        );
        assert_eq!(special("bos_token_id", json!(50256)), (vec![7], None));
        let gpt2 = Gpt2Config::from_json(json!({"model_type": "gpt2"})).unwrap();
        assert_eq!(gpt2.parameters(), 124_439_808);
        assert_eq!(
            with("resid_pdrop", json!(0.1))
                .unwrap()
                .to_json(Architecture::LanguageModel)["resid_pdrop"],
            0.1
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (key, value, named) in [
            ("n_head", json!(3), "n_head = 3 does not divide n_embd = 32"),
            ("activation_function", json!("mish"), "\"mish\""),
            ("model_type", json!("llama"), "\"llama\""),
            ("add_cross_attention", json!(true), "add_cross_attention"),
            ("n_layer", json!(-1), "n_layer = -1"),
            ("n_embd", json!("wide"), "n_embd"),
            ("vocab_size", json!(1u64 << 60), "vocab_size"),
            ("tie_word_embeddings", json!(1), "tie_word_embeddings"),
            ("n_positions", json!(-1), "n_positions = -1"),
            ("eos_token_id", json!([1, "2"]), "eos_token_id = [1,\"2\"]"),
            ("bos_token_id", json!([1, 2]), "bos_token_id = [1,2]"),
            ("n_layer", json!(1 << 20), "n_layer"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
