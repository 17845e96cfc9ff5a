//! Several reward models as one.

use crate::{Combine, Error, Learned, Result};
use rlhf_lm::{LoadOptions, Tokenizer};
use rlhf_objective::{PerSeq, Reward, Sequences};
use std::path::PathBuf;

/// Reward models whose scores are combined, such as seeds of one run: where they disagree, none of
/// them has seen enough.
#[derive(Debug)]
pub(crate) struct Ensemble {
    members: Vec<Learned>,
    combine: Combine,
}

impl Ensemble {
    /// Whether there are several.
    ///
    /// # Errors
    /// If there are not.
    pub(crate) fn check(folders: &[PathBuf]) -> Result<()> {
        if folders.len() < 2 {
            let message = "reward ensemble: give 2 folders at least";
            return Err(Error::Rule(message.into()));
        }
        Ok(())
    }

    /// The reward models in these folders, for a policy of this tokenizer.
    ///
    /// # Errors
    /// If there are fewer than two, or one cannot be loaded.
    pub(crate) fn load(
        folders: &[PathBuf],
        combine: Combine,
        reader: &Tokenizer,
        networks: &LoadOptions,
    ) -> Result<Self> {
        Self::check(folders)?;
        let members = folders
            .iter()
            .map(|folder| Learned::read_by(folder, reader, networks));
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            combine,
        })
    }
}

impl Reward for Ensemble {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let scores = self
            .members
            .iter_mut()
            .map(|member| member.score(sequences)?.to_vec());
        let scores: Vec<Vec<f32>> = scores.collect::<rlhf_objective::Result<_>>()?;
        let combined = (0..sequences.len()).map(|response| {
            let said: Vec<f64> = scores.iter().map(|by| f64::from(by[response])).collect();
            combined(self.combine, &said) as f32
        });
        PerSeq::from_vec(combined.collect())
    }
}

fn combined(combine: Combine, scores: &[f64]) -> f64 {
    let k = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / k;
    match combine {
        Combine::Mean => mean,
        Combine::Min => scores.iter().copied().fold(f64::INFINITY, f64::min),
        Combine::MeanStd => {
            let squares = scores.iter().map(|score| (score - mean).powi(2));
            mean - (squares.sum::<f64>() / k).sqrt()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_combined() {
        let scores = [1.0, 2.0, 6.0];
        assert_eq!(combined(Combine::Mean, &scores), 3.0);
        assert_eq!(combined(Combine::Min, &scores), 1.0);
        let deviation = (14.0f64 / 3.0).sqrt();
        assert_eq!(combined(Combine::MeanStd, &scores), 3.0 - deviation);
        assert_eq!(combined(Combine::MeanStd, &[2.0, 2.0]), 2.0);
    }
}
