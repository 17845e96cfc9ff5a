//! An external program as a reward.

use crate::external_protocol::{VALID_SCORES, excerpt, parse_score, requests};
use crate::interrupt_timer::{InterruptTimer, wait_interrupted};
use crate::process::{Output, Process};
use crate::{Error, OnNull, Result};
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences, finite_scores};
use std::path::Path;
use std::time::{Duration, Instant};

/// After the first batch, how long to wait for a superfluous line: twice the time that one answer took, but
/// at least and at most this.
const EXTRA_LINE_WAIT: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(250));
/// How often a program that dies is restarted for the same responses.
const RESTARTS: usize = 2;

/// A program that is started once. It reads one JSON object per line, for each response, and writes one line
/// for each, in the same order: a number, `null` for no score, or an object with one of them as `score`. It
/// is restarted if it dies and killed if it takes too long. There is no shell in between. Python's output is
/// unbuffered; other programs must flush their output.
///
/// Each input object has the fields `prompt`, `completion`, `finish` ("eos" or "length"), `row` (all fields
/// of the data row), and `index` and `of`, the position in the batch and its size: a program that scores a
/// batch at once waits for the line whose index is `of` − 1.
#[derive(Debug)]
pub struct Command {
    program: Vec<String>,
    batch: usize,
    limit: Duration,
    on_null: OnNull,
    running: Option<Process>,
    /// How many batches the running process was sent.
    batches: usize,
    /// The number of batches whose scores were returned.
    used: usize,
}

/// Why a program returned no scores for a batch.
enum Problem {
    /// The process died; it may be restarted.
    Died(String),
    /// The run was interrupted.
    WaitInterrupted,
    /// Any other error.
    Failed(String),
}

