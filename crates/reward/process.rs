//! A program that is talked to line by line and cannot hold us up.
//!
//! Three threads stand between: one writes what it is told, one reads what it answers, one keeps the
//! last of what it complains about. Each ends with the program's pipes.

use crate::patience::{POLL, Patience};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The longest line that is read, bytes.
const LONGEST: u64 = 1 << 20;
/// How many lines may wait to be heard.
const WAITING: usize = 1 << 10;
/// How many lines of its complaints are kept.
const KEPT: usize = 3;
/// How long a program may take to end once its input or its output has.
const GRACE: Duration = Duration::from_millis(500);

/// All programs that run, for [`end_programs`].
static RUNNING: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Ends every program that a [`Command`](crate::Command) of this process runs, for a caller that is about
/// to end the process without dropping anything; none is started as long as what it returns lives.
#[must_use]
pub fn end_programs() -> impl Sized {
    let mut running = lock(&RUNNING);
    for child in running.drain(..) {
        if let Some(child) = child.upgrade() {
            kill(&mut lock(&child));
        }
    }
    running
}

/// What a program did.
#[derive(Debug)]
pub(crate) enum Said {
    /// It wrote a line; what is not UTF-8 in it is replaced.
    Line(String),
    /// It wrote a line that is too long.
    TooLong,
    /// It ended, in this way.
    Ended(String),
    /// It did none of these in time.
    Nothing,
    /// It did none of these before the run was asked to end, or shortly after.
    Abandoned,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Arc<Mutex<Child>>,
    /// To the thread that writes; dropped, it ends the program's input.
    input: Option<Sender<String>>,
    /// From the thread that reads: lines, and `None` for one that is too long.
    output: Receiver<Option<String>>,
    /// A line that was seen and not heard yet.
    ahead: Option<Option<String>>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    complaining: Option<thread::JoinHandle<()>>,
    heard: usize,
}

impl Process {
    /// Starts a program with its arguments, out of reach of the terminal's Ctrl-C: it ends when we do.
    pub(crate) fn start(program: &[String]) -> std::io::Result<Self> {
        let mut command = Command::new(&program[0]);
        command
            .args(&program[1..])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running = lock(&RUNNING);
        let mut child = command.spawn()?;
        let pipe = || std::io::Error::other("it has no pipe");
        let mut stdin = child.stdin.take().ok_or_else(pipe)?;
        let stdout = child.stdout.take().ok_or_else(pipe)?;
        let stderr = child.stderr.take().ok_or_else(pipe)?;
        let child = Arc::new(Mutex::new(child));
        running.retain(|child| child.strong_count() > 0);
        running.push(Arc::downgrade(&child));
        drop(running);
        let (input, told) = channel::<String>();
        let (said, output) = sync_channel(WAITING);
        // What cannot be written is not missed: the program is gone, and its output says so.
        thread::spawn(move || {
            let mut write = |text: String| {
                stdin
                    .write_all(text.as_bytes())
                    .and_then(|()| stdin.flush())
            };
            while told.recv().is_ok_and(|text| write(text).is_ok()) {}
        });
        thread::spawn(move || listen(stdout, &said));
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let kept = complaints.clone();
        let complaining = thread::spawn(move || remember(stderr, &kept));
        Ok(Self {
            child,
            input: Some(input),
            output,
            ahead: None,
            complaints,
            complaining: Some(complaining),
            heard: 0,
        })
    }

    /// Hands over a text, to be written when the program reads.
    pub(crate) fn tell(&self, text: String) {
        if let Some(input) = &self.input {
            // A writer that is gone is a program that is gone, which `hear` finds out.
            let _ = input.send(text);
        }
    }

