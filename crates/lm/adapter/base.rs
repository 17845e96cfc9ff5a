//! The frozen weights of a folder, held once for all networks that read them: a LoRA policy, its critic and its
//! reference prior.

use crate::error::{Error, Result};
use rlhf_device::Device;
use rlhf_tensor::{SharedWeights, Storage};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

/// What makes two loads of a folder the same weights: the files, as they are now, and how they are stored.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    folder: PathBuf,
    /// The size and the time of change of each of its files of tensors.
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    storage: Storage,
}

impl Key {
    fn of(folder: &Path, storage: Storage) -> Result<Self> {
        let folder = folder.canonicalize().map_err(Error::io(folder))?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "safetensors" || extension == "json")
            {
                let about = std::fs::metadata(&path).map_err(Error::io(&path))?;
                files.push((path, about.len(), about.modified().ok()));
            }
        }
        files.sort();
        Ok(Self {
            folder,
            files,
            storage,
        })
    }
}

type Entry = (Key, Weak<dyn Any + Send + Sync>);

/// The weights that are in use now.
static IN_USE: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// The weights of a folder: those that another network reads already, or else what `load` reads.
pub(crate) fn shared<D: Device>(
    folder: &Path,
    storage: Storage,
    load: impl FnOnce() -> Result<Arc<SharedWeights<D>>>,
) -> Result<Arc<SharedWeights<D>>> {
    let key = Key::of(folder, storage)?;
    let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, weights)| weights.strong_count() > 0);
    let known = all.iter().filter(|(known, _)| *known == key);
    let found = known
        .filter_map(|(_, weights)| weights.upgrade())
        .find_map(|weights| weights.downcast().ok());
    if let Some(weights) = found {
        return Ok(weights);
    }
    let weights = load()?;
    let any: Arc<dyn Any + Send + Sync> = weights.clone();
    all.push((key, Arc::downgrade(&any)));
    Ok(weights)
}
