//! HTTP/1.1 requests and responses, as far as the tests need them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and target, as in "GET /path?query".
    pub line: String,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body, `content-length` bytes.
    pub body: Vec<u8>,
}

impl Request {
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut text = String::new();
            reader.read_line(&mut text)?;
            io::Result::Ok(text.trim_end().to_string())
        };
        let first = line()?;
        let first = first.strip_suffix(" HTTP/1.1").ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a request: {first}"),
            )
        })?;
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = line()?.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        let length = headers.get("content-length");
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self {
            line: first.into(),
            headers,
            body,
        })
    }
}

/// How the body of a response is sent.
#[derive(Debug, Clone, Copy, Default)]
pub enum Delivery {
    /// All at once.
    #[default]
    Whole,
    /// This many bytes, then the connection closes.
    Cut(usize),
    /// This many bytes, then the connection closes after a pause.
    Stall(usize, Duration),
    /// This many bytes at a time, with a pause after each.
    Slow(usize, Duration),
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
}

impl Response {
    /// A response with this status, without headers and body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delivery: Delivery::Whole,
        }
    }

    /// Sets a header, replacing another of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// Sets how the body is sent.
    #[must_use]
    pub fn delivery(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    pub(crate) fn send(&self, mut stream: &TcpStream, request: &Request) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", self.status);
        head += &format!("Content-Length: {}\r\n", self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.line.starts_with("HEAD ") {
            return Ok(());
        }
        let first = |count: usize| &self.body[..self.body.len().min(count)];
        match self.delivery {
            Delivery::Whole => stream.write_all(&self.body),
            Delivery::Cut(count) => stream.write_all(first(count)),
            Delivery::Stall(count, pause) => {
                stream.write_all(first(count))?;
                sleep(pause);
                Ok(())
            }
            Delivery::Slow(count, pause) => {
                for part in self.body.chunks(count) {
                    stream.write_all(part)?;
                    sleep(pause);
                }
                Ok(())
            }
        }
    }
}
