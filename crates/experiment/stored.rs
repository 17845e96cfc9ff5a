//! The settings of a run, as its folder keeps them.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::layers::Layers;
use crate::resolve::{Locator, Missing, Settled};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// Where the run in `folder` keeps its settings.
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

/// The settings that the run in `folder` was started with.
///
/// # Errors
/// If there is no run, or its settings cannot be read.
pub(crate) fn settled_of(catalog: &Catalog, locator: Locator, folder: &Path) -> Result<Settled> {
    let path = stored_in(folder)?;
    let mut layers = Layers::new(catalog, Some(&path))?;
    if !layers.says("data", "held_out_at_least") {
        // Its rows were cut by a version that held out one prompt at least.
        layers.set("data.held_out_at_least=1")?;
    }
    let config = layers.resolve()?.read_from(folder)?;
    let mut settled = locator.settle(config, Missing::Leave)?;
    settled.local.locate_fits(&std::path::absolute(folder)?);
    Ok(settled)
}

/// Refuses settings of the run in `folder` that name what is not there any more. `needed` says which
/// keys matter.
///
/// # Errors
/// If one does; the message names the key.
pub(crate) fn check_paths(
    config: &Config,
    folder: &Path,
    needed: impl Fn(&str) -> bool,
) -> Result<()> {
    for (key, path) in config.clone().paths() {
        let path = path.get();
        ensure!(
            !needed(&key) || path.exists(),
            "{} is not there any more: say where it is now under {key} in {}",
            path.display(),
            folder.join("config.toml").display()
        );
    }
    Ok(())
}
