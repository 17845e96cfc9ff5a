//! HTTP servers on the loopback interface for tests.
//!
//! [`Server`] answers any request by a function. Two servers of the kinds that `rlhf` talks to are built on
//! it: [`Hub`] speaks the part of the Hugging Face protocol that downloads need and fails on demand, and
//! [`Scores`] is a reward endpoint.

#![forbid(unsafe_code)]

mod hub;
mod message;
mod scores;

pub use hub::{Fault, Hub, Seen, git, sha256};
pub use message::{Delivery, Request, Response};
pub use scores::{Answer, Scores};

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// An HTTP/1.1 server on a free port of 127.0.0.1, with one thread a connection and one request on each.
/// It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that sends what `answer` returns, and closes the connection without an answer where
    /// that is `None`.
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
                        // A client that has read enough, or timed out, closes the connection.
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

    /// Scheme, host and port, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener waits for a connection before it looks whether to stop.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
