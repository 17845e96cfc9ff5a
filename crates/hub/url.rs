//! Addresses, as far as redirects need them.

/// An `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    /// The start of the path.
    path: usize,
}

impl Url {
    /// Parses an address with a scheme and a host.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = text.get(..8.min(text.len()))?.to_ascii_lowercase();
        let scheme = ["http://", "https://"]
            .into_iter()
            .find(|scheme| lower.starts_with(scheme))?
            .len();
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let end = text[scheme..].find(['/', '?', '#']);
        let path = end.map_or(text.len(), |end| scheme + end);
        (plain && path > scheme).then(|| Self {
            text: text.into(),
            path,
        })
    }

    /// The target of a redirect from here; `None` if it is invalid.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        let (scheme, _) = self.text.split_once("//")?;
        let path = self.text[self.path..].split(['?', '#']).next()?;
        let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
        let origin = &self.text[..self.path];
        Self::parse(&match location {
            _ if location.starts_with("//") => format!("{scheme}{location}"),
            _ if location.starts_with('/') => format!("{origin}{location}"),
            _ => format!("{origin}{folder}{location}"),
        })
    }

    /// Whether both have the same scheme, host and port.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.origin() == other.origin()
    }

    /// Scheme, host and port, without a user name or password.
    pub(crate) fn origin(&self) -> String {
        let origin = self.text[..self.path].to_ascii_lowercase();
        let (scheme, host) = origin.split_once("//").unwrap_or(("", &origin));
        let host = host.rsplit('@').next().unwrap_or(host);
        format!("{scheme}//{host}")
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.origin().starts_with("https:")
    }

    pub(crate) fn has_no_query(&self) -> bool {
        !self.text.contains(['?', '#'])
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Percent-encodes a name as one segment of a path.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_targets_are_resolved() {
        let base = Url::parse("https://hub:8/a/b?x=1").unwrap();
        for (location, expected) in [
            ("/c/d", "https://hub:8/c/d"),
            ("d", "https://hub:8/a/d"),
            ("//other/d", "https://other/d"),
            ("http://other:9/d?s=1", "http://other:9/d?s=1"),
        ] {
            assert_eq!(base.join(location).unwrap().as_str(), expected);
        }
        assert!(base.join("file:///etc/passwd").is_none());
        assert!(base.join("ht tp://x").is_none());
    }

    #[test]
    fn origins_differ_by_port_scheme_and_host() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("http://h:1/a").same_origin(&url("HTTP://H:1/b")));
        for other in [
            "http://h:2/a",
            "https://h:1/a",
            "http://h.evil:1/a",
            "http://h:1@evil/a",
        ] {
            assert!(!url("http://h:1/a").same_origin(&url(other)), "{other}");
        }
        assert_eq!(escaped("refs/pr/3"), "refs%2Fpr%2F3");
    }
}
