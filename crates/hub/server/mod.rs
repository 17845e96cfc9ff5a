//! A hub on loopback that speaks as much of the protocol as downloads need, and misbehaves on demand.
//!
//! Tests of this crate and of the whole program share it. Two ports: the hub, and the storage that
//! large files are redirected to.

#![allow(dead_code, unused_imports)] // Each test program uses a part of it.

mod reply;

pub(crate) use reply::{git, sha256};

use reply::{Answer, hexadecimal, reply, spoiled};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

/// What goes wrong with one answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Another status, with headers.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Every byte of the body is another.
    Wrong,
    /// More bytes than there are.
    Longer,
    /// So much body, then silence.
    Stall(usize, Duration),
    /// Few bytes at a time.
    Slow(usize, Duration),
    /// The whole file, whatever range was asked for.
    IgnoreRange,
    /// Another range than was asked for.
    OtherRange,
    /// A redirect to an address, `{hub}` and `{storage}` standing for the two.
    Redirect(&'static str),
    /// Another text as the whole body.
    Body(&'static str),
    /// A header of the answer has another value.
    Header(&'static str, &'static str),
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// As in "HEAD /owner/name/resolve/…".
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) storage: bool,
}

#[derive(Debug, Clone, Default)]
struct Repo {
    commit: String,
    branches: Vec<String>,
    /// Content, and whether it is large: then the storage has it.
    files: BTreeMap<String, (Vec<u8>, bool)>,
}

#[derive(Debug, Default)]
struct State {
    /// By "owner/name" or "datasets/owner/name".
    repos: BTreeMap<String, Repo>,
    /// By a part of the line of a request; each is used once.
    faults: Vec<(String, Fault)>,
    seen: Vec<Seen>,
    token: Option<String>,
}

/// The hub. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    hub: SocketAddr,
    storage: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, storage) = (listen(), listen());
        let addresses = [hub.local_addr().unwrap(), storage.local_addr().unwrap()];
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let serve = |listener: TcpListener, is_storage: bool| {
            let (state, stop) = (state.clone(), stop.clone());
            spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (state, stream) = (state.clone(), stream.unwrap());
                    spawn(move || answer(&stream, &state, addresses, is_storage));
                }
            })
        };
        let threads = vec![serve(hub, false), serve(storage, true)];
        Self {
            hub: addresses[0],
            storage: addresses[1],
            state,
            stop,
            threads,
        }
    }

    /// The value of `HF_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// A repository whose branch main is a commit made of its files; names that end in one of
    /// `.safetensors`, `.parquet` and `.gz` are large files. Data sets are named
    /// "datasets/owner/name".
    pub(crate) fn publish(&self, name: &str, files: &[(&str, &[u8])]) -> String {
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
        self.state().repos.insert(name.into(), repo);
        commit
    }

    /// The next request whose line holds `part` goes wrong.
    pub(crate) fn fail(&self, part: &str, fault: Fault) {
        self.state().faults.push((part.into(), fault));
    }

    /// Only for those who have it.
    pub(crate) fn require(&self, token: &str) {
        self.state().token = Some(token.into());
    }

    /// What was asked since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in [self.hub, self.storage] {
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer(stream: &TcpStream, state: &Mutex<State>, addresses: [SocketAddr; 2], storage: bool) {
    let Some(seen) = read(stream, storage) else {
        return;
    };
    let mut fault = None;
    let reply = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = state.faults.iter();
        if let Some(at) = at
            .enumerate()
            .find_map(|(at, (part, _))| seen.line.contains(part.as_str()).then_some(at))
        {
            fault = Some(state.faults.remove(at).1);
        }
        state.seen.push(seen.clone());
        let granted = format!("Bearer {}", state.token.as_deref().unwrap_or_default());
        let own = seen.headers.get("authorization");
        if !storage && state.token.is_some() && own != Some(&granted) {
            Answer::new(401).header("X-Error-Code", "RepoNotFound")
        } else {
            let mut asked = seen.clone();
            if matches!(fault, Some(Fault::IgnoreRange)) {
                asked.headers.remove("range");
            }
            reply(&asked, &state, addresses[1])
        }
    };
    let reply = spoiled(reply, &seen, fault.as_ref(), addresses);
    // A client that has seen enough hangs up.
    let _ = send(stream, reply, &seen, fault.as_ref());
}

fn read(stream: &TcpStream, storage: bool) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let line = lines.next()?.ok()?;
    let headers = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_string()))
    });
    Some(Seen {
        headers: headers.collect(),
        line: line.strip_suffix(" HTTP/1.1")?.into(),
        storage,
    })
}

fn send(
    mut stream: &TcpStream,
    reply: Answer,
    seen: &Seen,
    fault: Option<&Fault>,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    head += &format!("Content-Length: {}\r\n", reply.body.len());
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if seen.line.starts_with("HEAD ") {
        return Ok(());
    }
    let body = &reply.body;
    match fault {
        Some(Fault::Cut(at)) => stream.write_all(&body[..body.len().min(*at)]),
        Some(Fault::Stall(at, how_long)) => {
            stream.write_all(&body[..body.len().min(*at)])?;
            std::thread::sleep(*how_long);
            Ok(())
        }
        Some(Fault::Slow(size, pause)) => {
            for part in body.chunks(*size) {
                stream.write_all(part)?;
                std::thread::sleep(*pause);
            }
            Ok(())
        }
        _ => stream.write_all(body),
    }
}
