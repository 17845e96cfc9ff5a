//! The sampler: draws responses from any decoder, of the policy or of a prior.

use crate::batch_scheduler::{BatchScheduler, Unit};
use rlhf_objective::{
    Decoder, Draw, Error, Finish, PerToken, Prompt, Response, Result, Sequences, Start,
};
use rlhf_tensor::{Rng, Stream};
use serde::Serialize;
use std::sync::Arc;

/// The settings of sampling. The temperature is not among them: the network has one temperature for
/// sampling and scoring.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampling {
    /// How many responses per prompt.
    pub samples: usize,
    /// The maximum number of tokens of a response, including an end-of-sequence token.
    pub max_new_tokens: usize,
    /// The maximum number of live rows of the decoder. It changes speed and memory, not the samples.
    pub rows: usize,
    /// The tokens that end a response.
    pub stop: Vec<u32>,
    /// The context length of the networks, in tokens, for prompt and response together. The last token of
    /// a response does not count: it is no input.
    pub context: usize,
    /// How a token is chosen.
    pub draw: Draw,
    /// The seed.
    pub seed: u64,
    /// The step of the run, which has its own random numbers.
    pub step: u64,
}

/// Sampled responses, in the order of the prompts; those of a prompt are adjacent.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The prompts and their responses.
    pub sequences: Sequences,
    /// The log-prob of each token, recorded during sampling, nats.
    pub log_probs: PerToken,
}

/// A live row: a response that is not finished.
struct Row {
    /// Its index among the responses.
    index: usize,
    prompt: usize,
    rng: Rng,
    limit: usize,
    ids: Vec<u32>,
    log_probs: Vec<f32>,
}

/// Samples `sampling.samples` responses to each prompt, with continuous batching: a finished response
/// leaves the batch at once and waiting prompts start. The random numbers of a response depend only on the
/// seed, the step, the prompt's index and the sample's index.
///
/// `decode` turns the tokens of a response, without the end-of-sequence token, into its text.
///
/// # Errors
/// If a prompt leaves no room for a token, `samples`, `rows` or `max_new_tokens` is zero, or the
/// decoder fails.
pub fn sample(
    decoder: &mut dyn Decoder,
    prompts: &[Arc<Prompt>],
    sampling: &Sampling,
    decode: &dyn Fn(&[u32]) -> String,
) -> Result<Sampled> {
    check(prompts, sampling)?;
    let mut scheduler = BatchScheduler::new(prompts.len(), sampling.samples, sampling.rows);
    let mut live: Vec<Row> = Vec::new();
    let mut done: Vec<Option<Row>> = Vec::new();
    done.resize_with(prompts.len() * sampling.samples, || None);
    loop {
        start(decoder, prompts, sampling, &mut scheduler, &mut live)?;
        if live.is_empty() {
            break;
        }
        let tokens = choose(decoder, sampling.draw, &mut live)?;
        let unfinished = |row: &usize| !live[*row].finished(&sampling.stop);
        let kept: Vec<usize> = (0..live.len()).filter(unfinished).collect();
        if kept.len() < live.len() {
            decoder.gather(&kept)?;
            for row in live.extract_if(.., |row| row.finished(&sampling.stop)) {
                let index = row.index;
                done[index] = Some(row);
            }
        }
        if !live.is_empty() {
            let next: Vec<u32> = kept.into_iter().map(|row| tokens[row]).collect();
            decoder.step(&next)?;
        }
    }
    collect(prompts, done.into_iter().flatten(), sampling, decode)
}

fn check(prompts: &[Arc<Prompt>], sampling: &Sampling) -> Result<()> {
    for (name, value) in [
        ("samples", sampling.samples),
        ("max_new_tokens", sampling.max_new_tokens),
        ("rows", sampling.rows),
    ] {
        if value == 0 {
            return Err(Error::Unsupported(format!("{name} must be at least 1")));
        }
    }
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.ids.is_empty() || prompt.ids.len() > sampling.context {
            let message = format!(
                "prompt {index} has {} tokens: it must have 1 to {} to leave room for a response",
                prompt.ids.len(),
                sampling.context
            );
            return Err(Error::Unsupported(message));
        }
    }
    Ok(())
}

/// Starts the prompts that the scheduler selects.
fn start(
    decoder: &mut dyn Decoder,
    prompts: &[Arc<Prompt>],
    sampling: &Sampling,
    scheduler: &mut BatchScheduler,
    live: &mut Vec<Row>,
) -> Result<()> {
    let mut starts = Vec::new();
    for Unit {
        prompt,
        first,
        samples,
    } in scheduler.start(live.len())
    {
        let ids = &prompts[prompt].ids;
        let limit = sampling
            .max_new_tokens
            .min(sampling.context - ids.len() + 1);
        starts.push(Start {
            prompt: ids,
            samples,
            max_new_tokens: limit,
        });
        live.extend((first..first + samples).map(|sample| {
            let index = prompt * sampling.samples + sample;
            Row {
                index,
                prompt,
                rng: Rng::new(sampling.seed, Stream::Sample, sampling.step, index as u64),
                limit,
                ids: Vec::new(),
                log_probs: Vec::new(),
            }
        }));
    }
    if starts.is_empty() {
        return Ok(());
    }
    decoder.start(&starts)
}

