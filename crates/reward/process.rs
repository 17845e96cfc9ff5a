//! Communicates with a program line by line, without ever blocking on it.
//!
//! Three threads do the blocking operations: one writes the program's input, one reads its output, and one
//! keeps the last lines of its standard error. Each ends with its pipe.

use crate::interrupt_timer::{InterruptTimer, POLL};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The maximum length of a line, bytes.
const MAX_LINE: u64 = 1 << 20;
/// How many lines of output are buffered.
const OUTPUT_BUFFER: usize = 1 << 10;
/// How many lines of standard error are kept.
const STDERR_LINES: usize = 3;
/// How long a program may take to end after its input or output is closed.
const GRACE: Duration = Duration::from_millis(500);

/// All running programs, for [`end_programs`].
static RUNNING: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Kills every program that a [`Command`](crate::Command) of this process runs, for a caller that is about
/// to end the process without dropping values. No program is started as long as the returned guard exists.
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

/// The next event of a program's output.
#[derive(Debug)]
pub(crate) enum Output {
    /// A line. Invalid UTF-8 is replaced.
    Line(String),
    /// A line longer than [`MAX_LINE`].
    TooLong,
    /// The program ended, with this status.
    Ended(String),
    /// Nothing happened within the time limit.
    Timeout,
    /// The run was interrupted before anything happened.
    WaitInterrupted,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Arc<Mutex<Child>>,
    /// The channel to the writing thread. Dropping it closes the program's input.
    input: Option<Sender<String>>,
    /// The channel from the reading thread: lines, and `None` for a line that is too long.
    output: Receiver<Option<String>>,
    /// A line that was peeked at and not read yet.
    peeked: Option<Option<String>>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_thread: Option<thread::JoinHandle<()>>,
    lines_read: usize,
}

impl Process {
    /// Starts a program with its arguments in a process group of its own, so that Ctrl-C in the terminal does
    /// not reach it. It ends when this value is dropped.
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
        let (input, input_texts) = channel::<String>();
        let (output_lines, output) = sync_channel(OUTPUT_BUFFER);
        // Errors of writing are ignored: the program has ended, which its output shows.
        thread::spawn(move || {
            let mut write = |text: String| {
                stdin
                    .write_all(text.as_bytes())
                    .and_then(|()| stdin.flush())
            };
            while input_texts.recv().is_ok_and(|text| write(text).is_ok()) {}
        });
        thread::spawn(move || send_lines(stdout, &output_lines));
        let stderr_lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = stderr_lines.clone();
        let stderr_thread = thread::spawn(move || keep_last_lines(stderr, &kept));
        Ok(Self {
            child,
            input: Some(input),
            output,
            peeked: None,
            stderr: stderr_lines,
            stderr_thread: Some(stderr_thread),
            lines_read: 0,
        })
    }

    /// Queues a text for the program's input.
    pub(crate) fn write(&self, text: String) {
        if let Some(input) = &self.input {
            // If the writing thread has ended, so has the program, which `read` reports.
            let _ = input.send(text);
        }
    }

    /// Waits for the next event, until `end` or until the run is interrupted.
    pub(crate) fn read(&mut self, end: Instant, timer: &mut InterruptTimer) -> Output {
        let line = match self.peeked.take() {
            Some(line) => Ok(line),
            None => loop {
                let left = end.saturating_duration_since(Instant::now());
                match self.output.recv_timeout(left.min(POLL)) {
                    Err(RecvTimeoutError::Timeout) if timer.should_stop() => {
                        return Output::WaitInterrupted;
                    }
                    Err(RecvTimeoutError::Timeout) if left > POLL => {}
                    line => break line,
                }
            },
        };
        match line {
            Ok(Some(line)) => {
                self.lines_read += 1;
                Output::Line(line)
            }
            Ok(None) => Output::TooLong,
            Err(RecvTimeoutError::Timeout) => Output::Timeout,
            Err(RecvTimeoutError::Disconnected) => Output::Ended(self.status()),
        }
    }

    /// The next line, if there is one within this time, without reading it.
    pub(crate) fn peek(&mut self, time: Duration) -> Option<&str> {
        if self.peeked.is_none() {
            self.peeked = self.output.recv_timeout(time).ok();
        }
        let line = self.peeked.as_ref()?;
        Some(line.as_deref().unwrap_or("a line that is too long"))
    }

    /// Closes the input and returns the lines that the program still writes until it ends, at most for
    /// [`GRACE`].
    pub(crate) fn remaining_lines(&mut self) -> Vec<String> {
        self.input = None;
        let end = Instant::now() + GRACE;
        let mut lines: Vec<String> = self.peeked.take().flatten().into_iter().collect();
        while let left = end.saturating_duration_since(Instant::now())
            && let Ok(line) = self.output.recv_timeout(left)
        {
            lines.extend(line);
        }
        lines
    }

    /// How many lines were read.
    pub(crate) fn lines_read(&self) -> usize {
        self.lines_read
    }

    /// Ends the program, and returns the last lines of its standard error.
    pub(crate) fn last_stderr(mut self) -> Option<String> {
        self.end(Duration::ZERO);
        // Child processes may keep the pipe open, so this waits for a limited time.
        if let Some(thread) = self.stderr_thread.take() {
            wait(GRACE, || thread.is_finished());
        }
        let kept = self.stderr.lock().ok()?;
        let words: Vec<&str> = kept.iter().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(" / "))
    }

    fn has_ended(&self) -> bool {
        !matches!(lock(&self.child).try_wait(), Ok(None))
    }

    fn status(&self) -> String {
        wait(GRACE, || self.has_ended());
        match lock(&self.child).try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "it closed its output".into(),
        }
    }

    /// Closes the input, and kills the program if it does not end within `grace`.
    fn end(&mut self, grace: Duration) {
        self.input = None;
        wait(grace, || self.has_ended());
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

/// Kills a program and its process group. Does nothing if the program has ended by itself.
fn kill(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    // The standard library cannot kill a process group, so the program `kill` does. If that fails, only child
    // processes of the program remain.
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

/// Waits until `done` returns true, or for `time`.
fn wait(time: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !done() && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads a line without its line break; `None` at the end of the stream, an error for a line that is too
/// long.
fn line(reader: &mut impl BufRead) -> Option<Result<String, ()>> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_LINE).read_until(b'\n', &mut bytes);
    match read {
        Ok(0) | Err(_) => None,
        Ok(_) if bytes.last() != Some(&b'\n') && bytes.len() as u64 == MAX_LINE => Some(Err(())),
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            Some(Ok(text.trim_end_matches(['\n', '\r']).to_string()))
        }
    }
}

fn send_lines(stdout: impl Read, lines: &SyncSender<Option<String>>) {
    let mut reader = BufReader::new(stdout);
    while let Some(line) = line(&mut reader) {
        let too_long = line.is_err();
        if lines.send(line.ok()).is_err() || too_long {
            break;
        }
    }
}

fn keep_last_lines(stderr: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    while let Some(line) = line(&mut reader) {
        if let (Ok(line), Ok(mut kept)) = (line, kept.lock())
            && !line.trim().is_empty()
        {
            kept.push_back(line);
            let extra = kept.len().saturating_sub(STDERR_LINES);
            kept.drain(..extra);
        }
    }
}
