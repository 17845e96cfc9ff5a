//! `config.json` of a checkpoint in Hugging Face layout: what is the same for every architecture.

use crate::adapter::AdapterSpec;
use crate::adapter::layers::{AdaptedLayer, adapted};
use crate::adapter::peft::{self, PeftFolder, is_adapter};
use crate::error::{Error, Result};
use rlhf_models::Architecture;
use rlhf_models::Fields;
use rlhf_models::ModelSpec;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Which of transformers' classes a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelClass {
    /// With a vocabulary head.
    LanguageModel,
    /// With one number a text: sequence classification with one label.
    RewardModel,
}

/// 64 GiB in f32: beyond this a file is mistaken, or not for this program.
const MOST_PARAMETERS: u64 = 1 << 34;

/// The end of a text in the configuration that transformers takes where nothing is said.
const LIBRARY_EOS: u64 = 50256;

/// An adapter on a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adapter {
    pub(crate) spec: AdapterSpec,
    /// The layers that it changes.
    pub(crate) layers: Vec<AdaptedLayer>,
    /// The folder of the base's weights.
    pub(crate) base: PathBuf,
}

/// What `config.json` says: the network, its special tokens, and the rest as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// What the network is made of.
    pub spec: ModelSpec,
    /// The beginning-of-sequence token.
    pub bos: Option<u32>,
    /// The end-of-sequence tokens: each ends a response, and the first is what completions are trained
    /// to end with.
    pub eos: Vec<u32>,
    /// The token that ends of texts are filled up with elsewhere. Nothing is ever padded here; a
    /// reward model does not read its score at this token.
    pub pad: Option<u32>,
    /// How many ids the vocabulary head answers about, from 0 on: V, or fewer where the last of them have no
    /// text.
    pub outputs: usize,
    /// Whose file it is.
    pub(crate) architecture: &'static Architecture,
    /// `initializer_range`.
    pub(crate) initial_deviation: f64,
    /// The adapter on the network, if there is one.
    pub(crate) adapter: Option<Adapter>,
    /// The whole file, to write back.
    raw: Map<String, Value>,
}

impl ModelConfig {
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
        if is_adapter(folder) {
            return Self::of_adapter(folder);
        }
        Self::read(&folder.join("config.json"))
    }

    /// The configuration of an adapter's folder: that of its base, with the adapter.
    fn of_adapter(folder: &Path) -> Result<Self> {
        let PeftFolder { spec, base } = PeftFolder::open(folder)?;
        if is_adapter(&base) {
            let message = format!(
                "its base {} is an adapter too: merge that first (rlhf model merge)",
                base.display()
            );
            return Err(Error::invalid(folder, message));
        }
        let with = Self::load(&base)?.with_adapter(spec, &base);
        with.map_err(|message| Error::invalid(&folder.join(peft::CONFIG), message))
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
        let fields = Fields::new(&raw);
        let architecture = Architecture::of(&fields)?;
        let spec = architecture.spec(&fields)?;
        // Said before anything is allocated for it.
        let parameters = spec.parameters();
        if parameters > MOST_PARAMETERS {
            return Err(format!(
                "the sizes of vocabulary, context, width and layers describe {parameters} parameters, \
                 more than are supported"
            ));
        }
        let vocab = spec.vocab;
        Ok(Self {
            bos: fields.token("bos_token_id", vocab)?,
            eos: end_tokens(&raw, vocab)?,
            pad: fields.token("pad_token_id", vocab)?,
            outputs: vocab,
            spec,
            architecture,
            initial_deviation: fields.number("initializer_range", 0.02)?,
            adapter: None,
            raw: raw.clone(),
        })
    }

    /// The same network with an adapter on the weights of the folder `base`.
    ///
    /// # Errors
    /// If a target names no layer; the message says which.
    pub(crate) fn with_adapter(
        self,
        spec: AdapterSpec,
        base: &Path,
    ) -> std::result::Result<Self, String> {
        spec.check()?;
        let layers = adapted(&self, &spec.targets)?;
        let base = base.to_path_buf();
        let adapter = Some(Adapter { spec, layers, base });
        Ok(Self { adapter, ..self })
    }

    /// The same network without its adapter.
    pub(crate) fn without_adapter(self) -> Self {
        Self {
            adapter: None,
            ..self
        }
    }

    /// The folder of the weights of a checkpoint's folder: its own, or that of its adapter's base.
    pub(crate) fn weights_folder<'a>(&'a self, folder: &'a Path) -> &'a Path {
        self.adapter
            .as_ref()
            .map_or(folder, |adapter| &adapter.base)
    }

    /// Takes the end-of-sequence and beginning-of-sequence tokens from the tokenizer where the
    /// file says nothing of them; `null` says that there is none.
    #[must_use]
    pub fn or_special(mut self, end_of_text: Option<u32>) -> Self {
        let known = end_of_text.filter(|id| (*id as usize) < self.spec.vocab);
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
        ends_beyond(&self.raw, self.spec.vocab)
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
    pub fn to_json(&self, class: ModelClass) -> Value {
        let mut raw = self.raw.clone();
        let class = match class {
            ModelClass::LanguageModel => self.architecture.language_model,
            ModelClass::RewardModel => {
                // One label; transformers takes two unless it is said.
                let labels = raw.get("id2label").and_then(Value::as_object);
                if labels.is_none_or(|labels| labels.len() != 1) {
                    raw.insert("id2label".into(), json!({"0": "reward"}));
                    raw.insert("label2id".into(), json!({"reward": 0}));
                }
                raw.insert("pad_token_id".into(), json!(self.pad));
                self.architecture.reward_model
            }
        };
        raw.insert("architectures".into(), json!([class]));
        raw.insert("model_type".into(), self.architecture.model_type.into());
        for key in ["torch_dtype", "dtype"] {
            raw.remove(key);
        }
        raw.insert("torch_dtype".into(), "float32".into());
        // Said even where they are the defaults of today, so that other readers agree.
        let token = |token: Option<u32>| token.map_or(Value::Null, Value::from);
        raw.insert("bos_token_id".into(), token(self.bos));
        raw.insert("eos_token_id".into(), self.ends_to_write());
        raw.insert("tie_word_embeddings".into(), self.spec.tied.into());
        Value::Object(raw)
    }

    /// `eos_token_id`, so that the same tokens end a response when the folder is read again. Where the
    /// file names its ends, those of other files stay in these. Where it names none, all are written: what
    /// it says then holds over the default that is one of them.
    fn ends_to_write(&self) -> Value {
        let own = match self.says_eos() {
            true => end_tokens(&self.raw, self.spec.vocab).unwrap_or_default(),
            false => self.eos.clone(),
        };
        match own[..] {
            [] => Value::Null,
            [one] => one.into(),
            _ => own.into(),
        }
    }
}

