//! The weights of an adapter's folder.

use super::peft::{CONFIG, MODEL, PREFIX};
use crate::checkpoint::Tensors;
use crate::error::{Error, Result};
use std::path::Path;

/// The tensors of a folder, by the names of the network's parameters.
pub(crate) fn tensors(folder: &Path) -> Result<Tensors> {
    let path = folder.join(MODEL);
    if !path.exists() {
        let message = "is missing: this adapter has no weights; copy it beside adapter_config.json";
        return Err(Error::invalid(&path, message));
    }
    Tensors::open_file(&path, CONFIG, |name| {
        Some(name.strip_prefix(PREFIX).unwrap_or(name).into())
    })
}
