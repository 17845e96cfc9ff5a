//! Writing a checkpoint folder, each file whole or not at all.

use crate::adapter::peft;
use crate::checkpoint::{CRITIC, MODEL};
use crate::config::{ModelClass, ModelConfig};
use crate::error::{Error, Result};
use crate::file_order::{FileOrder, FileOrders};
use crate::parameters::{SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
use rlhf_models::WeightLayout;
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

/// Those of which a tokenizer has one.
pub(crate) const TOKENIZERS: [&str; 3] = ["tokenizer.json", "vocab.json", "encoder.json"];

/// Where transformers keeps chat templates besides the one that is used by default.
const TEMPLATES: &str = "additional_chat_templates";

/// The companion files of a folder by name, held so that they outlive it.
#[derive(Debug, Clone)]
pub(crate) struct Companions(Vec<(PathBuf, Vec<u8>)>);

impl Companions {
    /// No files.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Those of a checkpoint's folder; of an adapter that has no tokenizer, those of its base.
    pub(crate) fn of_checkpoint(folder: &Path, config: &ModelConfig) -> Result<Self> {
        let own = Self::read(folder)?;
        let tokenizer =
            |(name, _): &(PathBuf, Vec<u8>)| TOKENIZERS.iter().any(|one| name == Path::new(one));
        if own.0.iter().any(tokenizer) || config.adapter.is_none() {
            return Ok(own);
        }
        Self::read(config.weights_folder(folder))
    }

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

    /// Writes the files to a folder, which is created if it is missing.
    fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        for (name, bytes) in &self.0 {
            let parent = folder.join(name.parent().unwrap_or(Path::new("")));
            std::fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
            replace(&folder.join(name), |path| std::fs::write(path, bytes))?;
        }
        Ok(())
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
    companions.write(folder)?;
    let all = parameters.describe();
    let class = if all.iter().any(|info| info.name == SCORE_WEIGHT) {
        ModelClass::RewardModel
    } else {
        ModelClass::LanguageModel
    };
    let mut json = format!("{:#}", config.to_json(class));
    json.push('\n');
    replace(&folder.join(CONFIG), |path| std::fs::write(path, &json))?;
    let model = without_value_head(folder, parameters, all)?;
    let orders = FileOrders::of(config);
    tensors(&folder.join(MODEL), parameters, &model, "", &orders)
}

/// Writes an adapter's folder in PEFT's layout; `adapter_model.safetensors` comes last.
pub(crate) fn write_adapter(
    folder: &Path,
    config: &ModelConfig,
    parameters: &dyn ParameterSet,
    companions: &Companions,
) -> Result<()> {
    let adapter = config.adapter.as_ref().expect("a network with an adapter");
    companions.write(folder)?;
    let own = parameters.describe().into_iter().filter(|info| {
        let head = [VALUE_WEIGHT, VALUE_BIAS, SCORE_WEIGHT].contains(&info.name);
        head || info.name.contains(".lora_")
    });
    let own = without_value_head(folder, parameters, own.collect())?;
    let transposed = config.spec.layout == WeightLayout::InOut;
    let kind = if own.iter().any(|info| info.name == SCORE_WEIGHT) {
        peft::Kind::RewardModel { transposed }
    } else {
        peft::Kind::LanguageModel { transposed }
    };
    let base = &adapter.base;
    let base = base.canonicalize().map_err(Error::io(base))?;
    let json = format!("{:#}\n", peft::to_json(&adapter.spec, &base, kind));
    let path = folder.join(peft::CONFIG);
    replace(&path, |path| std::fs::write(path, &json))?;
    let orders = FileOrders::of(config);
    tensors(
        &folder.join(peft::MODEL),
        parameters,
        &own,
        peft::PREFIX,
        &orders,
    )
}

/// Writes the value head of a network to its own file, or removes that file where there is no value head;
/// answers the other parameters.
fn without_value_head<'a>(
    folder: &Path,
    parameters: &dyn ParameterSet,
    all: Vec<ParameterInfo<'a>>,
) -> Result<Vec<ParameterInfo<'a>>> {
    let (critic, rest): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|info| [VALUE_WEIGHT, VALUE_BIAS].contains(&info.name));
    let path = folder.join(CRITIC);
    if !critic.is_empty() {
        tensors(&path, parameters, &critic, "", &FileOrders::default())?;
        return Ok(rest);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&path)(error)),
        _ => Ok(rest),
    }
}

/// Writes these parameters of a set to a file, their names after a prefix, one after the other: one at a time is copied.
pub(crate) fn tensors(
    path: &Path,
    parameters: &dyn ParameterSet,
    chosen: &[ParameterInfo<'_>],
    prefix: &str,
    orders: &FileOrders,
) -> Result<()> {
    let view = |info: &ParameterInfo<'_>| {
        let view = Values {
            parameters,
            name: info.name.to_owned(),
            shape: info.shape.to_vec(),
            order: orders.get(info.name),
        };
        (format!("{prefix}{}", info.name), view)
    };
    let views: Vec<_> = chosen.iter().map(view).collect();
    // What transformers looks for before it reads a file.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    replace(path, |path| {
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(io::Error::other)
    })
}

/// A parameter that is described in its set.
struct Values<'a> {
    parameters: &'a dyn ParameterSet,
    name: String,
    shape: Vec<usize>,
    order: FileOrder,
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
        let values = self.parameters.weights(&self.name);
        let values = values.expect("a parameter that its set describes is in it");
        let mut bytes = vec![0; self.data_len()];
        let (places, _) = bytes.as_chunks_mut::<4>();
        let mut places = places.iter_mut();
        for values in self.order.of_file(&values) {
            // Values first: a place that is taken for none is lost.
            for (x, place) in values.iter().zip(places.by_ref()) {
                *place = x.to_le_bytes();
            }
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        size_of::<f32>() * self.shape.iter().product::<usize>()
    }
}

/// [`rlhf_files::replace`] with an error that names the file.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    rlhf_files::replace(path, write).map_err(Error::io(path))
}
