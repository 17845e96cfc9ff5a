//! Lists the files that a run reads, by the settings that name them.

use crate::config::Config;
use crate::prior_fit::fit_folders;
use anyhow::{Result, bail};
use rlhf_hub::checkpoint_files;
use rlhf_journal::{Input, InputFile, Stamp};
use rlhf_policy::Role;
use std::path::{Path, PathBuf};

/// The setting name of files of reward programs; the second file is `reward.program[1]`.
const PROGRAM: &str = "reward.program";

/// Every file that a run of these settings reads. `stored` are the settings as recorded in the run folder,
/// `local` the same with all paths on this machine. A checkpoint contributes its weights, configuration and
/// tokenizer; a folder of data the files of the split; a reward program its executable and its script.
pub(crate) fn inputs(stored: &Config, local: &Config) -> Result<Vec<Input>> {
    let mut found = Vec::new();
    let (mut paths, mut places) = (stored.clone(), local.clone());
    let mut seen: Vec<String> = Vec::new();
    for ((key, stored), (_, at)) in paths.paths().into_iter().zip(places.paths()) {
        let (stored, at) = (&stored.get(), &at.get());
        let count = seen.iter().filter(|seen| **seen == key).count();
        // A sum of rewards names several files under the same key.
        let setting = match count {
            0 => key.clone(),
            _ => format!("{key}[{count}]"),
        };
        for name in names(local, &key, at) {
            found.push(input(&setting, stored, at, name)?);
        }
        seen.push(key);
    }
    if let (None, Some(split)) = (&local.data.held_out, &local.data.held_out_split)
        && let (Some(stored), Some(at)) = (&stored.data.train, &local.data.train)
    {
        for name in data_names(at, Some(split)) {
            found.push(input("data.held_out_split", stored, at, name)?);
        }
    }
    for (index, path) in programs(local).into_iter().enumerate() {
        let setting = match index {
            0 => PROGRAM.to_string(),
            _ => format!("{PROGRAM}[{index}]"),
        };
        found.push(input(&setting, &path, &path, None)?);
    }
    Ok(found)
}

/// The files of prior checkpoints that were fitted inside the run folder `folder`, if they exist.
pub(crate) fn fitted(local: &Config, folder: &Path) -> Result<Vec<Input>> {
    let folder = std::path::absolute(folder)?;
    let mut found = Vec::new();
    for (index, at) in fit_folders(local).into_iter().enumerate() {
        let at = &at.join("final");
        let stored = at.strip_prefix(&folder).unwrap_or(at);
        let setting = match index {
            0 => "prior.fitted".to_string(),
            _ => format!("prior.fitted[{index}]"),
        };
        for name in checkpoint_files(at) {
            found.push(input(&setting, stored, at, Some(name))?);
        }
    }
    Ok(found)
}

/// Checks that the files of reward programs are found from the current directory: relative paths in a
/// reward program's arguments depend on it.
///
/// # Errors
/// If a file in `recorded` is not found from here.
pub(crate) fn find_programs(recorded: &[InputFile], local: &Config, folder: &Path) -> Result<()> {
    let programs = local.reward.iter().flat_map(|rule| rule.programs());
    let arguments: Vec<&Path> = programs.flatten().map(Path::new).collect();
    for file in recorded
        .iter()
        .filter(|file| file.setting.starts_with(PROGRAM))
    {
        let names = |argument: &&&Path| {
            let tail = argument.strip_prefix(".").unwrap_or(argument);
            tail.file_name().is_some() && Path::new(&file.path).ends_with(tail)
        };
        if let Some(argument) = arguments.iter().find(names).filter(|path| !path.is_file()) {
            bail!(
                "{} ({}): not found from this folder; the run in {} was started with {}. Resume it in the \
                 folder where it was started, or write the absolute path in its config.toml",
                argument.display(),
                file.setting,
                folder.display(),
                file.path
            );
        }
    }
    Ok(())
}

/// The files that a setting refers to, by their names in the folder that it names; `None` if the setting
/// names a file itself.
fn names(config: &Config, key: &str, at: &Path) -> Vec<Option<String>> {
    if at.is_file() {
        return vec![None];
    }
    if !at.is_dir() {
        return vec![];
    }
    match key {
        "data.held_out" => data_names(at, config.data.held_out_split.as_deref()),
        _ if key.starts_with("data.") || key.ends_with(".data") => {
            data_names(at, config.data.split.as_deref())
        }
        _ => {
            let folder = Role::Critic.folder(at);
            let beside = |name| {
                let path = folder.join(name);
                let path = path.strip_prefix(at).unwrap_or(&path);
                path.to_string_lossy().into_owned()
            };
            let critic = checkpoint_files(&folder).into_iter().map(beside);
            let own = checkpoint_files(at).into_iter();
            own.chain(critic).map(Some).collect()
        }
    }
}

/// The data files of a folder. A folder without any is reported when the data are opened.
fn data_names(at: &Path, split: Option<&str>) -> Vec<Option<String>> {
    let files = rlhf_data::files(at, split).unwrap_or_default();
    let name = |file: PathBuf| {
        let name = file.strip_prefix(at).unwrap_or(&file);
        Some(name.to_string_lossy().into_owned())
    };
    files.into_iter().map(name).collect()
}

fn input(setting: &str, stored: &Path, at: &Path, name: Option<String>) -> Result<Input> {
    let (path, at) = match &name {
        None => (stored.to_path_buf(), at.to_path_buf()),
        Some(name) => (stored.join(name), at.join(name)),
    };
    let file = InputFile {
        setting: setting.into(),
        path: path.to_string_lossy().into_owned(),
        name,
        stamp: Stamp::of(&at)?,
        sha256: None,
    };
    Ok(Input { file, at })
}

/// For each reward program, its executable if a path names it, and the first argument that is a file (the
/// script of an interpreter). Other files it reads are not listed, because it may change them as it runs.
fn programs(config: &Config) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for program in config.reward.iter().flat_map(|rule| rule.programs()) {
        let (name, arguments) = program
            .split_first()
            .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
        // Without a slash it is found in PATH, which system updates change.
        let own = Some(name).filter(|name| name.contains('/'));
        let script = arguments.iter().map(String::as_str);
        let mut script = script.filter(|argument| Path::new(argument).is_file());
        let both = own.into_iter().chain(script.next());
        found.extend(both.filter_map(|path| std::path::absolute(path).ok()));
    }
    found.retain(|path: &PathBuf| path.is_file());
    found
}
