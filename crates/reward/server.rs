//! An HTTP endpoint on loopback, as a user might have one. Tests of this crate and of the whole program
//! share it.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::{JoinHandle, spawn};

/// What the endpoint says to a question's body: status and text, or nothing, and hangs up.
pub(crate) type Answer = fn(&Value) -> Option<(u16, String)>;

/// Answers one connection after the other, as long as there are answers. Its address, and how often it
/// was asked.
pub(crate) fn serve(
    answers: impl Iterator<Item = Answer> + Send + 'static,
) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/score", listener.local_addr().unwrap());
    let server = spawn(move || {
        let mut asked = 0;
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let body = read(BufReader::new(&stream));
            asked += 1;
            if let Some((status, text)) = answer(&body) {
                let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                let length = format!("content-length: {}\r\n\r\n", text.len());
                // A client that timed out is gone.
                let _ = stream.write_all((head + &length + &text).as_bytes());
            }
        }
        asked
    });
    (url, server)
}

/// The body of a request.
fn read(mut reader: impl BufRead) -> Value {
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}
