//! An HTTP endpoint as a reward.

use crate::command::time_limit;
use crate::external_protocol::{excerpt, parse_scores, requests};
use crate::interrupt_timer::{InterruptTimer, POLL, wait_interrupted};
use crate::{Error, OnNull, Result};
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences, finite_scores};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a request that failed temporarily is sent again.
const RETRIES: u32 = 4;
/// The wait before the first retry; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The maximum length of a response body, bytes.
const MAX_BODY: u64 = 64 << 20;

/// An endpoint that gets a POST of `{"responses": […]}` and returns `{"scores": […]}`, or the array alone:
/// for each response a number, `null` for no score, or an object with one of them as `score`. Each response
/// has the fields that a [`Command`](crate::Command) gets in a line. Lost connections and the status codes
/// 429 and 5xx are retried with increasing waits.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: String,
    batch: usize,
    agent: ureq::Agent,
    wait: Duration,
    on_null: OnNull,
}

/// Why a request returned no scores.
enum Problem {
    /// The request may succeed later.
    Temporary(String),
    /// It will not.
    Permanent(String),
    /// The run was interrupted.
    WaitInterrupted,
}

impl Endpoint {
    /// The endpoint at `url`, which scores `batch` responses at once within `seconds`.
    ///
    /// # Errors
    /// If the address is not http or https, or a number is out of range.
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

    /// How `null` is treated; by default the response has no score.
    #[must_use]
    pub fn on_null(self, on_null: OnNull) -> Self {
        Self { on_null, ..self }
    }

    fn post(&self, body: &[u8], expected: usize) -> std::result::Result<Vec<Option<f32>>, Problem> {
        let request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        let mut response = request
            .send(body)
            .map_err(|error| Problem::Temporary(error.to_string()))?;
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_BODY)
            .read_to_vec();
        let body = body.map_err(|error| Problem::Temporary(error.to_string()))?;
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            let message = format!("answered {status}: {}", excerpt(&text));
            let temporary = status.is_server_error() || status.as_u16() == 429;
            return Err(if temporary {
                Problem::Temporary(message)
            } else {
                Problem::Permanent(message)
            });
        }
        let bad = |what: String| Problem::Permanent(format!("its answer is not valid: {what}"));
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| bad(format!("`{}` is not JSON: {error}", excerpt(&text))))?;
        let scores = parse_scores(&value, expected).map_err(bad)?;
        match scores.iter().position(Option::is_none) {
            Some(index) if self.on_null == OnNull::Error => Err(bad(format!(
                "score {index} is null, and on_null = \"error\""
            ))),
            _ => Ok(scores),
        }
    }

    /// Posts from another thread, so that an interrupt can stop the wait.
    fn post_interruptibly(
        &self,
        body: &Arc<String>,
        expected: usize,
        timer: &mut InterruptTimer,
    ) -> std::result::Result<Vec<Option<f32>>, Problem> {
        let (sender, receiver) = channel();
        let (endpoint, body) = (self.clone(), body.clone());
        thread::spawn(move || {
            // The receiver is gone if the wait was interrupted.
            let _ = sender.send(endpoint.post(body.as_bytes(), expected));
        });
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if timer.should_stop() => {
                    return Err(Problem::WaitInterrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Problem::Permanent("the request failed".into()));
                }
            }
        }
    }

    fn post_with_retries(
        &self,
        body: &Arc<String>,
        expected: usize,
        timer: &mut InterruptTimer,
    ) -> rlhf_objective::Result<Vec<Option<f32>>> {
        let mut wait = self.wait;
        let mut retries = 0;
        loop {
            let message = match self.post_interruptibly(body, expected, timer) {
                Ok(scores) => return Ok(scores),
                Err(Problem::Temporary(_)) if retries < RETRIES => {
                    let until = Instant::now() + wait;
                    while let left = until.saturating_duration_since(Instant::now())
                        && !left.is_zero()
                    {
                        if timer.should_stop() {
                            return Err(wait_interrupted());
                        }
                        thread::sleep(left.min(POLL));
                    }
                    wait *= 2;
                    retries += 1;
                    continue;
                }
                Err(Problem::Temporary(message)) => format!("{message}, {} times", retries + 1),
                Err(Problem::Permanent(message)) => message,
                Err(Problem::WaitInterrupted) => return Err(wait_interrupted()),
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
        let mut timer = InterruptTimer::default();
        for start in (0..sequences.len()).step_by(self.batch) {
            let end = (start + self.batch).min(sequences.len());
            let body = json!({"responses": requests(sequences, start..end)}).to_string();
            all.extend(self.post_with_retries(&Arc::new(body), end - start, &mut timer)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external_protocol::tests::five_responses;
    use rlhf_loopback::{Responder, RewardEndpoint};
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
        endpoint(url, batch, 10.0)
            .score(&five_responses())?
            .to_vec()
    }

    #[test]
    fn batches_are_posted_and_temporary_problems_retried() {
        let answers: [Responder; 5] = [
            numbers,
            |_| Some((503, "later".into())),
            |_| None,
            |_| Some((429, "slower".into())),
            numbers,
        ];
        let server = RewardEndpoint::start(answers);
        assert_eq!(
            scores_of(&server.url(), 3).unwrap(),
            [0.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(server.requests(), 5);
    }

    #[test]
    fn null_is_no_score_or_an_error() {
        let some: Responder = |_| Some((200, "[1, null, 3, 4, {\"score\": null}]".into()));
        let server = RewardEndpoint::start([some, some]);
        let scored = endpoint(&server.url(), 64, 10.0)
            .optional_scores(&five_responses())
            .unwrap();
        assert_eq!(scored, [Some(1.0), None, Some(3.0), Some(4.0), None]);
        let mut strict = endpoint(&server.url(), 64, 10.0).on_null(OnNull::Error);
        let error = strict
            .optional_scores(&five_responses())
            .unwrap_err()
            .to_string();
        assert!(error.contains("score 1 is null, and on_null"), "{error}");
        assert_eq!(server.requests(), 2);
    }

    #[test]
    fn permanent_problems_are_not_retried() {
        let cases: [(Responder, &str); 4] = [
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
            let server = RewardEndpoint::start([answer]);
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
    fn retries_are_limited() {
        let server = RewardEndpoint::start([(|_| Some((500, "broken".into()))) as Responder; 5]);
        let error = scores_of(&server.url(), 64).unwrap_err().to_string();
        assert!(
            error.contains("500 Internal Server Error: broken, 5 times"),
            "{error}"
        );
        assert_eq!(server.requests(), 5);
        // No server listens on this port.
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = scores_of(&format!("http://{closed}/"), 64)
            .unwrap_err()
            .to_string();
        assert!(error.contains("5 times"), "{error}");
        // The server accepts connections and does not answer.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let error = endpoint(&url, 64, 0.1)
            .score(&five_responses())
            .unwrap_err()
            .to_string();
        assert!(error.contains("timeout"), "{error}");
    }

    #[test]
    fn invalid_settings_are_errors() {
        let error =
            |url, batch, seconds| Endpoint::new(url, batch, seconds).unwrap_err().to_string();
        assert!(error("localhost:80", 1, 1.0).contains("does not start with"));
        assert!(error("http://x", 0, 1.0).contains("batch = 0"));
        assert!(error("http://x", 1, f64::NAN).contains("seconds = NaN"));
    }
}
