//! The architectures that are translated: what their settings and tensors are called on either side.

mod decoder;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod rope;

use crate::config::Config;
use crate::transform::Transform;
use crate::{GgufFile, NewTensor, Result, Value};
use serde_json::{Map, Value as Json};

/// What an architecture says about itself.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `general.architecture` in GGUF.
    pub(crate) gguf: &'static str,
    /// `model_type` of `config.json`.
    pub(crate) model_type: &'static str,
    /// The class in `architectures` of `config.json`.
    pub(crate) class: &'static str,
    /// What folders put before the names of tensors, and some leave out.
    pub(crate) prefix: &'static str,
    /// Other names that folders have for a tensor, beside the name in `tensors`.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Its tensors.
    pub(crate) tensors: &'static [Tensor],
    /// The settings of `config.json` out of a file, besides those that all architectures have.
    pub(crate) config: fn(&GgufFile) -> Result<Map<String, Json>>,
    /// The metadata out of `config.json`, besides what all architectures have.
    pub(crate) metadata: fn(&Config) -> Result<Metadata>,
    /// Whether the folder has the output matrix of its own where `config.json` does not say.
    pub(crate) untied_by_default: bool,
    /// What a folder's tensors may be called that hold no weights.
    pub(crate) ignored: &'static [&'static str],
}

/// Keys and values in the order in which they are written, and tensors that are made of settings.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(NewTensor, Vec<f32>)>,
    pub(crate) notes: Vec<String>,
}

/// A pair of tensors, one on each side; `{}` stands for the number of a layer.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) gguf: &'static str,
    pub(crate) folder: &'static str,
    pub(crate) transform: Transform,
    /// Whether there are models without it.
    pub(crate) optional: bool,
}

const fn tensor(gguf: &'static str, folder: &'static str) -> Tensor {
    Tensor {
        gguf,
        folder,
        transform: Transform::Same,
        optional: false,
    }
}

impl Tensor {
    const fn optional(self) -> Self {
        let optional = true;
        Self { optional, ..self }
    }

    const fn by(self, transform: Transform) -> Self {
        Self { transform, ..self }
    }

    /// Whether there is one for each layer.
    pub(crate) fn layered(&self) -> bool {
        self.gguf.contains("{}")
    }
}

/// The name of a layer's tensor.
pub(crate) fn in_layer(pattern: &str, layer: u32) -> String {
    pattern.replace("{}", &layer.to_string())
}

static ALL: [&Architecture; 7] = [
    &decoder::LLAMA,
    &decoder::QWEN2,
    &decoder::QWEN3,
    &gpt2::GPT2,
    &gpt_neox::GPT_NEOX,
    &gemma3::GEMMA3,
    &decoder::OLMO2,
];

impl Architecture {
    /// That of a GGUF file.
    pub(crate) fn of_file(file: &GgufFile) -> Result<&'static Self> {
        let key = "general.architecture";
        let name = file.required(key, file.text(key))?;
        ALL.into_iter()
            .find(|known| known.gguf == name)
            .ok_or_else(|| {
                let known = ALL.map(|known| known.gguf).join(", ");
                file.invalid(format!(
                    "is of the architecture `{name}`, which is not translated; these are: {known}"
                ))
            })
    }

    /// That of a folder's `config.json`.
    pub(crate) fn of_config(config: &Config) -> Result<&'static Self> {
        let name = config.text("model_type")?.unwrap_or_default();
        ALL.into_iter()
            .find(|known| known.model_type == name)
            .ok_or_else(|| {
                let known = ALL.map(|known| known.model_type).join(", ");
                config.invalid(format!(
                    "`model_type` is {name:?}, which cannot be exported; these can: {known}"
                ))
            })
    }

    /// The name that `tensors` has for a folder's tensor.
    pub(crate) fn canonical(&self, name: &str) -> String {
        let alias = self.aliases.iter().find(|(other, _)| *other == name);
        let name = alias.map_or(name, |(_, canonical)| canonical);
        let own = self.tensors.iter().any(|tensor| tensor.folder == name);
        if own || name.starts_with(self.prefix) {
            name.into()
        } else {
            format!("{}{name}", self.prefix)
        }
    }
}

/// Reads the keys of one architecture out of a file.
pub(crate) struct Keys<'a> {
    pub(crate) file: &'a GgufFile,
    pub(crate) architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A count, if it is there.
    fn uint(&self, name: &str) -> Result<Option<u32>> {
        self.file.uint(&self.key(name))
    }

    /// A count that is at least 1.
    fn count(&self, name: &str) -> Result<u32> {
        let key = self.key(name);
        match self.file.required(&key, self.file.uint(&key))? {
            0 => Err(self
                .file
                .invalid(format!("`{key}` is 0: convert the model to GGUF again"))),
            count => Ok(count),
        }
    }

    /// A number as its shortest decimal in 32 bits: `1e-5`, not 9.99…e-6.
    fn float(&self, name: &str) -> Result<Option<f64>> {
        let value = self.file.float(&self.key(name))?;
        Ok(value.map(|value| shortest(value as f32)))
    }

    /// Refuses keys that change what the network computes and that are not read, by name.
    fn refuse(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let key = self.key(name);
            if self.file.metadata().contains_key(&key) {
                return Err(self.file.invalid(format!(
                    "has `{key}`, which is not read: this variant of {} cannot be imported",
                    self.architecture
                )));
            }
        }
        Ok(())
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.tensors().contains_key(tensor)
    }
}

/// The decimal number with the fewest digits that is this number in 32 bits.
pub(crate) fn shortest(value: f32) -> f64 {
    value.to_string().parse().expect("a decimal number")
}

/// The keys of one architecture, as they are put together.
struct Writer<'a> {
    architecture: &'a str,
    metadata: Metadata,
}

impl<'a> Writer<'a> {
    fn new(architecture: &'a str) -> Self {
        Self {
            architecture,
            metadata: Metadata::default(),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        let key = format!("{}.{name}", self.architecture);
        self.metadata.keys.push((key, value));
    }

    fn count(&mut self, name: &str, count: u32) {
        self.put(name, Value::u32(count));
    }

    fn float(&mut self, name: &str, value: f64) {
        self.put(name, Value::f32(value as f32));
    }
}

/// Refuses networks that are no language models.
pub(crate) fn refuse_heads(config: &Config) -> Result<()> {
    let class = config
        .get("architectures")
        .and_then(|list| list[0].as_str());
    match class.filter(|class| !class.ends_with("ForCausalLM") && !class.ends_with("LMHeadModel")) {
        None => Ok(()),
        Some(class) => Err(config.invalid(format!(
            "`architectures` is {class}: only language models can be exported, for llama.cpp has no \
             place for another head"
        ))),
    }
}
