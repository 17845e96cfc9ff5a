//! A reward given by a table.

use rlhf_objective::{Error, PerSeq, Result, Reward, Sequences};
use std::collections::HashMap;

/// A table of the reward of every possible response, by its tokens. The prompt is ignored. It is the reward
/// of problems small enough to enumerate.
#[derive(Debug, Clone, PartialEq)]
pub struct RewardTable(HashMap<Vec<u32>, f32>);

impl RewardTable {
    /// From every response and its reward.
    #[must_use]
    pub fn new(rewards: impl IntoIterator<Item = (Vec<u32>, f32)>) -> Self {
        Self(rewards.into_iter().collect())
    }
}

impl Reward for RewardTable {
    fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
        let score = |ids: &Vec<u32>| {
            self.0.get(ids).copied().ok_or_else(|| {
                Error::Unsupported(format!("the table has no reward for the response {ids:?}"))
            })
        };
        let responses = sequences.responses().iter();
        let scores: Result<Vec<f32>> = responses.map(|y| score(&y.ids)).collect();
        PerSeq::from_vec(scores?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    #[test]
    fn a_response_that_is_not_in_the_table_is_an_error() {
        let mut reward = RewardTable::new([(vec![1, 2], 0.5), (vec![2], -1.0)]);
        let mut score = |ids: &[u32]| {
            let answer = Response::new(0, ids.to_vec(), Finish::Eos);
            let s = Sequences::new(vec![Prompt::from_ids(vec![0])], vec![answer]).unwrap();
            reward.score(&s).map(|scores| scores.to_vec().unwrap())
        };
        assert_eq!(score(&[1, 2]).unwrap(), [0.5]);
        assert_eq!(score(&[2]).unwrap(), [-1.0]);
        assert!(score(&[1]).unwrap_err().to_string().contains("[1]"));
    }
}
