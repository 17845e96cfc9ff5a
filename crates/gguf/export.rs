//! From a Hugging Face folder to a GGUF file.

use crate::architecture::{Architecture, Metadata, in_layer, refuse_heads};
use crate::config::Config;
use crate::import::Translated;
use crate::safetensors::{Entry, Weights};
use crate::tokenizer::{self, Vocabulary};
use crate::transform::{Direction, Transform};
use crate::{NewTensor, Result, Sink, Value, WrittenType, write};
use std::collections::BTreeMap;
use std::path::Path;

/// What a tensor's numbers are.
enum From<'a> {
    /// Those of a tensor of the folder.
    Folder(&'a Entry, Transform),
    /// Made of settings.
    Made(Vec<f32>),
}

/// Writes a folder's network, settings, tokenizer and chat template as one GGUF file for llama.cpp.
/// Matrices are stored as `kind`; vectors and position embeddings in f32, as llama.cpp's converter does,
/// and in f16 where rows are not blocks of Q8_0.
///
/// # Errors
/// If the folder is incomplete or of an architecture, a variant or a tokenizer that llama.cpp does not
/// have; the message names the file and the key or tensor. The file that was there before is then unchanged.
pub fn export(folder: &Path, path: &Path, kind: WrittenType) -> Result<Translated> {
    let config = Config::open(folder)?;
    let architecture = Architecture::of_config(&config)?;
    refuse_heads(&config)?;
    let settings = (architecture.metadata)(&config)?;
    let weights = Weights::open(folder)?;
    let mut notes = settings.notes.clone();
    let (mut targets, mut sources) = (Vec::new(), Vec::new());
    for (target, source) in pairs(folder, architecture, &config, &weights, kind, &mut notes)? {
        targets.push(target);
        sources.push(source);
    }
    let rows = targets
        .iter()
        .find(|target| target.name == "token_embd.weight");
    let rows = rows.map_or(0, |target| target.shape[0]);
    let vocabulary = tokenizer::export(folder, &config, rows)?;
    notes.extend(vocabulary.notes.iter().cloned());
    let parameters = targets
        .iter()
        .map(|target| target.shape.iter().product::<usize>() as u64)
        .sum();
    let keys = keys(
        folder,
        &config,
        architecture,
        &settings,
        (rows, vocabulary),
        kind,
    );
    for (target, numbers) in settings.tensors {
        targets.push(target);
        sources.push(From::Made(numbers));
    }
    write(path, &keys, &targets, |index, sink| match &sources[index] {
        From::Made(numbers) => sink(numbers),
        From::Folder(entry, transform) => {
            let source = |sink: &mut Sink<'_>| weights.read(entry, sink);
            let rows = &mut rows_of(&targets[index], sink);
            transform.apply(Direction::Export, &entry.shape, &config, &source, rows)
        }
    })?;
    Ok(Translated {
        architecture: architecture.gguf,
        parameters,
        notes,
    })
}

/// Hands numbers on in whole blocks: what a reader gives ends within a block now and then.
fn rows_of<'a>(
    tensor: &NewTensor,
    sink: &'a mut Sink<'_>,
) -> impl FnMut(&[f32]) -> Result<()> + 'a {
    let (block, mut held) = (tensor.kind.tensor_type().block_len(), Vec::<f32>::new());
    move |values| {
        if held.is_empty() && values.len().is_multiple_of(block) {
            return sink(values);
        }
        held.extend_from_slice(values);
        let whole = held.len() / block * block;
        sink(&held[..whole])?;
        held.drain(..whole);
        Ok(())
    }
}

