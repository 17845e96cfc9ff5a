//! Reads the settings that a run folder holds.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::layers::Layers;
use crate::resolve::{Located, Locator, Missing};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// The path of the `config.toml` of the run in `folder`.
///
/// # Errors
/// If there is no run.
pub(crate) fn stored_in(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("config.toml");
    if !path.exists() {
        return Err(rlhf_journal::Error::NoRun(folder.into(), "config.toml").into());
    }
    Ok(path)
}

/// The settings of the run in `folder`, with its files located.
///
/// # Errors
/// If there is no run, or its settings cannot be read.
pub(crate) fn stored_config(catalog: &Catalog, locator: Locator, folder: &Path) -> Result<Located> {
    let path = stored_in(folder)?;
    let mut layers = Layers::new(catalog, Some(&path))?;
    if !layers.has_key("data", "held_out_at_least") {
        // Runs of versions without this setting were split with 1.
        layers.set("data.held_out_at_least=1")?;
    }
    let config = layers.resolve()?.read_from(folder)?;
    let mut located = locator.locate(config, Missing::Leave)?;
    located.local.locate_fits(&std::path::absolute(folder)?);
    Ok(located)
}

/// Checks that the paths in the settings of the run in `folder` still exist. `needed` selects the keys to
/// check.
///
/// # Errors
/// If one does not; the message names the key.
pub(crate) fn check_paths(
    config: &Config,
    folder: &Path,
    needed: impl Fn(&str) -> bool,
) -> Result<()> {
    for (key, path) in config.clone().paths() {
        let path = path.get();
        ensure!(
            !needed(&key) || path.exists(),
            "{}: no longer exists. Write its new path to {key} in {}",
            path.display(),
            folder.join("config.toml").display()
        );
    }
    Ok(())
}
