//! The responses that are learned from: those of which the reward has an opinion.

use crate::Result;
use rlhf_objective::{PerSeq, Rollouts, Sequences};

/// The responses with a score, and their scores: all as they were read, or, where the reward has no opinion
/// of some, without these and without what they leave of their prompts where that is fewer than `least`
/// responses. Nothing where none is left.
///
/// What is left is a rollout of its own: baselines, whitening and the weights of a loss are over its
/// responses, as though the others had not been drawn.
pub(crate) fn judged(
    rollouts: Rollouts,
    opinions: &[Option<f32>],
    least: usize,
) -> Result<Option<(Rollouts, PerSeq)>> {
    if opinions.iter().all(Option::is_some) && !opinions.is_empty() {
        let scores = opinions.iter().flatten().copied().collect();
        return Ok(Some((rollouts, PerSeq::from_vec(scores)?)));
    }
    let kept = kept(&rollouts.sequences, opinions, least);
    if kept.is_empty() {
        return Ok(None);
    }
    let scores = kept.iter().filter_map(|index| opinions[*index]);
    let scores = PerSeq::from_vec(scores.collect())?;
    Ok(Some((rollouts.select(&kept)?, scores)))
}

/// How many responses with an opinion are not learned from, because their prompt has too few others with
/// one: the metric `objective/uncompared`, where there are some.
pub(crate) fn uncompared(
    opinions: &[Option<f32>],
    judged: Option<&(Rollouts, PerSeq)>,
) -> Option<(&'static str, f64)> {
    let learned = judged.map_or(0, |(rollouts, _)| rollouts.sequences.len());
    let left_out = opinions.iter().flatten().count() - learned;
    (left_out > 0).then_some(("objective/uncompared", left_out as f64))
}

/// Those with an opinion whose prompt has `least` of them.
fn kept(sequences: &Sequences, opinions: &[Option<f32>], least: usize) -> Vec<usize> {
    let mut of_prompt = vec![0; sequences.prompts().len()];
    let said = |index: &usize| opinions[*index].is_some();
    let prompt = |index: usize| sequences.responses()[index].prompt;
    for index in (0..sequences.len()).filter(said) {
        of_prompt[prompt(index)] += 1;
    }
    let enough = |index: &usize| said(index) && of_prompt[prompt(*index)] >= least;
    (0..sequences.len()).filter(enough).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    #[test]
    fn prompts_that_are_left_with_too_few_are_left_out() {
        let prompts = (0..3).map(|id| Prompt::from_ids(vec![id])).collect();
        let answer = |index: usize| Response::new(index / 3, vec![1], Finish::Eos);
        let sequences = Sequences::new(prompts, (0..9).map(answer).collect()).unwrap();
        let none = [1, 3, 4, 6, 7, 8];
        let opinion = |index| (!none.contains(&index)).then_some(1.0);
        let opinions: Vec<Option<f32>> = (0..9).map(opinion).collect();
        assert_eq!(kept(&sequences, &opinions, 1), [0, 2, 5]);
        assert_eq!(kept(&sequences, &opinions, 2), [0, 2]);
        assert_eq!(kept(&sequences, &opinions, 3), [0; 0]);
    }
}
