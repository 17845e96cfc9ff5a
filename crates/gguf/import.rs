//! From a GGUF file to a Hugging Face folder.

use crate::architecture::{Architecture, in_layer};
use crate::config::{self, Config};
use crate::parse::TensorInfo;
use crate::transform::{Direction, Transform};
use crate::{Error, GgufFile, NewTensor, Result, TensorType, WrittenType, safetensors, tokenizer};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// What was translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The architecture, as its side of the translation calls it.
    pub architecture: &'static str,
    /// How many numbers the network has.
    pub parameters: u64,
    /// What is worth knowing of what was left out or taken for granted, in sentences; mostly nothing.
    pub notes: Vec<String>,
}

/// A tensor's way from a file to a folder.
struct Way<'a> {
    from: &'a TensorInfo,
    transform: Transform,
    to: NewTensor,
}

/// Writes a folder with the weights, the settings and the tokenizer of a GGUF file: `model.safetensors`,
/// `config.json`, `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`. Numbers are those
/// that the `gguf` package of llama.cpp dequantizes, to the last bit; quantized ones are stored in f32.
///
/// # Errors
/// If the file is damaged, or of an architecture, a tokenizer or a variant that is not translated; the
/// message names the key or tensor. Nothing is written before the whole header is understood, and
/// `config.json`, without which a folder is none, comes last.
pub fn import(path: &Path, folder: &Path) -> Result<Translated> {
    let file = GgufFile::open(path)?;
    let mut notes = Vec::new();
    let plan = Plan::new(&file, &mut notes)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let (weights, targets) = (folder.join(safetensors::MODEL), plan.targets());
    safetensors::write(&weights, &targets, |index, sink| {
        let Way {
            from, transform, ..
        } = plan.ways[index];
        let source = |sink: &mut crate::Sink<'_>| {
            file.read(from, |values| {
                match values.iter().find(|x| !x.is_finite()) {
                    None => sink(values),
                    Some(x) => Err(file.invalid(format!(
                        "tensor `{}` has the value {x}: the file is damaged; download it again",
                        from.name
                    ))),
                }
            })
        };
        transform.apply(Direction::Import, &from.shape, &plan.config, &source, sink)
    })?;
    let write = |name: &str, value: &Value| {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(value).expect("JSON") + "\n";
        rlhf_files::write(&path, text.as_bytes()).map_err(Error::io(&path))
    };
    if let Some(files) = &plan.tokenizer {
        write("tokenizer.json", &files.tokenizer)?;
        write("tokenizer_config.json", &files.config)?;
    }
    write("generation_config.json", &plan.generation)?;
    write(config::FILE, &Value::Object(plan.config.map().clone()))?;
    Ok(Translated {
        architecture: plan.architecture.model_type,
        parameters: plan.ways.iter().map(|way| way.from.count() as u64).sum(),
        notes,
    })
}

/// All that a folder will hold, before anything is written.
pub(crate) struct Plan<'a> {
    architecture: &'static Architecture,
    config: Config,
    generation: Value,
    tokenizer: Option<tokenizer::Files>,
    ways: Vec<Way<'a>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(file: &'a GgufFile, notes: &mut Vec<String>) -> Result<Self> {
        let architecture = Architecture::of_file(file)?;
        let settings = (architecture.config)(file)?;
        let layers = layers(&settings);
        let tied = is_tied(file)?;
        let config = Config::new(file.path(), settings);
        let ways = ways(file, architecture, &config, layers, tied)?;
        let (config, generation) = complete(file, architecture, config, tied, &ways)?;
        let tokenizer = tokenizer::import(file, notes)?;
        Ok(Self {
            architecture,
            config,
            generation,
            tokenizer,
            ways,
        })
    }

    fn targets(&self) -> Vec<NewTensor> {
        self.ways.iter().map(|way| way.to.clone()).collect()
    }
}

/// How many layers there are, whatever the architecture calls them.
fn layers(settings: &Map<String, Value>) -> u32 {
    let value = settings
        .get("num_hidden_layers")
        .or(settings.get("n_layer"));
    value.and_then(Value::as_u64).unwrap_or(0) as u32
}

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

/// Whether the output matrix is the embedding: there is none, or one with the same numbers.
fn is_tied(file: &GgufFile) -> Result<bool> {
    let (Some(output), Some(embedding)) =
        (file.tensors().get(OUTPUT), file.tensors().get(EMBEDDING))
    else {
        return Ok(true);
    };
    if output.kind != embedding.kind || output.shape != embedding.shape {
        return Ok(false);
    }
    file.same_bytes(output, embedding)
}

