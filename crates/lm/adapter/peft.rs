//! An adapter's folder in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use super::{AdapterSpec, Scaling, Targets};
use crate::checkpoint::Tensors;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The settings.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// The weights.
pub(crate) const MODEL: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of a network's tensors.
pub(crate) const PREFIX: &str = "base_model.model.";

/// Settings that change nothing in the network: of training in Python, or of PEFT itself.
const IGNORED: [&str; 11] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
];

/// Settings that are read here.
const READ: [&str; 7] = [
    "peft_type",
    "r",
    "lora_alpha",
    "target_modules",
    "use_rslora",
    "modules_to_save",
    "fan_in_fan_out",
];

/// What PEFT saves of a reward model beside its adapter.
const HEADS: [&str; 2] = ["score", "classifier"];

/// Whether a folder holds an adapter.
pub(crate) fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// An adapter's folder: its settings, and where its base is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeftFolder {
    pub(crate) spec: AdapterSpec,
    /// The folder of the base.
    pub(crate) base: PathBuf,
}

impl PeftFolder {
    /// Reads the settings of a folder.
    ///
    /// # Errors
    /// If they are malformed, ask for something that is not supported, or name a base that is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let invalid = |message: String| Error::invalid(&path, message);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| invalid(format!("is not JSON ({error}): copy it again")))?;
        let Value::Object(fields) = value else {
            return Err(invalid("is not a JSON object: copy it again".into()));
        };
        let spec = spec(&fields).map_err(invalid)?;
        check_saved(&fields).map_err(invalid)?;
        let base = base(folder, &fields).map_err(invalid)?;
        Ok(Self { spec, base })
    }

    /// The tensors of a folder, by the names of the network's parameters.
    pub(crate) fn tensors(folder: &Path) -> Result<Tensors> {
        let path = folder.join(MODEL);
        if !path.exists() {
            let message =
                "is missing: this adapter has no weights; copy it beside adapter_config.json";
            return Err(Error::invalid(&path, message));
        }
        Tensors::open_file(&path, CONFIG, |name| {
            Some(name.strip_prefix(PREFIX).unwrap_or(name).into())
        })
    }
}

/// The settings of an adapter.
fn spec(fields: &Map<String, Value>) -> std::result::Result<AdapterSpec, String> {
    match fields.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        Some(other) => {
            return Err(format!(
                "peft_type = {other:?} is not supported: only LORA is; merge it into its base in Python"
            ));
        }
        None => return Err("has no `peft_type`: is this an adapter's file?".into()),
    }
    refuse_others(fields)?;
    let rank = fields.get("r").and_then(Value::as_u64);
    let rank = rank.ok_or("has no whole number `r`, the rank of the adapter")?;
    let alpha = fields.get("lora_alpha").and_then(Value::as_f64);
    let by_root = fields.get("use_rslora").and_then(Value::as_bool);
    let targets = fields.get("target_modules").unwrap_or(&Value::Null);
    let targets: Targets = serde_json::from_value(targets.clone()).map_err(|_| {
        format!("target_modules = {targets}: must be a list of names or a regular expression")
    })?;
    let spec = AdapterSpec {
        rank: usize::try_from(rank).map_err(|_| format!("r = {rank} is too large"))?,
        alpha: alpha.ok_or("has no number `lora_alpha`")?,
        targets,
        scaling: if by_root == Some(true) {
            Scaling::ByRootRank
        } else {
            Scaling::ByRank
        },
    };
    spec.check()?;
    Ok(spec)
}

/// Refuses every setting that changes the network and is not read here.
fn refuse_others(fields: &Map<String, Value>) -> std::result::Result<(), String> {
    for (key, value) in fields {
        let neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            Value::String(text) => key == "bias" && text == "none",
            _ => false,
        };
        let known = IGNORED.contains(&key.as_str()) || READ.contains(&key.as_str());
        if !known && !neutral {
            return Err(format!(
                "{key} = {value} is not supported: the adapter would compute something else; merge it into \
                 its base in Python"
            ));
        }
    }
    Ok(())
}

/// Refuses layers that were trained whole and saved with the adapter, but for the head of a reward model.
fn check_saved(fields: &Map<String, Value>) -> std::result::Result<(), String> {
    let modules = fields.get("modules_to_save").and_then(Value::as_array);
    let mut all = modules.into_iter().flatten();
    match all.find(|one| one.as_str().is_none_or(|name| !HEADS.contains(&name))) {
        None => Ok(()),
        Some(other) => Err(format!(
            "modules_to_save: {other} is not supported, only the head of a reward model; merge the adapter \
             into its base in Python"
        )),
    }
}

/// The folder of the base: as it is written, or beside the adapter.
fn base(folder: &Path, fields: &Map<String, Value>) -> std::result::Result<PathBuf, String> {
    let key = "base_model_name_or_path";
    let name = fields.get(key).and_then(Value::as_str);
    let name = name.ok_or_else(|| format!("has no `{key}`: write the folder of its base"))?;
    let candidates = [folder.join(name), PathBuf::from(name)];
    let found = candidates.into_iter().find(|path| path.is_dir());
    found.ok_or_else(|| {
        format!(
            "{key} = {name:?}: there is no such folder, from here or beside the adapter; `rlhf model fetch` \
             brings a model of the hub and says its folder: write that"
        )
    })
}

/// The content of `adapter_config.json`, as PEFT reads it.
pub(crate) fn to_json(spec: &AdapterSpec, base: &Path, kind: Kind) -> Value {
    let (task, saved, transposed) = match kind {
        Kind::LanguageModel { transposed } => ("CAUSAL_LM", Value::Null, transposed),
        Kind::RewardModel { transposed } => ("SEQ_CLS", json!(["score"]), transposed),
    };
    json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": saved,
        "peft_type": "LORA",
        "r": spec.rank,
        "target_modules": spec.targets,
        "task_type": task,
        "use_dora": false,
        "use_rslora": spec.scaling == Scaling::ByRootRank,
    })
}

/// What an adapter is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A language model; whether its linear layers store [in, out].
    LanguageModel {
        /// As GPT-2's `Conv1D` does.
        transposed: bool,
    },
    /// A reward model, whose head is saved with the adapter.
    RewardModel {
        /// As GPT-2's `Conv1D` does.
        transposed: bool,
    },
}
