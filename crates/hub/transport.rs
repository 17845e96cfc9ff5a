//! Requests: redirects followed by hand, so that the token goes nowhere else.

use crate::retry::{Attempt, Failure};
use crate::url::Url;
use crate::{Error, Settings, Token};
use std::io;
use std::time::Duration;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

/// The longest chain of redirects.
const REDIRECTS: usize = 8;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// What is asked about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Only what the answer would be. A redirect that names a checksum is an answer.
    Head,
    /// All of it.
    All,
    /// What follows so many bytes.
    From(u64),
}

/// Speaks to one hub.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    token: Option<Token>,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("rlhf/", env!("CARGO_PKG_VERSION")))
            // A range of compressed bytes could not be joined to another.
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(settings.retry.silence))
            .timeout_per_read(Some(settings.retry.silence))
            .build()
            .new_agent();
        Self {
            agent,
            token: settings.token.clone(),
        }
    }

    /// One answer of status 200 or 206, or to [`Ask::Head`] a redirect with a checksum, or to
    /// [`Ask::From`] a 416; `what` is named in errors.
    pub(crate) fn ask(&self, ask: Ask, address: &str, what: &str) -> Attempt<Response<Body>> {
        let unreadable = |address: &str| Error::answer(what, format!("{address} is no address"));
        let first = Url::parse(address).ok_or_else(|| unreadable(address))?;
        let (mut url, mut trusted) = (first.clone(), true);
        for _ in 0..=REDIRECTS {
            trusted &= url.same_origin(&first);
            let response = self.once(ask, &url, trusted)?;
            let named = response.headers().contains_key("x-linked-etag");
            if !response.status().is_redirection() || (ask == Ask::Head && named) {
                return self.judged(ask, response, what);
            }
            let location = header(&response, "location").unwrap_or_default();
            let next = url.join(location);
            // What an address says beyond its host may be somebody's signature: it is not shown.
            let next = next.ok_or_else(|| Error::answer(what, "is redirected to no address"))?;
            if url.is_encrypted() && !next.is_encrypted() {
                let why = format!("is redirected to {}, which is not encrypted", next.origin());
                return Err(Error::answer(what, why).into());
            }
            url = next;
        }
        Err(Error::answer(what, "is redirected without end").into())
    }

    fn once(&self, ask: Ask, url: &Url, trusted: bool) -> Attempt<Response<Body>> {
        let method = match ask {
            Ask::Head => Method::HEAD,
            Ask::All | Ask::From(_) => Method::GET,
        };
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = self.token.as_ref().filter(|_| trusted) {
            request = request.header("Authorization", token.header());
        }
        if let Ask::From(start) = ask {
            request = request.header("Range", format!("bytes={start}-"));
        }
        let host = url.origin();
        let request = request.body(()).map_err(|_| {
            let why = "cannot be asked for: the address or the token holds odd characters";
            Error::answer(&host, why)
        })?;
        self.agent
            .run(request)
            .map_err(|error| unsent(&error, &host))
    }

    fn judged(&self, ask: Ask, response: Response<Body>, what: &str) -> Attempt<Response<Body>> {
        let status = response.status();
        let code = header(&response, "x-error-code").unwrap_or_default();
        let denied = |why: &str| Error::Denied {
            what: what.into(),
            why: why.into(),
        };
        Err(match status.as_u16() {
            200 | 206 => return Ok(response),
            _ if status.is_redirection() && ask == Ask::Head => return Ok(response),
            416 if matches!(ask, Ask::From(_)) => return Ok(response),
            403 if code == "GatedRepo" => denied(
                "its owners ask for agreement first: agree on its page, and give your token in HF_TOKEN",
            ),
            401 | 403 if self.token.is_some() => {
                denied("it does not exist, or this token does not open it")
            }
            401 | 403 => denied(
                "it does not exist, or it is private or gated: then give a token in HF_TOKEN",
            ),
            404 if code == "RevisionNotFound" => {
                Error::NotFound(format!("{what}: no such revision"))
            }
            404 => Error::NotFound(what.into()),
            408 | 429 | 500 | 502 | 503 | 504 => return Err(later(&response)),
            _ => Error::answer(what, format!("the hub answers {}", in_words(status))),
        }
        .into())
    }
}

/// The text of a header.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn in_words(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or_default();
    format!("{} {words}", status.as_u16()).trim().to_string()
}

fn later(response: &Response<Body>) -> Failure {
    let seconds = header(response, "retry-after").and_then(|text| text.trim().parse().ok());
    Failure::Passing {
        why: format!("the hub answers {}", in_words(response.status())),
        wait: seconds.map(Duration::from_secs),
        progress: false,
    }
}

/// An error before there was an answer, without the address it may hold.
fn unsent(error: &ureq::Error, host: &str) -> Failure {
    let why = match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::HostNotFound => "no such host".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Protocol(_) => "an answer that is not HTTP".into(),
        ureq::Error::Rustls(error) => error.to_string(),
        ureq::Error::BadUri(_) => "an address that cannot be read".into(),
        other => other.to_string(),
    };
    let lookup = matches!(error, ureq::Error::Io(error) if is_lookup(error));
    let why = format!("{host}: {why}");
    match error {
        // A name that means nothing now will mean nothing in ten seconds.
        ureq::Error::Io(_) if lookup => Failure::Final(Error::Unreachable {
            what: "from the hub".into(),
            why,
        }),
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Failure::passing(why),
        _ => Failure::Final(Error::Unreachable {
            what: "from the hub".into(),
            why,
        }),
    }
}

fn is_lookup(error: &io::Error) -> bool {
    error.to_string().contains("lookup address")
}