impl Command {
    /// A program with its arguments, which scores `batch` responses at once within `seconds`. It is started
    /// with the first batch.
    ///
    /// # Errors
    /// If there is no such program, or a number is out of range.
    pub fn new(program: &[String], batch: usize, seconds: f64) -> Result<Self> {
        let name = program.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::Rule("reward command: give a program".into()))?;
        if !exists(name) {
            return Err(Error::Rule(format!(
                "reward command: there is no program `{name}`, neither as a path nor in PATH"
            )));
        }
        if batch == 0 {
            return Err(Error::Rule(
                "reward command: batch = 0: must be positive".into(),
            ));
        }
        Ok(Self {
            program: program.to_vec(),
            batch,
            limit: time_limit("command", seconds)?,
            on_null: OnNull::LeaveOut,
            running: None,
            batches: 0,
            used: 0,
        })
    }

    /// How `null` is treated; by default the response has no score.
    #[must_use]
    pub fn on_null(self, on_null: OnNull) -> Self {
        Self { on_null, ..self }
    }

    fn score_batch(
        &mut self,
        lines: &[String],
        timer: &mut InterruptTimer,
    ) -> std::result::Result<Vec<Option<f32>>, Problem> {
        let process = match &mut self.running {
            Some(process) => process,
            None => {
                let started = Process::start(&self.program)
                    .map_err(|error| Problem::Failed(format!("cannot be started: {error}")))?;
                (self.batches, self.used) = (0, 0);
                self.running.insert(started)
            }
        };
        // Lines before the first request are read as answers.
        let fresh = process.lines_read() == 0;
        if !fresh && let Some(line) = process.peek(Duration::ZERO) {
            let message = superfluous_line(line, self.batches);
            return Err(Problem::Failed(if self.batches == self.used {
                format!("{message}, and they were used already")
            } else {
                message
            }));
        }
        self.batches += 1;
        process.write(lines.concat());
        let end = Instant::now() + self.limit;
        let mut first = None;
        let mut scores = Vec::with_capacity(lines.len());
        while scores.len() < lines.len() {
            let so_far = format!("{} of {} lines", scores.len(), lines.len());
            match process.read(end, timer) {
                Output::Line(line) => {
                    first.get_or_insert_with(Instant::now);
                    let value = serde_json::from_str(&line).ok();
                    let score = value.as_ref().and_then(|value| parse_score(value).ok());
                    let score = score.ok_or_else(|| {
                        Problem::Failed(format!(
                            "line {} of its answers is `{}`, which is not {VALID_SCORES}",
                            process.lines_read(),
                            excerpt(&line)
                        ))
                    })?;
                    if score.is_none() && self.on_null == OnNull::Error {
                        return Err(Problem::Failed(format!(
                            "line {} of its answers is null, and on_null = \"error\"",
                            process.lines_read()
                        )));
                    }
                    scores.push(score);
                }
                Output::TooLong => {
                    let line = process.lines_read() + 1;
                    return Err(Problem::Failed(format!(
                        "line {line} of its answers has no end"
                    )));
                }
                Output::WaitInterrupted => return Err(Problem::WaitInterrupted),
                Output::Timeout => {
                    return Err(Problem::Failed(format!(
                        "answered {so_far} in {:.1} s, its limit: does it flush what it writes?",
                        self.limit.as_secs_f64()
                    )));
                }
                Output::Ended(how) => {
                    return Err(Problem::Died(format!("ended ({how}) after {so_far}")));
                }
            }
        }
        // A superfluous line usually follows every answer, after about as long as an answer takes.
        let time = match first {
            Some(first) if fresh => {
                let others = u32::try_from(lines.len()).map_or(u32::MAX, |count| count.max(2)) - 1;
                (first.elapsed() / others * 2).clamp(EXTRA_LINE_WAIT.0, EXTRA_LINE_WAIT.1)
            }
            _ => Duration::ZERO,
        };
        match process.peek(time) {
            Some(line) => Err(Problem::Failed(superfluous_line(line, self.batches))),
            None => Ok(scores),
        }
    }

    /// The scores of a batch, with restarts of a process that dies.
    fn score_with_restarts(
        &mut self,
        lines: &[String],
        timer: &mut InterruptTimer,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let mut starts = 0;
        loop {
            let (message, again) = match self.score_batch(lines, timer) {
                Ok(scores) => return Ok(scores),
                Err(Problem::WaitInterrupted) => {
                    self.running = None;
                    return Err(wait_interrupted());
                }
                Err(Problem::Died(message)) => (message, starts < RESTARTS),
                Err(Problem::Failed(message)) => (message, false),
            };
            let last = self
                .running
                .take()
                .and_then(|process| process.last_stderr());
            if again {
                starts += 1;
                continue;
            }
            return Err(self.failure(&message, starts, last));
        }
    }

    /// The error with the number of restarts and the last lines of standard error.
    fn failure(&self, message: &str, starts: usize, last: Option<String>) -> Failure {
        let mut message = format!("reward command `{}`: {message}", self.program.join(" "));
        if starts > 0 {
            message += &format!(", {} times in a row", starts + 1);
        }
        if let Some(words) = last {
            message += &format!("; its standard error ends with: {}", excerpt(&words));
        }
        Failure::Unsupported(message)
    }
}

/// The message about a superfluous line after the answers to a batch, counted from 1.
fn superfluous_line(line: &str, batch: usize) -> String {
    format!(
        "wrote a line too many: `{}`, after its answers to batch {batch} of this process: those may \
         belong to other responses",
        excerpt(line)
    )
}

impl Reward for Command {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        finite_scores(self, sequences)
    }

    fn optional_scores(
        &mut self,
        sequences: &Sequences,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let mut all = Vec::with_capacity(sequences.len());
        let mut timer = InterruptTimer::default();
        for start in (0..sequences.len()).step_by(self.batch) {
            let end = (start + self.batch).min(sequences.len());
            let requests = requests(sequences, start..end);
            let lines: Vec<String> = requests
                .iter()
                .map(|request| format!("{request}\n"))
                .collect();
            all.extend(self.score_with_restarts(&lines, &mut timer)?);
        }
        self.used = self.batches;
        Ok(all)
    }

    /// Ends the program. Its remaining lines are ignored (a summary, for example), unless one is a score.
    fn finish(&mut self) -> rlhf_objective::Result<()> {
        let Some(mut process) = self
            .running
            .take()
            .filter(|process| process.lines_read() > 0)
        else {
            return Ok(());
        };
        let answer = |line: &String| {
            serde_json::from_str(line).is_ok_and(|value| parse_score(&value).is_ok())
        };
        match process.remaining_lines().into_iter().find(answer) {
            None => Ok(()),
            Some(line) => {
                let message = superfluous_line(&line, self.batches);
                Err(self.failure(&message, 0, process.last_stderr()))
            }
        }
    }
}

