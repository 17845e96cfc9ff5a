//! An HTTP endpoint of the user's own as a reward.

use crate::command::time_limit;
use crate::external_protocol::{excerpt, opinions, questions};
use crate::patience::{POLL, Patience, abandoned};
use crate::{Error, OnNull, Result};
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences, finite_scores};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a request that may succeed later is sent again.
const RETRIES: u32 = 4;
/// How long to wait before the first of them; each wait is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest answer that is read, bytes.
const LONGEST: u64 = 64 << 20;

/// An endpoint that gets a POST of `{"responses": […]}` and answers `{"scores": […]}`, or the array
/// alone: for each response a number, `null` for no opinion, or an object with one of them as `score`. Each
/// response has the
/// fields that a [`Command`](crate::Command) gets in a line. Lost connections, 429 and 5xx are tried
/// again, a little later each time.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: String,
    batch: usize,
    agent: ureq::Agent,
    wait: Duration,
    on_null: OnNull,
}

/// Why a request brought no scores.
enum Trouble {
    /// It may go better later.
    Passing(String),
    /// It will not.
    Lasting(String),
    /// The run was asked to end meanwhile.
    Abandoned,
}

impl Endpoint {
    /// The endpoint at `url`, which gets `batch` responses at once and has `seconds` for them.
    ///
    /// # Errors
    /// If the address is none of http or https, or a number makes no sense.
    pub fn new(url: &str, batch: usize, seconds: f64) -> Result<Self> {
        if !["http://", "https://"]
            .iter()
            .any(|start| url.starts_with(start))
        {
            let message = format!("reward http: `{url}` does not start with http:// or https://");
            return Err(Error::Rule(message));
        }
        if batch == 0 {
            return Err(Error::Rule(
                "reward http: batch = 0: must be positive".into(),
            ));
        }
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(time_limit("http", seconds)?))
            .http_status_as_error(false);
        Ok(Self {
            url: url.into(),
            batch,
            agent: settings.build().into(),
            wait: FIRST_WAIT,
            on_null: OnNull::LeaveOut,
        })
    }

    /// What a score of `null` is; without this, no opinion.
    #[must_use]
    pub fn on_null(self, on_null: OnNull) -> Self {
        Self { on_null, ..self }
    }

    fn ask(&self, body: &[u8], expected: usize) -> std::result::Result<Vec<Option<f32>>, Trouble> {
        let request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        let mut response = request
            .send(body)
            .map_err(|error| Trouble::Passing(error.to_string()))?;
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(LONGEST)
            .read_to_vec();
        let body = body.map_err(|error| Trouble::Passing(error.to_string()))?;
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            let message = format!("answered {status}: {}", excerpt(&text));
            let passes = status.is_server_error() || status.as_u16() == 429;
            return Err(match passes {
                true => Trouble::Passing(message),
                false => Trouble::Lasting(message),
            });
        }
        let bad =
            |what: String| Trouble::Lasting(format!("its answer is not what it should be: {what}"));
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| bad(format!("`{}` is not JSON: {error}", excerpt(&text))))?;
        let said = opinions(&value, expected).map_err(bad)?;
        match said.iter().position(Option::is_none) {
            Some(index) if self.on_null == OnNull::Error => Err(bad(format!(
                "score {index} is null, and on_null = \"error\""
            ))),
            _ => Ok(said),
        }
    }

    /// The same by a thread of its own, which nobody waits for once `patience` is over.
    fn ask_with(
        &self,
        body: &Arc<String>,
        expected: usize,
        patience: &mut Patience,
    ) -> std::result::Result<Vec<Option<f32>>, Trouble> {
        let (tell, told) = channel();
        let (endpoint, body) = (self.clone(), body.clone());
        thread::spawn(move || {
            // Nobody listens any more where the wait was given up.
            let _ = tell.send(endpoint.ask(body.as_bytes(), expected));
        });
        loop {
            match told.recv_timeout(POLL) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if patience.is_over() => {
                    return Err(Trouble::Abandoned);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::Lasting("the request failed".into()));
                }
            }
        }
    }

    fn insist(
        &self,
        body: &Arc<String>,
        expected: usize,
        patience: &mut Patience,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let mut wait = self.wait;
        let mut retries = 0;
        loop {
            let message = match self.ask_with(body, expected, patience) {
                Ok(scores) => return Ok(scores),
                Err(Trouble::Passing(_)) if retries < RETRIES => {
                    let until = Instant::now() + wait;
                    while let left = until.saturating_duration_since(Instant::now())
                        && !left.is_zero()
                    {
                        if patience.is_over() {
                            return Err(abandoned());
                        }
                        thread::sleep(left.min(POLL));
                    }
                    wait *= 2;
                    retries += 1;
                    continue;
                }
                Err(Trouble::Passing(message)) => format!("{message}, {} times", retries + 1),
                Err(Trouble::Lasting(message)) => message,
                Err(Trouble::Abandoned) => return Err(abandoned()),
            };
            return Err(Failure::Unsupported(format!(
                "reward {}: {message}",
                self.url
            )));
        }
    }
}