/// Pairs each tensor of a file with one of the folder.
fn ways<'a>(
    file: &'a GgufFile,
    architecture: &'static Architecture,
    config: &Config,
    layers: u32,
    tied: bool,
) -> Result<Vec<Way<'a>>> {
    let (mut ways, mut used) = (
        Vec::new(),
        BTreeSet::from(["rope_freqs.weight".to_string()]),
    );
    for tensor in architecture.tensors {
        let first = in_layer(tensor.gguf, 0);
        if tensor.optional && !file.tensors().contains_key(&first) {
            continue;
        }
        for layer in 0..if tensor.layered() { layers } else { 1 } {
            let name = in_layer(tensor.gguf, layer);
            used.insert(name.clone());
            if name == OUTPUT && tied {
                continue;
            }
            let Some(from) = file.tensors().get(&name) else {
                return Err(file.invalid(format!(
                    "has no tensor `{name}`, which a {} model of {layers} layers needs: convert the model \
                     to GGUF again",
                    architecture.gguf
                )));
            };
            tensor.transform.check(&name, &from.shape, config)?;
            let to = NewTensor {
                name: in_layer(tensor.folder, layer),
                shape: tensor.transform.shape(&from.shape),
                kind: match from.kind {
                    TensorType::F16 => WrittenType::F16,
                    TensorType::Bf16 => WrittenType::Bf16,
                    _ => WrittenType::F32,
                },
            };
            ways.push(Way {
                from,
                transform: tensor.transform,
                to,
            });
        }
    }
    match file.tensors().keys().find(|name| !used.contains(*name)) {
        None => Ok(ways),
        Some(name) => Err(file.invalid(format!(
            "has a tensor `{name}`, for which a {} model of {layers} layers has no place: such a model \
             cannot be imported",
            architecture.gguf
        ))),
    }
}

/// The settings that all architectures have, and `generation_config.json`.
fn complete(
    file: &GgufFile,
    architecture: &Architecture,
    config: Config,
    tied: bool,
    ways: &[Way<'_>],
) -> Result<(Config, Value)> {
    let Some(embedding) = file.tensors().get(EMBEDDING) else {
        return Err(file.invalid(format!("has no tensor `{EMBEDDING}`")));
    };
    let [rows, _] = embedding.shape[..] else {
        return Err(file.invalid(format!(
            "tensor `{EMBEDDING}` is no matrix: download the file again"
        )));
    };
    let tokens = file.strings("tokenizer.ggml.tokens")?;
    if let Some(tokens) = tokens.filter(|tokens| tokens.len() > rows) {
        return Err(file.invalid(format!(
            "`tokenizer.ggml.tokens` has {} tokens, but tensor `{EMBEDDING}` has {rows} rows: convert \
             the model to GGUF again",
            tokens.len()
        )));
    }
    let ends = tokenizer::end_tokens_of_file(file)?;
    let ends = match ends[..] {
        [] => Value::Null,
        [end] => end.into(),
        _ => ends.into(),
    };
    let mut all = Map::new();
    all.insert("architectures".into(), json!([architecture.class]));
    all.insert("model_type".into(), architecture.model_type.into());
    all.insert("vocab_size".into(), rows.into());
    all.extend(config.map().clone());
    all.insert("tie_word_embeddings".into(), tied.into());
    let mut generation = json!({"eos_token_id": ends});
    for (setting, key) in [
        ("bos_token_id", "bos_token_id"),
        ("pad_token_id", "padding_token_id"),
    ] {
        if let Some(id) = file.uint(&format!("tokenizer.ggml.{key}"))? {
            all.insert(setting.into(), id.into());
            generation[setting] = id.into();
        }
    }
    all.insert("eos_token_id".into(), ends);
    // Matrices decide; vectors are f32 in every file.
    let kinds = || {
        ways.iter()
            .filter(|way| way.from.shape.len() > 1)
            .map(|way| way.to.kind)
    };
    let dtype = match kinds().next() {
        Some(WrittenType::F16) if kinds().all(|kind| kind == WrittenType::F16) => "float16",
        Some(WrittenType::Bf16) if kinds().all(|kind| kind == WrittenType::Bf16) => "bfloat16",
        _ => "float32",
    };
    all.insert("torch_dtype".into(), dtype.into());
    Ok((Config::new(file.path(), all), generation))
}
