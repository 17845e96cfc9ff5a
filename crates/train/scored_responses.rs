//! Selects the responses that an iteration learns from: those with a score.

use crate::Result;
use rlhf_objective::{PerSeq, Rollouts, Sequences};

/// The responses with a score, and their scores. If some responses have no score, they are removed, and so
/// are all responses to a prompt with fewer than `least` scored ones. `None` if no response is left.
///
/// Baselines, whitening and the weights of a loss are computed over the remaining responses, as if the
/// others had not been sampled.
pub(crate) fn scored_responses(
    rollouts: Rollouts,
    scores: &[Option<f32>],
    least: usize,
) -> Result<Option<(Rollouts, PerSeq)>> {
    if scores.iter().all(Option::is_some) && !scores.is_empty() {
        let scores = scores.iter().flatten().copied().collect();
        return Ok(Some((rollouts, PerSeq::from_vec(scores)?)));
    }
    let kept = kept(&rollouts.sequences, scores, least);
    if kept.is_empty() {
        return Ok(None);
    }
    let kept_scores = kept.iter().filter_map(|index| scores[*index]);
    let kept_scores = PerSeq::from_vec(kept_scores.collect())?;
    Ok(Some((rollouts.select(&kept)?, kept_scores)))
}

/// How many scored responses are removed because their prompt has too few others with a score: the metric
/// `objective/uncompared`, if it is not 0.
pub(crate) fn uncompared(
    scores: &[Option<f32>],
    remaining: Option<&(Rollouts, PerSeq)>,
) -> Option<(&'static str, f64)> {
    let remaining = remaining.map_or(0, |(rollouts, _)| rollouts.sequences.len());
    let left_out = scores.iter().flatten().count() - remaining;
    (left_out > 0).then_some(("objective/uncompared", left_out as f64))
}

/// The indices of scored responses whose prompt has at least `least` of them.
fn kept(sequences: &Sequences, scores: &[Option<f32>], least: usize) -> Vec<usize> {
    let mut of_prompt = vec![0; sequences.prompts().len()];
    let has_score = |index: &usize| scores[*index].is_some();
    let prompt = |index: usize| sequences.responses()[index].prompt;
    for index in (0..sequences.len()).filter(has_score) {
        of_prompt[prompt(index)] += 1;
    }
    let enough = |index: &usize| has_score(index) && of_prompt[prompt(*index)] >= least;
    (0..sequences.len()).filter(enough).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    #[test]
    fn prompts_with_too_few_scored_responses_are_removed() {
        let prompts = (0..3).map(|id| Prompt::from_ids(vec![id])).collect();
        let answer = |index: usize| Response::new(index / 3, vec![1], Finish::Eos);
        let sequences = Sequences::new(prompts, (0..9).map(answer).collect()).unwrap();
        let none = [1, 3, 4, 6, 7, 8];
        let score = |index| (!none.contains(&index)).then_some(1.0);
        let scores: Vec<Option<f32>> = (0..9).map(score).collect();
        assert_eq!(kept(&sequences, &scores, 1), [0, 2, 5]);
        assert_eq!(kept(&sequences, &scores, 2), [0, 2]);
        assert_eq!(kept(&sequences, &scores, 3), [0; 0]);
    }
}
