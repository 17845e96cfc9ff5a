//! Downloads from a hub on loopback: one test for each way in which a download can fail.

mod cache;
mod responses;
mod transfers;

use crate::{
    CacheOnly, Hub, Kind, Network, Progress, Repository, Result, Retry, Settings, Snapshot,
};
use rlhf_loopback::RecordedRequest;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOKEN: &str = "hf_5ecret";
const CONFIG: &[u8] = b"{\"model_type\": \"gpt2\"}";

/// A hub, an empty cache, and the recorded messages.
struct World {
    server: rlhf_loopback::Hub,
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    retry: Retry,
    notes: Notes,
}

#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn begin(&mut self, file: &str, done: u64, size: Option<u64>) {
        let size = size.map_or("?".into(), |size| size.to_string());
        self.0.push(format!("{file} {done}/{size}"));
    }
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

impl World {
    fn new() -> Self {
        Self {
            server: rlhf_loopback::Hub::start(),
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            retry: Retry {
                attempts: 3,
                first: Duration::from_millis(5),
                longest: Duration::from_secs(2),
                silence: Duration::from_millis(300),
            },
            notes: Notes::default(),
        }
    }

    /// With a model `owner/name` of 100,000 bytes.
    fn with_model() -> (Self, String) {
        let world = Self::new();
        let files: [(&str, &[u8]); 4] = [
            ("README.md", b"read me"),
            ("config.json", CONFIG),
            ("model.safetensors", &weights()),
            ("tokenizer.json", b"{}"),
        ];
        let commit = world.server.publish("owner/name", &files);
        (world, commit)
    }

    fn settings(&self) -> Settings {
        let variable = |name: &str| match name {
            "HF_ENDPOINT" => Some(self.server.endpoint()),
            "HF_HOME" => Some(self.folder.path().display().to_string()),
            name => {
                let given = self.variables.iter().find(|(own, _)| *own == name);
                given.map(|(_, value)| value.clone())
            }
        };
        let settings = Settings::from_variables(variable).unwrap();
        settings.with_retry(self.retry)
    }

    fn resolve(&mut self, text: &str) -> Result<Snapshot> {
        let hub = Network::new(self.settings());
        hub.resolve(&model(text), &mut self.notes)
    }

    fn dataset(&mut self, text: &str) -> Result<Snapshot> {
        let repository = Repository::parse(Kind::Dataset, text).unwrap();
        Network::new(self.settings()).resolve(&repository, &mut self.notes)
    }

    fn offline(&mut self, text: &str) -> Result<Snapshot> {
        CacheOnly::new(self.cache()).resolve(&model(text), &mut self.notes)
    }

    fn fails(&mut self, text: &str) -> String {
        self.resolve(text).unwrap_err().to_string()
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    fn repo(&self) -> PathBuf {
        self.cache().join("models--owner--name")
    }

    /// The requests for file content.
    fn gets(&self) -> Vec<RecordedRequest> {
        let get =
            |seen: &RecordedRequest| seen.line.starts_with("GET /") && !seen.line.contains("/api/");
        self.server
            .take_requests()
            .into_iter()
            .filter(get)
            .collect()
    }

    fn noted(&self, part: &str) -> bool {
        self.notes.0.iter().any(|note| note.contains(part))
    }
}

fn model(text: &str) -> Repository {
    Repository::parse(Kind::Model, text).unwrap()
}

fn weights() -> Vec<u8> {
    (0..100_000u32).map(|i| (i * i / 7) as u8).collect()
}

/// All files below a folder, following links.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path))
        } else {
            all.push(path)
        }
    }
    all.sort();
    all
}

fn names(folder: &Path) -> Vec<String> {
    let files = files(folder);
    let names = files.iter().map(|path| path.strip_prefix(folder).unwrap());
    names.map(|name| name.display().to_string()).collect()
}