/// `eos_token_id`, one token or a list, of `config.json` or `generation_config.json`.
pub(crate) fn end_tokens(
    keys: &Map<String, Value>,
    vocab: usize,
) -> std::result::Result<Vec<u32>, String> {
    Fields::new(keys).tokens("eos_token_id", vocab)
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
    use rlhf_device::Nonlinearity;

    fn with(key: &str, value: Value) -> std::result::Result<ModelConfig, String> {
        let mut config = json!({"model_type": "gpt2", "vocab_size": 61, "n_embd": 32, "n_head": 2,
            "n_layer": 4, "n_positions": 16});
        config[key] = value;
        ModelConfig::from_json(config)
    }

    #[test]
    fn defaults_and_fields() {
        let scale = |config: &ModelConfig| config.spec.blocks[3].attention.shape.scale;
        let config = with("n_inner", Value::Null).unwrap();
        assert_eq!(
            (
                config.spec.blocks[1].mlp.inner,
                config.spec.context,
                config.spec.tied
            ),
            (128, 16, true)
        );
        assert_eq!(config.spec.blocks[0].mlp.activation, Nonlinearity::GeluNew);
        assert!((scale(&config) - 0.25).abs() < 1e-7);
        let scaled = with("scale_attn_by_inverse_layer_idx", json!(true)).unwrap();
        assert!((scale(&scaled) - 0.0625).abs() < 1e-7);
        let unscaled = with("scale_attn_weights", json!(false)).unwrap();
        assert_eq!(scale(&unscaled), 1.0);
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
        let gpt2 = ModelConfig::from_json(json!({"model_type": "gpt2"})).unwrap();
        assert_eq!(gpt2.spec.parameters(), 124_439_808);
        assert_eq!(
            with("resid_pdrop", json!(0.1))
                .unwrap()
                .to_json(ModelClass::LanguageModel)["resid_pdrop"],
            0.1
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (key, value, named) in [
            ("n_head", json!(3), "n_head = 3 does not divide n_embd = 32"),
            ("activation_function", json!("mish"), "\"mish\""),
            ("model_type", json!("mamba"), "\"mamba\""),
            (
                "final_logit_softcapping",
                json!(30.0),
                "final_logit_softcapping",
            ),
            ("embedding_multiplier", json!(12), "embedding_multiplier"),
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
