//! Writing a checkpoint folder, each file whole or not at all.

use crate::checkpoint::{CRITIC, MODEL};
use crate::parameters::{SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
use crate::{Error, ModelClass, ModelConfig, Result};
use rlhf_objective::{ParameterInfo, ParameterSet};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";

/// Files that belong to a tokenizer or to sampling, not to the network: copied as they are.
const COMPANIONS: [&str; 11] = [
    "tokenizer.json",
    "vocab.json",
    "encoder.json",
    "merges.txt",
    "vocab.bpe",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

/// Where transformers keeps chat templates besides the one that is used by default.
const TEMPLATES: &str = "additional_chat_templates";

/// The companion files of a folder by name, held so that they outlive it.
#[derive(Debug, Clone)]
pub(crate) struct Companions(Vec<(PathBuf, Vec<u8>)>);

impl Companions {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let names = COMPANIONS.into_iter().map(PathBuf::from);
        for name in names.chain(templates(folder)?) {
            let path = folder.join(&name);
            match std::fs::read(&path) {
                Ok(bytes) => files.push((name, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(&path)(error)),
            }
        }
        Ok(Self(files))
    }
}

/// The further chat templates of a folder, in an order that is always the same.
fn templates(folder: &Path) -> Result<Vec<PathBuf>> {
    let path = folder.join(TEMPLATES);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(&path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry.map_err(Error::io(&path))?.file_name());
        if name
            .extension()
            .is_some_and(|extension| extension == "jinja")
        {
            names.push(Path::new(TEMPLATES).join(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Writes a checkpoint folder; `model.safetensors` comes last, so a folder that has it is whole.
pub(crate) fn write(
    folder: &Path,
    config: &ModelConfig,
    parameters: &dyn ParameterSet,
    companions: &Companions,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for (name, bytes) in &companions.0 {
        let parent = folder.join(name.parent().unwrap_or(Path::new("")));
        std::fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
        replace(&folder.join(name), |path| std::fs::write(path, bytes))?;
    }
    let all = parameters.describe();
    let class = if all.iter().any(|info| info.name == SCORE_WEIGHT) {
        ModelClass::RewardModel
    } else {
        ModelClass::LanguageModel
    };
    let mut json = format!("{:#}", config.to_json(class));
    json.push('\n');
    replace(&folder.join(CONFIG), |path| std::fs::write(path, &json))?;
    let (critic, model): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|info| [VALUE_WEIGHT, VALUE_BIAS].contains(&info.name));
    let path = folder.join(CRITIC);
    if critic.is_empty() {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&path)(error));
            }
            _ => {}
        }
    } else {
        tensors(&path, parameters, &critic)?;
    }
    tensors(&folder.join(MODEL), parameters, &model)
}

/// Writes these parameters of a set to a file.
pub(crate) fn tensors(
    path: &Path,
    parameters: &dyn ParameterSet,
    chosen: &[ParameterInfo<'_>],
) -> Result<()> {
    let view = |info: &ParameterInfo<'_>| {
        let (shape, values) = (info.shape.to_vec(), parameters.weights(info.name));
        let values = values.map_err(|error| Error::invalid(path, error))?;
        Ok((info.name.to_owned(), Values { shape, values }))
    };
    let views: Vec<_> = chosen.iter().map(view).collect::<Result<_>>()?;
    // What transformers looks for before it reads a file.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    replace(path, |path| {
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(io::Error::other)
    })
}

struct Values<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The format is little-endian, whatever the machine.
        let values = self.values.iter();
        Cow::Owned(values.flat_map(|x| x.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        size_of::<f32>() * self.values.len()
    }
}

/// [`rlhf_files::replace`] with an error that names the file.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    rlhf_files::replace(path, write).map_err(Error::io(path))
}
