//! Sends HTTP requests and follows redirects itself, so that the token is sent only to the hub.

use crate::retry::{Attempt, Failure};
use crate::url::Url;
use crate::{Error, Settings, Token};
use std::io;
use std::time::Duration;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

/// The maximum number of redirects.
const REDIRECTS: usize = 8;
/// The connection timeout.
const CONNECT: Duration = Duration::from_secs(10);

/// What is requested of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// Only the headers. A redirect with a checksum is not followed.
    Head,
    /// The whole content.
    All,
    /// The content from this byte on.
    From(u64),
}

/// A client of one hub.
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
            // Ranges of a compressed body cannot be joined.
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

    /// A response with status 200 or 206; for [`RequestKind::Head`] also a redirect with a
    /// checksum, for [`RequestKind::From`] also 416. `what` is named in errors.
    pub(crate) fn send(
        &self,
        kind: RequestKind,
        address: &str,
        what: &str,
    ) -> Attempt<Response<Body>> {
        let unreadable = |address: &str| {
            Error::invalid_response(what, format!("{address} is not a valid address"))
        };
        let first = Url::parse(address).ok_or_else(|| unreadable(address))?;
        let (mut url, mut trusted) = (first.clone(), true);
        for _ in 0..=REDIRECTS {
            trusted &= url.same_origin(&first);
            let response = self.send_once(kind, &url, trusted)?;
            let named = response.headers().contains_key("x-linked-etag");
            if !response.status().is_redirection() || (kind == RequestKind::Head && named) {
                return self.check_status(kind, response, what);
            }
            let location = header(&response, "location").unwrap_or_default();
            let next = url.join(location);
            // The path and query of an address may contain a signature, so they are not printed.
            let next = next.ok_or_else(|| {
                Error::invalid_response(what, "is redirected to an invalid address")
            })?;
            if url.is_encrypted() && !next.is_encrypted() {
                let why = format!("is redirected to {}, which is not encrypted", next.origin());
                return Err(Error::invalid_response(what, why).into());
            }
            url = next;
        }
        Err(Error::invalid_response(what, "is redirected too many times").into())
    }

    fn send_once(&self, kind: RequestKind, url: &Url, trusted: bool) -> Attempt<Response<Body>> {
        let method = match kind {
            RequestKind::Head => Method::HEAD,
            RequestKind::All | RequestKind::From(_) => Method::GET,
        };
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = self.token.as_ref().filter(|_| trusted) {
            request = request.header("Authorization", token.header());
        }
        if let RequestKind::From(start) = kind {
            request = request.header("Range", format!("bytes={start}-"));
        }
        let host = url.origin();
        let request = request.body(()).map_err(|_| {
            let why = "cannot be requested: the address or the token contains invalid characters";
            Error::invalid_response(&host, why)
        })?;
        self.agent
            .run(request)
            .map_err(|error| transport_error(&error, &host))
    }

    fn check_status(
        &self,
        kind: RequestKind,
        response: Response<Body>,
        what: &str,
    ) -> Attempt<Response<Body>> {
        let status = response.status();
        let code = header(&response, "x-error-code").unwrap_or_default();
        let denied = |why: &str| Error::Denied {
            what: what.into(),
            why: why.into(),
        };
        Err(match status.as_u16() {
            200 | 206 => return Ok(response),
            _ if status.is_redirection() && kind == RequestKind::Head => return Ok(response),
            416 if matches!(kind, RequestKind::From(_)) => return Ok(response),
            403 if code == "GatedRepo" => {
                denied("it is gated: accept its terms on its page, and give your token in HF_TOKEN")
            }
            401 | 403 if self.token.is_some() => {
                denied("it does not exist, or this token has no access to it")
            }
            401 | 403 => denied(
                "it does not exist, or it is private or gated; if so, give a token in HF_TOKEN",
            ),
            404 if code == "RevisionNotFound" => {
                Error::NotFound(format!("{what}: no such revision"))
            }
            404 => Error::NotFound(what.into()),
            408 | 429 | 500 | 502 | 503 | 504 => return Err(temporary_failure(&response)),
            _ => {
                Error::invalid_response(what, format!("the hub responded {}", status_text(status)))
            }
        }
        .into())
    }
}

/// The value of a header.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn status_text(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or_default();
    format!("{} {words}", status.as_u16()).trim().to_string()
}

fn temporary_failure(response: &Response<Body>) -> Failure {
    let seconds = header(response, "retry-after").and_then(|text| text.trim().parse().ok());
    Failure::Temporary {
        why: format!("the hub responded {}", status_text(response.status())),
        wait: seconds.map(Duration::from_secs),
        progressed: false,
    }
}

/// A failure without a response; the message does not contain the full address.
fn transport_error(error: &ureq::Error, host: &str) -> Failure {
    let why = match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "no response in time".into(),
        ureq::Error::HostNotFound => "no such host".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Protocol(_) => "the response is not HTTP".into(),
        ureq::Error::Rustls(error) => error.to_string(),
        ureq::Error::BadUri(_) => "the address is invalid".into(),
        other => other.to_string(),
    };
    let lookup = matches!(error, ureq::Error::Io(error) if is_lookup(error));
    let why = format!("{host}: {why}");
    match error {
        // A failed host lookup is not retried.
        ureq::Error::Io(_) if lookup => Failure::Final(Error::Unreachable {
            what: "from the hub".into(),
            why,
        }),
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Failure::temporary(why),
        _ => Failure::Final(Error::Unreachable {
            what: "from the hub".into(),
            why,
        }),
    }
}

fn is_lookup(error: &io::Error) -> bool {
    error.to_string().contains("lookup address")
}