/// Chooses and records a token for each live row.
fn choose(decoder: &mut dyn Decoder, draw: Draw, live: &mut [Row]) -> Result<Vec<u32>> {
    let uniforms: Vec<f64> = match draw {
        Draw::Sample => live.iter_mut().map(|row| row.rng.uniform()).collect(),
        Draw::Greedy => vec![0.0; live.len()],
    };
    let chosen = decoder.draw(&uniforms, draw)?;
    for (row, (token, log_prob)) in live.iter_mut().zip(&chosen) {
        row.ids.push(*token);
        row.log_probs.push(*log_prob);
    }
    Ok(chosen.into_iter().map(|(token, _)| token).collect())
}

impl Row {
    fn stopped(&self, stop: &[u32]) -> bool {
        self.ids.last().is_some_and(|token| stop.contains(token))
    }

    fn finished(&self, stop: &[u32]) -> bool {
        self.stopped(stop) || self.ids.len() == self.limit
    }
}

fn collect(
    prompts: &[Arc<Prompt>],
    rows: impl Iterator<Item = Row>,
    sampling: &Sampling,
    decode: &dyn Fn(&[u32]) -> String,
) -> Result<Sampled> {
    let mut log_probs = Vec::new();
    let mut responses = Vec::new();
    for row in rows {
        log_probs.extend_from_slice(&row.log_probs);
        let (finish, content) = if row.stopped(&sampling.stop) {
            (Finish::Eos, &row.ids[..row.ids.len() - 1])
        } else {
            (Finish::Length, &row.ids[..])
        };
        responses.push(Arc::new(Response {
            prompt: row.prompt,
            text: decode(content),
            finish,
            ids: row.ids,
        }));
    }
    let sequences = Sequences::from_shared(prompts.to_vec(), responses)?;
    let log_probs = PerToken::from_vec(log_probs, sequences.offsets())?;
    Ok(Sampled {
        sequences,
        log_probs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bigram;
    use rlhf_objective::{LogDist, Network, OutputSpec};
    use rlhf_tensor::Storage;

    fn sampling() -> Sampling {
        Sampling {
            samples: 3,
            max_new_tokens: 6,
            rows: 4,
            stop: vec![0],
            context: 8,
            draw: Draw::Sample,
            seed: 11,
            step: 2,
        }
    }

    fn prompts(lengths: &[usize]) -> Vec<Arc<Prompt>> {
        let prompt = |&n| Arc::new(Prompt::from_ids((0..n).map(|i| i as u32 % 4 + 1).collect()));
        lengths.iter().map(prompt).collect()
    }

    fn draw(network: &mut Bigram, sampling: &Sampling) -> Sampled {
        let text = |ids: &[u32]| format!("{ids:?}");
        let mut decoder = network.decoder().unwrap();
        sample(&mut *decoder, &prompts(&[1, 5, 2, 8, 3]), sampling, &text).unwrap()
    }

    #[test]
    fn samples_do_not_depend_on_the_number_of_rows() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let first = draw(&mut network, &sampling());
        for rows in [1, 2, 3, 7, 100] {
            let other = draw(&mut network, &Sampling { rows, ..sampling() });
            assert_eq!(first.sequences.responses(), other.sequences.responses());
            let numbers = |s: &Sampled| s.log_probs.to_vec().unwrap();
            assert_eq!(numbers(&first), numbers(&other));
        }
        let step = draw(
            &mut network,
            &Sampling {
                step: 3,
                ..sampling()
            },
        );
        assert_ne!(first.sequences.responses(), step.sequences.responses());
    }

    /// A response does not depend on the other prompts of the batch, only on its own prompt, the prompt's
    /// index and the seed.
    #[test]
    fn samples_do_not_depend_on_the_other_prompts() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let mut ids_of = |lengths: &[usize], seed| {
            let text = |_: &[u32]| String::new();
            let sampling = Sampling { seed, ..sampling() };
            let mut decoder = network.decoder().unwrap();
            let sampled = sample(&mut *decoder, &prompts(lengths), &sampling, &text).unwrap();
            let ids = sampled.sequences.responses().iter().map(|y| y.ids.clone());
            ids.collect::<Vec<_>>()
        };
        let first = ids_of(&[1, 5, 2, 8, 3], 11);
        let second = ids_of(&[6, 5, 4, 1, 7], 11);
        assert_eq!(first[3..6], second[3..6]);
        assert_eq!(ids_of(&[6, 5], 11)[3..6], first[3..6]);
        assert_ne!(ids_of(&[5, 5], 11)[..3], first[3..6]);
        assert_ne!(ids_of(&[1, 5, 2, 8, 3], 12)[3..6], first[3..6]);
    }

    /// Records the number of rows of each step.
    struct CountingDecoder<'a>(Box<dyn Decoder + 'a>, Vec<usize>);

    impl Decoder for CountingDecoder<'_> {
        fn vocab(&self) -> usize {
            self.0.vocab()
        }
        fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
            self.0.start(prompts)
        }
        fn rows(&self) -> usize {
            self.0.rows()
        }
        fn log_dist(&self) -> Result<LogDist<'_>> {
            self.0.log_dist()
        }
        fn step(&mut self, tokens: &[u32]) -> Result<()> {
            self.1.push(tokens.len());
            self.0.step(tokens)
        }
        fn gather(&mut self, rows: &[usize]) -> Result<()> {
            self.0.gather(rows)
        }
    }

    #[test]
    fn finished_rows_leave_and_waiting_prompts_start() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let mut decoder = CountingDecoder(network.decoder().unwrap(), Vec::new());
        let many = Sampling {
            samples: 1,
            rows: 4,
            ..sampling()
        };
        let prompts = prompts(&[2; 40]);
        let drawn = sample(&mut decoder, &prompts, &many, &|_| String::new()).unwrap();
        // All tokens of a response but the last are inputs of a step, and nothing else is.
        let inputs: usize = decoder.1.iter().sum();
        assert_eq!(inputs, drawn.sequences.tokens() - 40);
        // Static batches of four, each as long as its longest response, would take more steps.
        let fours = drawn.sequences.responses().chunks(4);
        let longest = fours.map(|four| four.iter().map(|y| y.ids.len() - 1).max().unwrap_or(0));
        let static_steps: usize = longest.sum();
        assert!(
            decoder.1.len() < static_steps,
            "{} {static_steps}",
            decoder.1.len()
        );
    }

    #[test]
    fn responses_end_with_a_stop_token_or_at_a_limit() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let drawn = draw(&mut network, &sampling()).sequences;
        let prompts: Vec<usize> = drawn.responses().iter().map(|r| r.prompt).collect();
        assert_eq!(prompts, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        let mut finishes = [0, 0];
        for (index, response) in drawn.responses().iter().enumerate() {
            let room = 6.min(8 - drawn.prompt_of(index).ids.len() + 1);
            let (last, before) = response.ids.split_last().unwrap();
            assert!(!before.contains(&0));
            match response.finish {
                Finish::Eos => {
                    assert_eq!(*last, 0);
                    assert_eq!(response.text, format!("{before:?}"));
                }
                Finish::Length => {
                    assert_ne!(*last, 0);
                    assert_eq!(response.ids.len(), room);
                    assert_eq!(response.text, format!("{:?}", response.ids));
                }
            }
            finishes[response.finish as usize] += 1;
            assert!(response.ids.len() <= room);
        }
        assert!(finishes[0] > 0 && finishes[1] > 0);
        let long = prompts_too_long(&mut network).unwrap_err().to_string();
        assert!(long.contains("prompt 1 has 9 tokens"), "{long}");
    }

    fn prompts_too_long(network: &mut Bigram) -> Result<Sampled> {
        let mut decoder = network.decoder()?;
        sample(&mut *decoder, &prompts(&[1, 9]), &sampling(), &|_| {
            String::new()
        })
    }

    #[test]
    fn recorded_log_probs_equal_those_of_a_forward_pass() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        for mode in [Draw::Sample, Draw::Greedy] {
            let drawn = draw(
                &mut network,
                &Sampling {
                    draw: mode,
                    ..sampling()
                },
            );
            let scored = network
                .forward(&drawn.sequences, OutputSpec::SCORE)
                .unwrap()
                .log_probs;
            let pairs = drawn
                .log_probs
                .to_vec()
                .unwrap()
                .into_iter()
                .zip(scored.to_vec().unwrap());
            for (recorded, scored) in pairs {
                assert!((recorded - scored).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn frequencies_of_samples_match_the_probabilities() {
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let many = Sampling {
            samples: 20_000,
            max_new_tokens: 1,
            rows: 512,
            ..sampling()
        };
        let mut decoder = network.decoder().unwrap();
        let drawn = sample(&mut *decoder, &prompts(&[2]), &many, &|_| String::new()).unwrap();
        drop(decoder);
        let mut counts = [0.0; 5];
        for response in drawn.sequences.responses() {
            counts[response.ids[0] as usize] += 1.0;
        }
        network
            .forward(&drawn.sequences, OutputSpec::SCORE)
            .unwrap();
        let log_dist = network.log_dist(0..1).unwrap().to_rows();
        for (count, log_prob) in counts.iter().zip(&log_dist[0]) {
            let p = f64::from(*log_prob).exp();
            let error = (p * (1.0 - p) / 20_000.0).sqrt();
            assert!((count / 20_000.0 - p).abs() < 5.0 * error);
        }
    }
}
