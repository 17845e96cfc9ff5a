//! An ensemble of reward models.

use crate::{Combine, Error, Result, RewardModel};
use rlhf_lm::{LoadOptions, Tokenizer};
use rlhf_objective::{PerSeq, Reward, Sequences};
use std::path::PathBuf;

/// Reward models whose scores are combined, such as seeds of one run. Disagreement shows where the training
/// data is insufficient.
#[derive(Debug)]
pub(crate) struct Ensemble {
    members: Vec<RewardModel>,
    combine: Combine,
}

impl Ensemble {
    /// Checks that there are at least two folders.
    ///
    /// # Errors
    /// If there are fewer.
    pub(crate) fn check(folders: &[PathBuf]) -> Result<()> {
        if folders.len() < 2 {
            let message = "reward ensemble: give 2 folders at least";
            return Err(Error::Rule(message.into()));
        }
        Ok(())
    }

    /// The reward models in these folders, for a policy with the tokenizer `policy`.
    ///
    /// # Errors
    /// If there are fewer than two, or one cannot be loaded.
    pub(crate) fn load(
        folders: &[PathBuf],
        combine: Combine,
        policy: &Tokenizer,
        networks: &LoadOptions,
    ) -> Result<Self> {
        Self::check(folders)?;
        let members = folders
            .iter()
            .map(|folder| RewardModel::load_for_policy(folder, policy, networks));
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
            let scores: Vec<f64> = scores.iter().map(|of| f64::from(of[response])).collect();
            combined(self.combine, &scores) as f32
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
    fn each_combination_matches_its_formula() {
        let scores = [1.0, 2.0, 6.0];
        assert_eq!(combined(Combine::Mean, &scores), 3.0);
        assert_eq!(combined(Combine::Min, &scores), 1.0);
        let deviation = (14.0f64 / 3.0).sqrt();
        assert_eq!(combined(Combine::MeanStd, &scores), 3.0 - deviation);
        assert_eq!(combined(Combine::MeanStd, &[2.0, 2.0]), 2.0);
    }
}
