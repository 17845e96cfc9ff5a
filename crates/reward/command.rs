//! A program of the user's own as a reward.

use crate::external_protocol::{ANSWERS, excerpt, opinion, questions};
use crate::patience::{Patience, abandoned};
use crate::process::{Process, Said};
use crate::{Error, OnNull, Result};
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences, finite_scores};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the first answers of a program are followed by silence at least, and at most, before they
/// are taken for whole; between them it is twice the time that one answer took.
const SILENCE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// How often in a row a program that dies is started again for the same responses.
const RESTARTS: usize = 2;

/// A program that is started once, gets one JSON object a line for each response and answers one line
/// each, in the same order: a number, `null` where it has no opinion, or an object with one of them as
/// `score`. It is started again when
/// it dies, ended when it takes too long, and no shell stands between. Python's output is not
/// buffered; another program must flush what it has written.
///
/// A line in has the fields `prompt`, `completion`, `finish` ("eos" or "length"), `row` (all fields of
/// the data row), and `index` and `of`: a program that scores several at once waits for the line whose
/// index is one less than `of`.
#[derive(Debug)]
pub struct Command {
    program: Vec<String>,
    batch: usize,
    limit: Duration,
    on_null: OnNull,
    running: Option<Process>,
    /// How often the running process was asked.
    batches: usize,
    /// How many of these answers were handed on.
    used: usize,
}

/// Why a program has no scores for some responses.
enum Trouble {
    /// It is gone; another might do better.
    Died(String),
    /// The run was asked to end meanwhile.
    Abandoned,
    /// Anything else.
    Bad(String),
}

impl Command {
    /// A program with its arguments, which gets `batch` responses at once and has `seconds` for them.
    /// It is started when it is needed first.
    ///
    /// # Errors
    /// If there is no such program, or a number makes no sense.
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

    /// What an answer of `null` is; without this, no opinion.
    #[must_use]
    pub fn on_null(self, on_null: OnNull) -> Self {
        Self { on_null, ..self }
    }

    fn ask(
        &mut self,
        lines: &[String],
        patience: &mut Patience,
    ) -> std::result::Result<Vec<Option<f32>>, Trouble> {
        let process = match &mut self.running {
            Some(process) => process,
            None => {
                let started = Process::start(&self.program)
                    .map_err(|error| Trouble::Bad(format!("cannot be started: {error}")))?;
                (self.batches, self.used) = (0, 0);
                self.running.insert(started)
            }
        };
        // What it says before it was asked anything is judged as an answer.
        let fresh = process.heard() == 0;
        if !fresh && let Some(line) = process.waiting(Duration::ZERO) {
            let message = too_many(line, self.batches);
            return Err(Trouble::Bad(if self.batches == self.used {
                format!("{message}, and they were used already")
            } else {
                message
            }));
        }
        self.batches += 1;
        process.tell(lines.concat());
        let end = Instant::now() + self.limit;
        let mut first = None;
        let mut scores = Vec::with_capacity(lines.len());
        while scores.len() < lines.len() {
            let so_far = format!("{} of {} lines", scores.len(), lines.len());
            match process.hear(end, patience) {
                Said::Line(line) => {
                    first.get_or_insert_with(Instant::now);
                    let value = serde_json::from_str(&line).ok();
                    let said = value.as_ref().and_then(|value| opinion(value).ok());
                    let said = said.ok_or_else(|| {
                        Trouble::Bad(format!(
                            "line {} of its answers is `{}`, which is not {ANSWERS}",
                            process.heard(),
                            excerpt(&line)
                        ))
                    })?;
                    if said.is_none() && self.on_null == OnNull::Error {
                        return Err(Trouble::Bad(format!(
                            "line {} of its answers is null, and on_null = \"error\"",
                            process.heard()
                        )));
                    }
                    scores.push(said);
                }
                Said::TooLong => {
                    let line = process.heard() + 1;
                    return Err(Trouble::Bad(format!(
                        "line {line} of its answers has no end"
                    )));
                }
                Said::Abandoned => return Err(Trouble::Abandoned),
                Said::Nothing => {
                    return Err(Trouble::Bad(format!(
                        "answered {so_far} in {:.1} s, its limit: does it flush what it writes?",
                        self.limit.as_secs_f64()
                    )));
                }
                Said::Ended(how) => {
                    return Err(Trouble::Died(format!("ended ({how}) after {so_far}")));
                }
            }
        }
        // A line too many mostly means that every answer is followed by one. It takes as long as they do.
        let time = match first {
            Some(first) if fresh => {
                let others = u32::try_from(lines.len()).map_or(u32::MAX, |count| count.max(2)) - 1;
                (first.elapsed() / others * 2).clamp(SILENCE.0, SILENCE.1)
            }
            _ => Duration::ZERO,
        };
        match process.waiting(time) {
            Some(line) => Err(Trouble::Bad(too_many(line, self.batches))),
            None => Ok(scores),
        }
    }

