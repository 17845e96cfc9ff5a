//! HTTP servers on the loopback interface for tests.
//!
//! [`Server`] answers requests with a function. Two test servers are built on it: [`Hub`] speaks
//! the part of the Hugging Face protocol needed for downloads and fails on demand, and
//! [`RewardEndpoint`] scores responses.

#![forbid(unsafe_code)]

mod hub;
mod message;
mod reward_endpoint;

pub use hub::{Fault, Hub, RecordedRequest, git, sha256};
pub use message::{Delivery, Request, Response};
pub use reward_endpoint::{Responder, RewardEndpoint};

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// An HTTP/1.1 server on a free port of 127.0.0.1, with one thread and one request per connection.
/// Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that sends the response that `answer` returns, or closes the connection if
    /// it returns `None`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(answer: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let (stop, answer) = (Arc::<AtomicBool>::default(), Arc::new(answer));
        let stopped = stop.clone();
        let thread = spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, Ok(stream)) = (answer.clone(), stream) else {
                    continue;
                };
                spawn(move || {
                    let Ok(request) = Request::read(&stream) else {
                        return;
                    };
                    if let Some(response) = answer(&request) {
                        // The client may close the connection early, on a timeout or after an error
                        // status.
                        let _ = response.send(&stream, &request);
                    }
                });
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// Scheme, host and port, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener checks `stop` only after a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
