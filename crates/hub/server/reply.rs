//! What the hub answers, right or wrong.

use super::{Fault, Seen, State};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

/// An answer before it is sent.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

pub(super) fn reply(seen: &Seen, state: &State, storage: SocketAddr) -> Answer {
    let path = seen.line.split_once(' ').map_or("", |(_, path)| path);
    if seen.storage {
        let name = path.trim_start_matches("/lfs/").split('?').next();
        let files = state.repos.values().flat_map(|repo| repo.files.values());
        let found = files
            .map(|(content, _)| content)
            .find(|content| Some(sha256(content).as_str()) == name);
        return match found {
            Some(content) => ranged(content, seen).header("ETag", "\"storage\""),
            None => Answer::new(404),
        };
    }
    if let Some(rest) = path.strip_prefix("/api/") {
        let rest = rest.strip_prefix("models/").unwrap_or(rest);
        return match rest.split_once("/revision/") {
            Some((name, revision)) => listing(state, name, &revision.replace("%2F", "/")),
            None => Answer::new(404),
        };
    }
    let Some((name, rest)) = path[1..].split_once("/resolve/") else {
        return Answer::new(404);
    };
    let (Some(repo), Some((revision, file))) = (state.repos.get(name), rest.split_once('/')) else {
        return Answer::new(404).header("X-Error-Code", "RepoNotFound");
    };
    if revision != repo.commit && !repo.branches.iter().any(|branch| branch == revision) {
        return Answer::new(404).header("X-Error-Code", "RevisionNotFound");
    }
    match repo.files.get(file) {
        None => Answer::new(404).header("X-Error-Code", "EntryNotFound"),
        Some((content, true)) => {
            let hash = sha256(content);
            let location = format!("http://{storage}/lfs/{hash}?Signature=s3cr3t");
            Answer::new(302)
                .header("Location", location)
                .header("X-Linked-Etag", format!("\"{hash}\""))
                .header("X-Linked-Size", content.len())
        }
        Some((content, false)) => {
            let etag = format!("\"{}\"", git(content));
            ranged(content, seen).header("ETag", etag)
        }
    }
    .header("X-Repo-Commit", &repo.commit)
}

fn listing(state: &State, name: &str, revision: &str) -> Answer {
    let Some(repo) = state.repos.get(name) else {
        return Answer::new(404).header("X-Error-Code", "RepoNotFound");
    };
    if revision != repo.commit && !repo.branches.iter().any(|branch| branch == revision) {
        return Answer::new(404).header("X-Error-Code", "RevisionNotFound");
    }
    let files: Vec<String> = repo
        .files
        .keys()
        .map(|file| format!("{{\"rfilename\": \"{file}\"}}"))
        .collect();
    let (commit, files) = (&repo.commit, files.join(", "));
    Answer::new(200).body(format!(
        "{{\"id\": \"x\", \"sha\": \"{commit}\", \"siblings\": [{files}]}}"
    ))
}

/// A file, or the part of it that was asked for.
fn ranged(content: &[u8], seen: &Seen) -> Answer {
    let range = seen.headers.get("range");
    let start = range.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    let size = content.len();
    match start {
        None => Answer::new(200).body(content),
        Some(start) if start >= size => {
            Answer::new(416).header("Content-Range", format!("bytes */{size}"))
        }
        Some(start) => Answer::new(206)
            .header(
                "Content-Range",
                format!("bytes {start}-{}/{size}", size - 1),
            )
            .body(&content[start..]),
    }
}

pub(super) fn spoiled(
    reply: Answer,
    seen: &Seen,
    fault: Option<&Fault>,
    addresses: [SocketAddr; 2],
) -> Answer {
    let [hub, storage] = addresses.map(|address| format!("http://{address}"));
    match fault {
        Some(Fault::Status(status, headers)) => headers
            .split(", ")
            .filter_map(|header| header.split_once(": "))
            .fold(Answer::new(*status), |reply, (name, value)| {
                reply.header(name, value)
            }),
        Some(Fault::Wrong) => {
            let body: Vec<u8> = reply.body.iter().map(|byte| byte ^ 1).collect();
            reply.body(body)
        }
        Some(Fault::Longer) => {
            let body = [reply.body.as_slice(), b"more"].concat();
            reply.body(body)
        }
        Some(Fault::Body(text)) => reply.body(*text),
        Some(Fault::Header(name, value)) => reply.header(name, value),
        Some(Fault::Redirect(to)) => {
            let (_, path) = seen.line.split_once(' ').unwrap_or_default();
            let to = to.replace("{hub}", &hub).replace("{storage}", &storage);
            Answer::new(307).header("Location", to.replace("{path}", path))
        }
        Some(Fault::OtherRange) => reply.header("Content-Range", "bytes 0-9/10"),
        _ => reply,
    }
}

/// The hub's name of a large file.
pub(crate) fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

/// The hub's name of a small file, which is git's.
pub(crate) fn git(content: &[u8]) -> String {
    let mut hash = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hash.update(content);
    hexadecimal(&hash.finalize())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