    /// Scores of some responses, by another process where one dies.
    fn insist(
        &mut self,
        lines: &[String],
        patience: &mut Patience,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let mut starts = 0;
        loop {
            let (message, again) = match self.ask(lines, patience) {
                Ok(scores) => return Ok(scores),
                Err(Trouble::Abandoned) => {
                    self.running = None;
                    return Err(abandoned());
                }
                Err(Trouble::Died(message)) => (message, starts < RESTARTS),
                Err(Trouble::Bad(message)) => (message, false),
            };
            let last = self.running.take().and_then(|process| process.last_words());
            if again {
                starts += 1;
                continue;
            }
            return Err(self.failure(&message, starts, last));
        }
    }

    /// What it did, how often it was started again, and what it said last.
    fn failure(&self, message: &str, starts: usize, last: Option<String>) -> Failure {
        let mut message = format!("reward command `{}`: {message}", self.program.join(" "));
        if starts > 0 {
            message += &format!(", {} times in a row", starts + 1);
        }
        if let Some(words) = last {
            message += &format!("; it said: {}", excerpt(&words));
        }
        Failure::Unsupported(message)
    }
}

/// What is wrong where a program wrote more lines than it was asked for in a batch, counted from 1.
fn too_many(line: &str, batch: usize) -> String {
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
        let mut patience = Patience::default();
        for start in (0..sequences.len()).step_by(self.batch) {
            let end = (start + self.batch).min(sequences.len());
            let asked = questions(sequences, start..end);
            let lines: Vec<String> = asked.iter().map(|asked| format!("{asked}\n")).collect();
            all.extend(self.insist(&lines, &mut patience)?);
        }
        self.used = self.batches;
        Ok(all)
    }

    /// Ends the program. What it says at its end and is no answer, a summary for example, is nobody's.
    fn finish(&mut self) -> rlhf_objective::Result<()> {
        let Some(mut process) = self.running.take().filter(|process| process.heard() > 0) else {
            return Ok(());
        };
        let answer =
            |line: &String| serde_json::from_str(line).is_ok_and(|value| opinion(&value).is_ok());
        match process.left_over().into_iter().find(answer) {
            None => Ok(()),
            Some(line) => {
                let message = too_many(&line, self.batches);
                Err(self.failure(&message, 0, process.last_words()))
            }
        }
    }
}

/// A number of seconds, from a setting.
pub(crate) fn time_limit(kind: &str, seconds: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit < Duration::from_secs(86_400) => Ok(limit),
        _ => Err(Error::Rule(format!(
            "reward {kind}: seconds = {seconds}: must be positive and less than a day"
        ))),
    }
}