/// Checks a setting in seconds.
pub(crate) fn time_limit(kind: &str, seconds: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit < Duration::from_secs(86_400) => Ok(limit),
        _ => Err(Error::Rule(format!(
            "reward {kind}: seconds = {seconds}: must be positive and less than a day"
        ))),
    }
}

/// Whether the program is a file, or is in a folder of PATH.
#[expect(
    clippy::disallowed_methods,
    reason = "PATH is not a setting of this program"
)]
fn exists(name: &str) -> bool {
    if name.contains(std::path::MAIN_SEPARATOR) {
        return Path::new(name).is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::external_protocol::tests::five_responses;

    /// A shell script as the program.
    fn shell(script: &str, batch: usize, seconds: f64) -> Command {
        let program = ["sh", "-c", script].map(String::from);
        Command::new(&program, batch, seconds).unwrap()
    }

    fn scores(reward: &mut Command) -> rlhf_objective::Result<Vec<f32>> {
        reward.score(&five_responses())?.to_vec()
    }

    #[track_caller]
    fn fails(script: &str, expected: &str) {
        let began = Instant::now();
        let error = scores(&mut shell(script, 64, 0.7)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("reward command `sh -c "), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{script}");
    }

    /// Writes the completion of each request, which is the number of the response.
    const ECHO: &str =
        r#"while read -r line; do line="${line#*\"completion\":\"}"; echo "${line%%\"*}"; done"#;

    #[test]
    fn a_program_scores_line_by_line() {
        for batch in [1, 2, 64] {
            let mut reward = shell(ECHO, batch, 30.0);
            assert_eq!(scores(&mut reward).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
            // The same process scores the next batch.
            let before = reward.running.as_ref().unwrap().lines_read();
            assert_eq!(scores(&mut reward).unwrap()[4], 4.0);
            assert_eq!(reward.running.as_ref().unwrap().lines_read(), before + 5);
        }
    }

    /// With this variable Python flushes each line.
    #[test]
    fn pythonunbuffered_is_set() {
        let script = r#"while read -r line; do echo "$PYTHONUNBUFFERED"; done"#;
        assert_eq!(scores(&mut shell(script, 2, 30.0)).unwrap(), [1.0; 5]);
    }

    #[test]
    #[ignore = "needs python3"]
    fn a_python_program_gets_the_row_and_need_not_flush() {
        let script = "import json, sys\n\
            for line in sys.stdin:\n    r = json.loads(line)\n    \
            print(json.dumps({'score': r['row']['topic'] + len(r['prompt']) / 100}))";
        let program = ["python3", "-c", script].map(String::from);
        let mut reward = Command::new(&program, 2, 30.0).unwrap();
        assert_eq!(scores(&mut reward).unwrap(), [7.07, 7.07, 7.07, 8.07, 8.07]);
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        fails("sleep 60", "answered 0 of 5 lines in 0.7 s, its limit");
        fails("echo 1; exec sleep 60", "answered 1 of 5 lines");
        // A program that does not read its input either, when the input exceeds the buffer of a pipe.
        let text = "x".repeat(300_000);
        let lines = vec![format!("\"{text}\"\n"); 3];
        let mut reward = shell("exec sleep 60", 64, 0.5);
        assert!(
            matches!(reward.score_batch(&lines, &mut InterruptTimer::default()), Err(Problem::Failed(message)) if message.contains("limit"))
        );
    }

    #[test]
    fn invalid_lines_are_quoted_with_their_number() {
        fails(
            "echo 1; echo 'not yet'; exec sleep 60",
            "line 2 of its answers is `not yet`",
        );
        fails("echo NaN; exec sleep 60", "line 1 of its answers is `NaN`");
        fails(
            "head -c 3000000 /dev/zero; exec sleep 60",
            "line 1 of its answers has no end",
        );
        fails(
            "printf '\\377\\376\\n'; exec sleep 60",
            "line 1 of its answers is",
        );
    }

    #[test]
    fn null_is_no_score_or_an_error() {
        let none = "echo 1; echo null; echo '{\"score\": null}'; echo 4; echo 5; cat > /dev/null";
        let mut reward = shell(none, 64, 30.0);
        let scored = reward.optional_scores(&five_responses()).unwrap();
        assert_eq!(scored, [Some(1.0), None, None, Some(4.0), Some(5.0)]);
        let error = scores(&mut shell(none, 64, 30.0)).unwrap_err().to_string();
        assert!(error.contains("has no score for response 1"), "{error}");
        let mut strict = shell(none, 64, 30.0).on_null(OnNull::Error);
        let error = strict
            .optional_scores(&five_responses())
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2 of its answers is null"), "{error}");
    }

    #[test]
    fn a_program_with_too_few_lines_or_that_dies_is_an_error() {
        fails("echo 1; echo 2", "after 2 of 5 lines, 3 times in a row");
        fails("echo broken >&2; exit 3", "exit status: 3");
        fails(
            "echo broken >&2; exit 3",
            "its standard error ends with: broken",
        );
        fails("kill -9 $$", "signal: 9");
    }

    #[test]
    fn superfluous_lines_are_an_error() {
        // A superfluous line after each answer, or all lines at once.
        let twice = r#"while read -r line; do echo 1; echo 2; done"#;
        let one_piece = "for i in 1 2 3 4 5 2; do echo $i; done; cat > /dev/null";
        for script in [twice, one_piece] {
            let error = scores(&mut shell(script, 64, 30.0))
                .unwrap_err()
                .to_string();
            let expected_message =
                "wrote a line too many: `2`, after its answers to batch 1 of this process: ";
            assert!(error.contains(expected_message), "{error}");
            assert!(!error.contains("used already"), "{error}");
        }
    }

    /// Writes a superfluous line long after the answers to the second batch.
    const LATE: &str = "n=0; while read -r line; do n=$((n+1)); echo $n; \
                        if [ $n -eq 10 ]; then sleep 0.2; echo 7; fi; done; echo all done";

    #[test]
    fn late_superfluous_lines_are_an_error_in_the_next_batch_or_at_the_end() {
        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        scores(&mut reward).unwrap();
        let process = reward.running.as_mut().unwrap();
        assert_eq!(process.peek(Duration::from_secs(30)), Some("7"));
        let error = scores(&mut reward).unwrap_err().to_string();
        let expected_message = "wrote a line too many: `7`, after its answers to batch 2 of this process: those may \
                    belong to other responses, and they were used already";
        assert!(error.contains(expected_message), "{error}");

        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        scores(&mut reward).unwrap();
        let error = reward.finish().unwrap_err().to_string();
        let expected_message = "`7`, after its answers to batch 2 of this process: ";
        assert!(
            error.contains(expected_message) && !error.contains("used already"),
            "{error}"
        );
        reward.finish().unwrap();
    }

    #[test]
    fn other_lines_at_the_end_are_ignored() {
        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        reward.finish().unwrap();
    }

    /// The program dies once and is restarted.
    #[test]
    fn a_program_that_dies_is_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("crashed");
        let script = format!(
            "if [ ! -e {0} ]; then touch {0}; echo 9; exit 1; fi; {ECHO}",
            mark.display()
        );
        assert_eq!(
            scores(&mut shell(&script, 64, 30.0)).unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn invalid_settings_are_errors() {
        let make = |program: &[&str], batch, seconds| {
            let program: Vec<String> = program.iter().map(ToString::to_string).collect();
            Command::new(&program, batch, seconds)
                .unwrap_err()
                .to_string()
        };
        assert!(make(&[], 1, 1.0).contains("give a program"));
        assert!(make(&["no-such-program"], 1, 1.0).contains("no program `no-such-program`"));
        assert!(make(&["./none/here"], 1, 1.0).contains("no program"));
        assert!(make(&["sh"], 0, 1.0).contains("batch = 0"));
        assert!(make(&["sh"], 1, -1.0).contains("seconds = -1"));
    }
}
