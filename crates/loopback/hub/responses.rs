//! The responses of the hub, with or without a fault.

use super::{Fault, RecordedRequest, State};
use crate::Response;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The correct response.
pub(super) fn respond_to(seen: &RecordedRequest, state: &State) -> Response {
    let path = seen.line.split_once(' ').map_or("", |(_, path)| path);
    if seen.storage {
        let name = path.trim_start_matches("/lfs/").split('?').next();
        let files = state.repos.values().flat_map(|repo| repo.files.values());
        let found = files
            .map(|(content, _)| content)
            .find(|content| Some(sha256(content).as_str()) == name);
        return match found {
            Some(content) => ranged(content, seen).header("ETag", "\"storage\""),
            None => Response::new(404),
        };
    }
    if let Some(rest) = path.strip_prefix("/api/") {
        let rest = rest.strip_prefix("models/").unwrap_or(rest);
        return match rest.split_once("/revision/") {
            Some((name, revision)) => listing(state, name, &revision.replace("%2F", "/")),
            None => Response::new(404),
        };
    }
    let Some((name, rest)) = path[1..].split_once("/resolve/") else {
        return Response::new(404);
    };
    let (Some(repo), Some((revision, file))) = (state.repos.get(name), rest.split_once('/')) else {
        return Response::new(404).header("X-Error-Code", "RepoNotFound");
    };
    if revision != repo.commit && !repo.branches.iter().any(|branch| branch == revision) {
        return Response::new(404).header("X-Error-Code", "RevisionNotFound");
    }
    match repo.files.get(file) {
        None => Response::new(404).header("X-Error-Code", "EntryNotFound"),
        Some((content, true)) => {
            let hash = sha256(content);
            let location = format!("{}/lfs/{hash}?Signature=s3cr3t", state.storage);
            Response::new(302)
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

fn listing(state: &State, name: &str, revision: &str) -> Response {
    let Some(repo) = state.repos.get(name) else {
        return Response::new(404).header("X-Error-Code", "RepoNotFound");
    };
    if revision != repo.commit && !repo.branches.iter().any(|branch| branch == revision) {
        return Response::new(404).header("X-Error-Code", "RevisionNotFound");
    }
    let files: Vec<String> = repo
        .files
        .keys()
        .map(|file| format!("{{\"rfilename\": \"{file}\"}}"))
        .collect();
    let (commit, files) = (&repo.commit, files.join(", "));
    Response::new(200).body(format!(
        "{{\"id\": \"x\", \"sha\": \"{commit}\", \"siblings\": [{files}]}}"
    ))
}

/// A file, or the requested range of it.
fn ranged(content: &[u8], seen: &RecordedRequest) -> Response {
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
        None => Response::new(200).body(content),
        Some(start) if start >= size => {
            Response::new(416).header("Content-Range", format!("bytes */{size}"))
        }
        Some(start) => Response::new(206)
            .header(
                "Content-Range",
                format!("bytes {start}-{}/{size}", size - 1),
            )
            .body(&content[start..]),
    }
}

/// Applies a fault to a response.
pub(super) fn with_fault(
    reply: Response,
    seen: &RecordedRequest,
    fault: Option<&Fault>,
    state: &State,
) -> Response {
    match fault {
        Some(Fault::Status(status, headers)) => headers
            .split(", ")
            .filter_map(|header| header.split_once(": "))
            .fold(Response::new(*status), |reply, (name, value)| {
                reply.header(name, value)
            }),
        Some(Fault::Corrupt) => {
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
            let to = to.replace("{hub}", &state.hub);
            let to = to.replace("{storage}", &state.storage);
            Response::new(307).header("Location", to.replace("{path}", path))
        }
        Some(Fault::OtherRange) => reply.header("Content-Range", "bytes 0-9/10"),
        Some(fault) => reply.delivery(fault.delivery()),
        None => reply,
    }
}

/// The hub's ETag of a large file: its SHA-256.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

/// The hub's ETag of a small file: its SHA-1 as a git blob.
#[must_use]
pub fn git(content: &[u8]) -> String {
    let mut hash = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hash.update(content);
    hexadecimal(&hash.finalize())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