/// Whether the operating system will find the program, which looks in the folders of PATH.
#[expect(
    clippy::disallowed_methods,
    reason = "where programs are is no setting of ours"
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
    use crate::external_protocol::tests::five;

    /// A program in the shell's language.
    fn shell(script: &str, batch: usize, seconds: f64) -> Command {
        let program = ["sh", "-c", script].map(String::from);
        Command::new(&program, batch, seconds).unwrap()
    }

    fn scores(reward: &mut Command) -> rlhf_objective::Result<Vec<f32>> {
        reward.score(&five())?.to_vec()
    }

    #[track_caller]
    fn fails(script: &str, expected: &str) {
        let began = Instant::now();
        let error = scores(&mut shell(script, 64, 0.7)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("reward command `sh -c "), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{script}");
    }

    /// Answers the completion, which is the response's number.
    const ECHO: &str =
        r#"while read -r line; do line="${line#*\"completion\":\"}"; echo "${line%%\"*}"; done"#;

    #[test]
    fn a_program_answers_line_by_line() {
        for batch in [1, 2, 64] {
            let mut reward = shell(ECHO, batch, 30.0);
            assert_eq!(scores(&mut reward).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
            // The same process goes on.
            let before = reward.running.as_ref().unwrap().heard();
            assert_eq!(scores(&mut reward).unwrap()[4], 4.0);
            assert_eq!(reward.running.as_ref().unwrap().heard(), before + 5);
        }
    }

    /// Python writes each line at once where this variable says so.
    #[test]
    fn output_is_asked_not_to_be_buffered() {
        let script = r#"while read -r line; do echo "$PYTHONUNBUFFERED"; done"#;
        assert_eq!(scores(&mut shell(script, 2, 30.0)).unwrap(), [1.0; 5]);
    }

    #[test]
    #[ignore = "needs python3"]
    fn a_python_program_sees_the_row_and_need_not_flush() {
        let script = "import json, sys\n\
            for line in sys.stdin:\n    r = json.loads(line)\n    \
            print(json.dumps({'score': r['row']['topic'] + len(r['prompt']) / 100}))";
        let program = ["python3", "-c", script].map(String::from);
        let mut reward = Command::new(&program, 2, 30.0).unwrap();
        assert_eq!(scores(&mut reward).unwrap(), [7.07, 7.07, 7.07, 8.07, 8.07]);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        fails("sleep 60", "answered 0 of 5 lines in 0.7 s, its limit");
        fails("echo 1; exec sleep 60", "answered 1 of 5 lines");
        // One that reads nothing either, when there is more to read than a pipe holds.
        let text = "x".repeat(300_000);
        let lines = vec![format!("\"{text}\"\n"); 3];
        let mut reward = shell("exec sleep 60", 64, 0.5);
        assert!(
            matches!(reward.ask(&lines, &mut Patience::default()), Err(Trouble::Bad(message)) if message.contains("limit"))
        );
    }

    #[test]
    fn garbage_is_quoted_with_its_line() {
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
    fn null_is_no_opinion_or_an_error() {
        let none = "echo 1; echo null; echo '{\"score\": null}'; echo 4; echo 5; cat > /dev/null";
        let mut reward = shell(none, 64, 30.0);
        let said = reward.optional_scores(&five()).unwrap();
        assert_eq!(said, [Some(1.0), None, None, Some(4.0), Some(5.0)]);
        let error = scores(&mut shell(none, 64, 30.0)).unwrap_err().to_string();
        assert!(error.contains("no opinion of response 1"), "{error}");
        let mut strict = shell(none, 64, 30.0).on_null(OnNull::Error);
        let error = strict.optional_scores(&five()).unwrap_err().to_string();
        assert!(error.contains("line 2 of its answers is null"), "{error}");
    }

    #[test]
    fn one_that_answers_too_little_or_dies_is_named() {
        fails("echo 1; echo 2", "after 2 of 5 lines, 3 times in a row");
        fails("echo broken >&2; exit 3", "exit status: 3");
        fails("echo broken >&2; exit 3", "it said: broken");
        fails("kill -9 $$", "signal: 9");
    }

    #[test]
    fn one_that_says_too_much_is_found_out() {
        // At once: a line with each answer, or all in one piece.
        let twice = r#"while read -r line; do echo 1; echo 2; done"#;
        let one_piece = "for i in 1 2 3 4 5 2; do echo $i; done; cat > /dev/null";
        for script in [twice, one_piece] {
            let error = scores(&mut shell(script, 64, 30.0))
                .unwrap_err()
                .to_string();
            let said = "wrote a line too many: `2`, after its answers to batch 1 of this process: ";
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("used already"), "{error}");
        }
    }

    /// A line that comes long after the answers to the second batch.
    const LATE: &str = "n=0; while read -r line; do n=$((n+1)); echo $n; \
                        if [ $n -eq 10 ]; then sleep 0.2; echo 7; fi; done; echo all done";

    #[test]
    fn one_that_says_too_much_later_is_found_out_when_it_is_asked_again_or_at_the_end() {
        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        scores(&mut reward).unwrap();
        let process = reward.running.as_mut().unwrap();
        assert_eq!(process.waiting(Duration::from_secs(30)), Some("7"));
        let error = scores(&mut reward).unwrap_err().to_string();
        let said = "wrote a line too many: `7`, after its answers to batch 2 of this process: those may \
                    belong to other responses, and they were used already";
        assert!(error.contains(said), "{error}");

        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        scores(&mut reward).unwrap();
        let error = reward.finish().unwrap_err().to_string();
        let said = "`7`, after its answers to batch 2 of this process: ";
        assert!(
            error.contains(said) && !error.contains("used already"),
            "{error}"
        );
        reward.finish().unwrap();
    }

    #[test]
    fn what_is_no_answer_may_be_said_at_the_end() {
        let mut reward = shell(LATE, 64, 30.0);
        scores(&mut reward).unwrap();
        reward.finish().unwrap();
    }

    /// It dies once in the middle, and is started again.
    #[test]
    fn a_crash_is_survived() {
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
    fn what_makes_no_sense_is_named() {
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
