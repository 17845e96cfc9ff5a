//! A reward endpoint.

use crate::{Response, Server};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Maps the JSON body of a request to the status and body of the response; `None` closes the
/// connection without a response.
pub type Responder = fn(&Value) -> Option<(u16, String)>;

/// An endpoint that answers each request with the next of its responders, and closes the connection
/// when there are none left.
#[derive(Debug)]
pub struct RewardEndpoint {
    server: Server,
    requests: Arc<AtomicUsize>,
}

impl RewardEndpoint {
    /// Starts the endpoint.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start<I>(answers: I) -> Self
    where
        I: IntoIterator<Item = Responder>,
        I::IntoIter: Send + 'static,
    {
        let requests = Arc::<AtomicUsize>::default();
        let (count, answers) = (requests.clone(), Mutex::new(answers.into_iter()));
        let server = Server::start(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            let next = answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let body = serde_json::from_slice(&request.body).ok()?;
            let (status, text) = next?(&body)?;
            Some(Response::new(status).body(text))
        });
        Self { server, requests }
    }

    /// The endpoint's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url() + "/score"
    }

    /// The number of requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
