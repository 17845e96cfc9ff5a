//! Settings of the hub and the cache, from the environment variables of Python's `huggingface_hub`.

use crate::url::Url;
use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The default of `HF_ENDPOINT`.
const ENDPOINT: &str = "https://huggingface.co";

/// The settings of a [`Hub`](crate::Hub).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of the hub, without a trailing slash.
    pub(crate) endpoint: String,
    /// The cache folder, shared with Python.
    pub(crate) cache: PathBuf,
    /// The access token, if any.
    pub(crate) token: Option<Token>,
    /// Whether only the cache is used.
    pub(crate) offline: bool,
    /// How failures are retried.
    pub(crate) retry: Retry,
}

/// An access token. It is sent only to the endpoint and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// How often temporary failures are retried, and the waits between attempts.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The maximum number of attempts without progress.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each failure.
    pub first: Duration,
    /// The maximum wait. If the hub asks for a longer one, the download fails.
    pub longest: Duration,
    /// The read timeout of a connection.
    pub silence: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(120),
            silence: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Reads the variables `HF_ENDPOINT`, `HF_HOME` (else `XDG_CACHE_HOME` or `HOME`),
    /// `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE` with `variable`.
    ///
    /// # Errors
    /// If an address or a token is invalid, there is no folder for the cache, or the token file
    /// exists but cannot be read.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let user = given("HOME").map(PathBuf::from);
        let path = |name: &str| given(name).map(|text| expand_home(&text, user.as_deref()));
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|folder| folder.join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let home = home.ok_or_else(|| {
            Error::Settings("there is no folder for downloads: set HF_HOME or HOME".into())
        })?;
        Ok(Self {
            endpoint: endpoint(given("HF_ENDPOINT").as_deref().unwrap_or(ENDPOINT))?,
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: match given("HF_TOKEN") {
                Some(token) => Some(Token::new(&token, "HF_TOKEN")?),
                None => Token::read(&path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")))?,
            },
            offline: given("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            retry: Retry::default(),
        })
    }

    /// The same settings with another retry policy.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

impl Token {
    fn new(text: &str, source: &str) -> Result<Self> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        Err(Error::Settings(format!(
            "{source} is not a token: a token is one word of printable ASCII characters"
        )))
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => {
                let text = text.map_err(Error::at(path))?;
                let token = Self::new(&text, &path.display().to_string())?;
                Ok((!token.0.is_empty()).then_some(token))
            }
        }
    }

    /// The value of the authorization header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn endpoint(text: &str) -> Result<String> {
    let text = text.trim().trim_end_matches('/');
    let invalid = |why: &str| Err(Error::Settings(format!("HF_ENDPOINT {why}")));
    match Url::parse(text) {
        // The address is printed in errors, so it must not contain a secret.
        _ if text.contains('@') => {
            invalid("contains a user name or a password: give the token in HF_TOKEN")
        }
        Some(url) if url.has_no_query() => Ok(text.into()),
        _ => invalid(&format!("= {text}: expected an address, as in {ENDPOINT}")),
    }
}

fn expand_home(text: &str, user: Option<&Path>) -> PathBuf {
    match (text.strip_prefix("~/"), user) {
        (Some(rest), Some(user)) => user.join(rest),
        _ => text.into(),
    }
}

fn is_true(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let found = |name: &str| variables.iter().find(|(own, _)| *own == name);
        Settings::from_variables(|name| found(name).map(|(_, value)| (*value).to_string()))
    }

    #[test]
    fn variables_have_the_meaning_of_python() {
        let plain = settings(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(plain.endpoint, ENDPOINT);
        assert_eq!(plain.cache, Path::new("/home/u/.cache/huggingface/hub"));
        assert!(plain.token.is_none() && !plain.offline);
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[("HF_HOME", "/h")]), Path::new("/h/hub"));
        let xdg = [("HOME", "/home/u"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(cache(&xdg), Path::new("/x/huggingface/hub"));
        let both = [("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")];
        assert_eq!(cache(&both), Path::new("/c"));
        let user = [("HOME", "/home/u"), ("HF_HOME", "~/hf")];
        assert_eq!(cache(&user), Path::new("/home/u/hf/hub"));
        for (value, offline) in [("1", true), ("true", true), ("0", false), ("", false)] {
            let found = settings(&[("HF_HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(found.offline, offline, "{value}");
        }
        let mirror = [("HF_HOME", "/h"), ("HF_ENDPOINT", "http://localhost:8080/")];
        assert_eq!(settings(&mirror).unwrap().endpoint, "http://localhost:8080");
        assert!(settings(&[]).unwrap_err().to_string().contains("HF_HOME"));
        for bad in ["localhost", "ftp://x", "http://", "http://x/?a=b"] {
            let error = settings(&[("HF_HOME", "/h"), ("HF_ENDPOINT", bad)]).unwrap_err();
            assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
        }
    }

    #[test]
    fn token_precedence_and_secrecy() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap().token;
        assert_eq!(of(&[("HF_HOME", home)]), None);
        std::fs::write(folder.path().join("token"), "hf_home\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other").unwrap();
        let other = folder.path().join("other");
        let other = ("HF_TOKEN_PATH", other.to_str().unwrap());
        let token = |text: &str| Some(Token(text.into()));
        assert_eq!(of(&[("HF_HOME", home)]), token("hf_home"));
        assert_eq!(of(&[("HF_HOME", home), other]), token("hf_other"));
        let all = [("HF_HOME", home), other, ("HF_TOKEN", " hf_mine ")];
        assert_eq!(of(&all), token("hf_mine"));
        let shown = format!("{:?}", settings(&all).unwrap());
        assert!(!shown.contains("hf_mine"), "{shown}");
        for (name, value) in [
            ("HF_TOKEN", "hf_se\ncret"),
            ("HF_ENDPOINT", "http://user:hf_secret@x"),
        ] {
            let error = settings(&[("HF_HOME", "/h"), (name, value)]).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(name) && !error.contains("cret@"), "{error}");
            assert!(!error.contains("hf_se"), "{error}");
        }
    }
}
