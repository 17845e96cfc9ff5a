//! Parses repository names.

use std::fmt;

/// The default revision.
const MAIN: &str = "main";
/// The maximum length of `owner/name` on the hub.
const LONGEST: usize = 96;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A checkpoint: weights, settings, tokenizer.
    Model,
    /// Data files.
    Dataset,
}

/// A repository and one of its revisions: `owner/name[@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    kind: Kind,
    name: String,
    revision: String,
}

impl Repository {
    /// Parses `owner/name` or `owner/name@revision`. The revision is a branch, a tag or the 40
    /// hexadecimal digits of a commit. `None` if the text has another form.
    #[must_use]
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (owner, own) = name.split_once('/')?;
        let whole = is_part(owner) && is_part(own) && name.len() <= LONGEST;
        (whole && is_revision(revision)).then(|| Self {
            kind,
            name: name.into(),
            revision: revision.into(),
        })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `owner/name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A branch, a tag or a commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same repository at a fixed commit.
    #[must_use]
    pub fn at(&self, commit: &str) -> Self {
        Self {
            revision: commit.into(),
            ..self.clone()
        }
    }

    /// The revision, if it is a commit.
    pub(crate) fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(&*self.revision)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.revision.as_str() {
            MAIN => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// Whether a text is a full commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |c| matches!(c, '-' | '.');
    !text.is_empty()
        && text.bytes().all(plain)
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("--")
        && !text.contains("..")
}

/// A revision becomes part of a path and of an address, so it must not contain `..` or the like.
fn is_revision(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']);
    text.split('/')
        .all(|name| part(name) && name.bytes().all(plain))
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_are_distinguished_from_paths() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (text, revision) in [
            ("owner/name", "main"),
            ("a-b/c.d_e", "main"),
            ("owner/name@v1.0", "v1.0"),
            ("owner/name@refs/pr/3", "refs/pr/3"),
            (&format!("owner/name@{commit}"), commit),
        ] {
            let found = Repository::parse(Kind::Model, text).unwrap();
            assert_eq!(found.revision(), revision);
            assert_eq!(found.to_string(), text);
            assert_eq!(found.commit().is_some(), revision == commit);
        }
        for text in [
            "name",
            "",
            "/",
            "owner/",
            "/name",
            "./name",
            "../name",
            "owner/..",
            "a/b/c",
            "/a/b",
            "owner/name@",
            "owner/name@../x",
            "owner/name@a/../b",
            "owner/name@/a",
            "owner/name@-x",
            "owner/na me",
            "owner/name?x",
            "data/pairs.jsonl ",
            "owner/na--me",
            "~/model",
            "owner\\name",
            "owner/name@a b",
        ] {
            assert_eq!(Repository::parse(Kind::Model, text), None, "{text}");
        }
    }
}