/// Pairs each tensor that a file has with one of the folder.
fn pairs<'a>(
    folder: &Path,
    architecture: &Architecture,
    config: &Config,
    weights: &'a Weights,
    kind: WrittenType,
    notes: &mut Vec<String>,
) -> Result<Vec<(NewTensor, From<'a>)>> {
    let mut left = BTreeMap::new();
    for (name, entry) in weights.entries() {
        if !architecture.ignored.iter().any(|end| name.ends_with(end)) {
            left.insert(architecture.canonical(name), entry);
        }
    }
    let layers = match config.get("n_layer") {
        Some(_) => config.count("n_layer")?,
        None => config.count("num_hidden_layers")?,
    };
    let tied = match config.get("tie_word_embeddings") {
        Some(_) => config.flag("tie_word_embeddings")?,
        None => !architecture.untied_by_default,
    };
    let (mut pairs, mut rounded) = (Vec::new(), 0);
    for tensor in architecture.tensors {
        let output = tensor.gguf == "output.weight";
        if output && tied {
            left.remove(tensor.folder);
            continue;
        }
        let first = in_layer(tensor.folder, 0);
        if tensor.optional && !output && !left.contains_key(&first) {
            continue;
        }
        for layer in 0..if tensor.layered() { layers } else { 1 } {
            let name = in_layer(tensor.folder, layer);
            let Some(entry) = left.remove(&name) else {
                let file = folder.join(crate::safetensors::MODEL);
                let message = format!(
                    "has no tensor `{name}`, which a {} model of {layers} layers needs",
                    architecture.model_type
                );
                return Err(crate::Error::invalid(&file, message));
            };
            tensor.transform.check(&name, &entry.shape, config)?;
            let shape = tensor.transform.shape(&entry.shape);
            let stored = stored(tensor.gguf, &shape, kind);
            rounded += usize::from(shape.len() > 1 && kind == WrittenType::Q8_0 && stored != kind);
            let target = NewTensor {
                name: in_layer(tensor.gguf, layer),
                shape,
                kind: stored,
            };
            pairs.push((target, From::Folder(entry, tensor.transform)));
        }
    }
    if let Some((name, entry)) = left.first_key_value() {
        let message = format!(
            "has a tensor `{name}` of shape {:?}, for which llama.cpp's {} has no place: this model \
             cannot be exported",
            entry.shape, architecture.gguf
        );
        return Err(crate::Error::invalid(weights.path(entry), message));
    }
    if rounded > 0 {
        notes.push(format!(
            "{rounded} matrices have rows that are not blocks of 32 numbers: they are stored in f16"
        ));
    }
    Ok(pairs)
}

/// How a tensor of this shape is stored.
fn stored(name: &str, shape: &[usize], kind: WrittenType) -> WrittenType {
    let blocks = shape
        .last()
        .is_some_and(|width| width % kind.tensor_type().block_len() == 0);
    match name == "position_embd.weight" || shape.len() < 2 {
        true => WrittenType::F32,
        false if blocks => kind,
        false => WrittenType::F16,
    }
}

/// All metadata, in the order in which llama.cpp's converter writes it.
fn keys(
    folder: &Path,
    config: &Config,
    architecture: &Architecture,
    settings: &Metadata,
    (rows, vocabulary): (usize, Vocabulary),
    kind: WrittenType,
) -> Vec<(String, Value)> {
    // `llama_ftype` of llama.h.
    let file_type = match kind {
        WrittenType::F32 => 0,
        WrittenType::F16 => 1,
        WrittenType::Q8_0 => 7,
        WrittenType::Bf16 => 32,
    };
    let rows = Value::u32(rows as u32);
    let named = config.get("_name_or_path").and_then(|name| name.as_str());
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let name = named
        .filter(|name| !name.is_empty())
        .map(Path::new)
        .unwrap_or(&absolute);
    let name = name
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = |text: &str| Value::String(text.into());
    let mut keys = vec![
        ("general.architecture".to_string(), text(architecture.gguf)),
        ("general.type".into(), text("model")),
        ("general.name".into(), Value::String(name)),
        ("general.file_type".into(), Value::u32(file_type)),
        ("general.quantization_version".into(), Value::u32(2)),
    ];
    keys.extend(settings.keys.iter().cloned());
    keys.push((format!("{}.vocab_size", architecture.gguf), rows));
    keys.extend(vocabulary.keys);
    keys
}
