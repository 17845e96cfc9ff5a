//! A hub that speaks the part of the Hugging Face protocol needed for downloads, and fails on
//! demand.

mod responses;

pub use responses::{git, sha256};

use crate::{Delivery, Request, Response, Server};
use responses::{hexadecimal, respond_to, with_fault};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault of one response.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Another status, with headers "Name: value, Name: value".
    Status(u16, &'static str),
    /// The connection closes after this many bytes of the body.
    Cut(usize),
    /// Every byte of the body is changed.
    Corrupt,
    /// The body has more bytes than the file.
    Longer,
    /// This many bytes of the body, then a pause without data.
    Stall(usize, Duration),
    /// This many bytes at a time, with a pause after each.
    Slow(usize, Duration),
    /// The whole file, ignoring the requested range.
    IgnoreRange,
    /// Another range than the requested one.
    OtherRange,
    /// A redirect to an address; `{hub}`, `{storage}` and `{path}` stand for the two servers and
    /// the path of the request.
    Redirect(&'static str),
    /// Another body.
    Body(&'static str),
    /// A header with another value.
    Header(&'static str, &'static str),
}

/// A received request.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Method and path, as in "HEAD /owner/name/resolve/…".
    pub line: String,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Whether it was sent to the storage instead of the hub.
    pub storage: bool,
}

#[derive(Debug, Clone, Default)]
struct Repo {
    commit: String,
    branches: Vec<String>,
    /// Content, and whether it is large and thus in the storage.
    files: BTreeMap<String, (Vec<u8>, bool)>,
}

#[derive(Debug, Default)]
struct State {
    /// The addresses of the two servers.
    hub: String,
    storage: String,
    /// By "owner/name" or "datasets/owner/name".
    repos: BTreeMap<String, Repo>,
    /// By a part of the request line; each is used once.
    faults: Vec<(String, Fault)>,
    seen: Vec<RecordedRequest>,
    token: Option<String>,
}

/// Two servers: the hub, and the storage that requests for large files are redirected to.
#[derive(Debug)]
pub struct Hub {
    hub: Server,
    /// Kept alive.
    _storage: Server,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Starts a hub without repositories.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let serve = |storage: bool| {
            let state = state.clone();
            Server::start(move |request| Some(respond(request, &mut lock(&state), storage)))
        };
        let (hub, storage) = (serve(false), serve(true));
        {
            let mut state = lock(&state);
            (state.hub, state.storage) = (hub.url(), storage.url());
        }
        Self {
            hub,
            _storage: storage,
            state,
        }
    }

    /// The value of `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.hub.url()
    }

    /// Publishes a repository whose branch main is a commit of these files, and returns the commit.
    /// Files with the extension `.safetensors`, `.parquet` or `.gz` are large. Data sets are named
    /// "datasets/owner/name".
    pub fn publish(&self, name: &str, files: &[(&str, &[u8])]) -> String {
        let mut hash = Sha1::new();
        let mut repo = Repo::default();
        for (file, content) in files {
            hash.update(file);
            hash.update(content);
            let large = [".safetensors", ".parquet", ".gz"]
                .iter()
                .any(|end| file.ends_with(end));
            repo.files.insert((*file).into(), (content.to_vec(), large));
        }
        repo.commit = hexadecimal(&hash.finalize());
        repo.branches = vec!["main".into(), "v1".into(), "refs/pr/1".into()];
        let commit = repo.commit.clone();
        lock(&self.state).repos.insert(name.into(), repo);
        commit
    }

    /// Adds a fault to the response to the next request whose line contains `part`.
    pub fn fail(&self, part: &str, fault: Fault) {
        lock(&self.state).faults.push((part.into(), fault));
    }

    /// Requires this token for requests to the hub.
    pub fn require(&self, token: &str) {
        lock(&self.state).token = Some(token.into());
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(request: &Request, state: &mut State, storage: bool) -> Response {
    let mut seen = RecordedRequest {
        line: request.line.clone(),
        headers: request.headers.clone(),
        storage,
    };
    state.seen.push(seen.clone());
    let mut faults = state.faults.iter();
    let fault = faults
        .position(|(part, _)| seen.line.contains(part.as_str()))
        .map(|at| state.faults.remove(at).1);
    let granted = format!("Bearer {}", state.token.as_deref().unwrap_or_default());
    let own = seen.headers.get("authorization");
    if !storage && state.token.is_some() && own != Some(&granted) {
        let refused = Response::new(401).header("X-Error-Code", "RepoNotFound");
        return with_fault(refused, &seen, fault.as_ref(), state);
    }
    if matches!(fault, Some(Fault::IgnoreRange)) {
        seen.headers.remove("range");
    }
    with_fault(respond_to(&seen, state), &seen, fault.as_ref(), state)
}

impl Fault {
    /// How it changes the delivery of the body.
    fn delivery(&self) -> Delivery {
        match *self {
            Self::Cut(count) => Delivery::Cut(count),
            Self::Stall(count, pause) => Delivery::Stall(count, pause),
            Self::Slow(count, pause) => Delivery::Slow(count, pause),
            _ => Delivery::Whole,
        }
    }
}
