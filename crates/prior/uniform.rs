//! The uniform distribution over tokens as the prior.

use crate::constant_weight::ConstantWeight;
use crate::kind::{PriorContext, PriorKind, PriorPlan};
use rlhf_objective::{
    Decoder, Error, LogDist, NoSettings, PerToken, Prior, Result, Sequences, Start, check_gather,
};
use std::ops::Range;

/// p₀(a | x, y₍<t₎) = 1/V: the objective is E\[r\] + β·(H(π) − E\[T\]·log V). For responses of a fixed
/// length that is maximum-entropy RL. For responses that end with an EOS, each token costs β·log V more
/// than under the [`Counting`](crate::Counting) prior, so responses are shorter.
#[derive(Debug, Clone, Copy)]
pub struct Uniform(ConstantWeight);

impl Uniform {
    /// Over V tokens.
    #[must_use]
    pub fn new(vocab: usize) -> Self {
        Self(ConstantWeight {
            vocab,
            log_weight: -(vocab as f64).ln() as f32,
        })
    }
}

impl Prior for Uniform {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        self.0.log_probs(sequences)
    }

    fn log_dist(&mut self, sequences: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.0.log_dist(sequences, rows)
    }

    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Ok(Box::new(UniformDecoder {
            vocab: self.0.vocab,
            scores: Vec::new(),
        }))
    }
}

/// A decoder whose rows are uniform.
struct UniformDecoder {
    vocab: usize,
    scores: Vec<f32>,
}

impl UniformDecoder {
    fn check_rows(&self, what: &'static str, got: usize) -> Result<()> {
        let expected = self.rows();
        if expected == got {
            return Ok(());
        }
        Err(Error::Size {
            what,
            expected,
            got,
        })
    }
}

impl Decoder for UniformDecoder {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        let rows: usize = prompts.iter().map(|start| start.samples).sum();
        self.scores
            .resize(self.scores.len() + rows * self.vocab, 0.0);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.scores.len() / self.vocab
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        self.check_rows("tokens of a step", tokens.len())?;
        match tokens.iter().find(|token| **token as usize >= self.vocab) {
            None => Ok(()),
            Some(token) => Err(Error::Unsupported(format!(
                "token {token} is not in the uniform prior's vocabulary of {}",
                self.vocab
            ))),
        }
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.rows())?;
        self.scores.resize(rows.len() * self.vocab, 0.0);
        Ok(())
    }
}

/// The kind `uniform`.
#[derive(Debug, Clone, Copy)]
pub struct UniformKind;

impl PriorKind for UniformKind {
    type Settings = NoSettings;

    const NAME: &'static str = "uniform";
    const ABOUT: &'static str = "every token is equally likely";

    fn plan(_: &NoSettings, context: &dyn PriorContext) -> Result<PriorPlan> {
        let plan = PriorPlan::over_vocabulary(Self::NAME, context.model()?, Uniform::new);
        Ok(PriorPlan {
            description: format!("{}: {}", Self::NAME, Self::ABOUT),
            ..plan
        })
    }
}