impl Reward for Endpoint {
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
            let body = json!({"responses": questions(sequences, start..end)}).to_string();
            all.extend(self.insist(&Arc::new(body), end - start, &mut patience)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external_protocol::tests::five;
    use rlhf_loopback::{Answer, Scores};
    use std::net::TcpListener;

    fn numbers(body: &Value) -> Option<(u16, String)> {
        let responses = body["responses"].as_array().unwrap().iter();
        let each: Vec<f64> = responses
            .map(|r| r["completion"].as_str().unwrap().parse().unwrap())
            .collect();
        Some((200, json!({"scores": each}).to_string()))
    }

    fn endpoint(url: &str, batch: usize, seconds: f64) -> Endpoint {
        Endpoint {
            wait: Duration::from_millis(1),
            ..Endpoint::new(url, batch, seconds).unwrap()
        }
    }

    fn scores_of(url: &str, batch: usize) -> rlhf_objective::Result<Vec<f32>> {
        endpoint(url, batch, 10.0).score(&five())?.to_vec()
    }

    #[test]
    fn batches_are_posted_and_passing_troubles_retried() {
        let answers: [Answer; 5] = [
            numbers,
            |_| Some((503, "later".into())),
            |_| None,
            |_| Some((429, "slower".into())),
            numbers,
        ];
        let server = Scores::start(answers);
        assert_eq!(
            scores_of(&server.url(), 3).unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(server.requests(), 5);
    }

    #[test]
    fn null_is_no_opinion_or_an_error() {
        let some: Answer = |_| Some((200, "[1, null, 3, 4, {\"score\": null}]".into()));
        let server = Scores::start([some, some]);
        let said = endpoint(&server.url(), 64, 10.0)
            .optional_scores(&five())
            .unwrap();
        assert_eq!(said, [Some(1.0), None, Some(3.0), Some(4.0), None]);
        let mut strict = endpoint(&server.url(), 64, 10.0).on_null(OnNull::Error);
        let error = strict.optional_scores(&five()).unwrap_err().to_string();
        assert!(error.contains("score 1 is null, and on_null"), "{error}");
        assert_eq!(server.requests(), 2);
    }

    #[test]
    fn lasting_troubles_are_told_at_once() {
        let cases: [(Answer, &str); 4] = [
            (
                |_| Some((404, "no such\npage".into())),
                "answered 404 Not Found: no such page",
            ),
            (|_| Some((200, "soon".into())), "`soon` is not JSON"),
            (
                |_| Some((200, "[1, 2]".into())),
                "it has 2 scores for 5 responses",
            ),
            (
                |_| Some((200, r#"[1, 2, "x", 4, 5]"#.into())),
                "score 2 is \"x\"",
            ),
        ];
        for (answer, expected) in cases {
            let server = Scores::start([answer]);
            let error = scores_of(&server.url(), 64).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(
                error.starts_with(&format!("reward {}: ", server.url())),
                "{error}"
            );
            assert_eq!(server.requests(), 1);
        }
    }

    #[test]
    fn one_that_never_answers_is_given_up() {
        let server = Scores::start([(|_| Some((500, "broken".into()))) as Answer; 5]);
        let error = scores_of(&server.url(), 64).unwrap_err().to_string();
        assert!(
            error.contains("500 Internal Server Error: broken, 5 times"),
            "{error}"
        );
        assert_eq!(server.requests(), 5);
        // Nobody listens.
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = scores_of(&format!("http://{closed}/"), 64)
            .unwrap_err()
            .to_string();
        assert!(error.contains("5 times"), "{error}");
        // It listens and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let error = endpoint(&url, 64, 0.1)
            .score(&five())
            .unwrap_err()
            .to_string();
        assert!(error.contains("timeout"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let error =
            |url, batch, seconds| Endpoint::new(url, batch, seconds).unwrap_err().to_string();
        assert!(error("localhost:80", 1, 1.0).contains("does not start with"));
        assert!(error("http://x", 0, 1.0).contains("batch = 0"));
        assert!(error("http://x", 1, f64::NAN).contains("seconds = NaN"));
    }
}