    /// The next thing the program does, until `end` or until `patience` is over.
    pub(crate) fn hear(&mut self, end: Instant, patience: &mut Patience) -> Said {
        let line = match self.ahead.take() {
            Some(line) => Ok(line),
            None => loop {
                let left = end.saturating_duration_since(Instant::now());
                match self.output.recv_timeout(left.min(POLL)) {
                    Err(RecvTimeoutError::Timeout) if patience.is_over() => return Said::Abandoned,
                    Err(RecvTimeoutError::Timeout) if left > POLL => {}
                    line => break line,
                }
            },
        };
        match line {
            Ok(Some(line)) => {
                self.heard += 1;
                Said::Line(line)
            }
            Ok(None) => Said::TooLong,
            Err(RecvTimeoutError::Timeout) => Said::Nothing,
            Err(RecvTimeoutError::Disconnected) => Said::Ended(self.how_it_ended()),
        }
    }

    /// A line that comes within this time, unasked.
    pub(crate) fn waiting(&mut self, time: Duration) -> Option<&str> {
        if self.ahead.is_none() {
            self.ahead = self.output.recv_timeout(time).ok();
        }
        let line = self.ahead.as_ref()?;
        Some(line.as_deref().unwrap_or("a line without end"))
    }

    /// Closes its input, and listens to what it still says until it ends; not for longer than it may take
    /// for that.
    pub(crate) fn left_over(&mut self) -> Vec<String> {
        self.input = None;
        let end = Instant::now() + GRACE;
        let mut lines: Vec<String> = self.ahead.take().flatten().into_iter().collect();
        while let left = end.saturating_duration_since(Instant::now())
            && let Ok(line) = self.output.recv_timeout(left)
        {
            lines.extend(line);
        }
        lines
    }

    /// How many lines were heard.
    pub(crate) fn heard(&self) -> usize {
        self.heard
    }

    /// Ends the program, and returns the last it wrote to its standard error.
    pub(crate) fn last_words(mut self) -> Option<String> {
        self.end(Duration::ZERO);
        // Its children may keep the pipe open: what is there after the grace is what there is.
        if let Some(thread) = self.complaining.take() {
            wait(GRACE, || thread.is_finished());
        }
        let kept = self.complaints.lock().ok()?;
        let words: Vec<&str> = kept.iter().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(" / "))
    }

    fn is_gone(&self) -> bool {
        !matches!(lock(&self.child).try_wait(), Ok(None))
    }

    fn how_it_ended(&self) -> String {
        wait(GRACE, || self.is_gone());
        match lock(&self.child).try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "it closed its output".into(),
        }
    }

    /// Closes its input, and ends it if it does not end by itself in time.
    fn end(&mut self, grace: Duration) {
        self.input = None;
        wait(grace, || self.is_gone());
        kill(&mut lock(&self.child));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(GRACE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a program and what it has started, as far as that is in its process group; one that has ended
/// by itself keeps what it left.
fn kill(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    // By the system's own program, as the standard library has no call for it. Where there is none, and
    // where the group is gone at this moment, nothing is missed but what the program had started.
    #[cfg(unix)]
    let _ = Command::new("kill")
        .args(["-KILL", "--", &format!("-{}", child.id())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until something is so, or the time is over.
fn wait(time: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !done() && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
    }
}

/// A line without its end; `None` at the end of all, an error for one that is too long.
fn line(reader: &mut impl BufRead) -> Option<Result<String, ()>> {
    let mut bytes = Vec::new();
    let read = reader.take(LONGEST).read_until(b'\n', &mut bytes);
    match read {
        Ok(0) | Err(_) => None,
        Ok(_) if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LONGEST => Some(Err(())),
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            Some(Ok(text.trim_end_matches(['\n', '\r']).to_string()))
        }
    }
}

fn listen(stdout: impl Read, said: &SyncSender<Option<String>>) {
    let mut reader = BufReader::new(stdout);
    while let Some(line) = line(&mut reader) {
        let too_long = line.is_err();
        if said.send(line.ok()).is_err() || too_long {
            break;
        }
    }
}

fn remember(stderr: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    while let Some(line) = line(&mut reader) {
        if let (Ok(line), Ok(mut kept)) = (line, kept.lock())
            && !line.trim().is_empty()
        {
            kept.push_back(line);
            let extra = kept.len().saturating_sub(KEPT);
            kept.drain(..extra);
        }
    }
}
