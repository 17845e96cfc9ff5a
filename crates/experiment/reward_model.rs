//! What is done with a reward model once it is fitted: its scores are scaled, and where it tells nothing
//! apart, that is said.

use crate::config::Config;
use crate::dataset::Taught;
use crate::notes::note;
use crate::prior::{load, prior};
use crate::progress::busy;
use crate::sampling::sampling;
use crate::vocabulary::Vocabulary;
use anyhow::{Result, anyhow};
use rlhf_journal::{Estimate, Interval, write_atomic};
use rlhf_lm::{Backend, inspect};
use rlhf_objective::Prompt;
use rlhf_policy::{Sampling, sample};
use rlhf_reward::{Normalization, RewardModel};
use std::path::Path;
use std::sync::Arc;

/// The greatest gain of a model that tells responses apart. A score is a log-odds: at a gain of 20 two
/// responses of the prior differ by 0.07 on the whole (√2 times the deviation of 1/20), so that by the
/// model's own word the better one is preferred in 52 of 100 cases.
const GREATEST_GAIN: f64 = 20.0;

/// That there was nothing to learn.
const LEVEL: &str = "every label is one half, so they say of no pair which answer is better, and the reward \
                     model learned nothing from them: give it pairs whose labels do";

/// What should keep somebody from training against a model: the share of held-out pairs that it gets
/// right, with its interval, and the gain by which its scores are scaled, each where it is known. Where
/// the labels say nothing, neither would be better after more steps.
pub(crate) fn doubts(
    accuracy: Option<&Estimate>,
    gain: Option<f64>,
    labels: Taught,
) -> Vec<String> {
    if labels == Taught::Nothing {
        return vec![LEVEL.into()];
    }
    let mut doubts = Vec::new();
    if let Some(Estimate { value, interval }) = accuracy {
        let known = match interval {
            Some(Interval { low, .. }) if *low > 0.5 => None,
            Some(Interval { low, high }) if *high < 0.5 => Some(format!(
                "its interval [{low:.3}, {high:.3}] is below one half, so it prefers what was rejected: \
                 look at which answer is called chosen"
            )),
            Some(Interval { low, high }) => Some(format!(
                "its interval [{low:.3}, {high:.3}] holds one half, so it may be guessing: train it \
                 longer, with a greater optim.learning_rate or on more pairs, before a policy is trained \
                 against it"
            )),
            None => Some(
                "on too few distinct prompts to say that it is not guessing: hold out more pairs"
                    .into(),
            ),
        };
        doubts.extend(known.map(|why| {
            format!("the reward model gets {value:.3} of the held-out pairs right; {why}")
        }));
    }
    if let Some(gain) = gain.filter(|gain| *gain > GREATEST_GAIN) {
        doubts.push(format!(
            "the reward model's scores differ by {:.5} (their deviation over samples of the prior) and \
             are scaled {gain:.0} times, where {GREATEST_GAIN:.0} is the most for a model that tells \
             responses apart: what is scaled is mostly noise; train it longer, or with a greater \
             optim.learning_rate",
            1.0 / gain
        ));
    }
    doubts
}

/// Scales the model's scores to mean 0 and deviation 1 over responses of the prior to `prompts`, in
/// `reward.json` beside it, and answers the gain; `None` where there is no language model to sample
/// from.
pub(crate) fn normalize(
    config: &Config,
    vocabulary: &Vocabulary,
    prompts: &[Arc<Prompt>],
    (folder, labels): (&Path, Taught),
) -> Result<Option<f64>> {
    let plan = prior(config)?;
    let mut language = !plan.folders.is_empty();
    for folder in &plan.folders {
        language &= !inspect(folder)?.reward_model;
    }
    if !language {
        note("the scores are not scaled: no language model to sample from; give --prior");
        return Ok(None);
    }
    let (mut prior, _) = load(plan, config)?;
    let _busy = busy("drawing from the prior to scale the scores");
    let sampling = sampling(config, vocabulary)?;
    let sampling = Sampling {
        samples: config.eval.samples_per_prompt,
        seed: config.eval.seed,
        ..sampling
    };
    let prompts = &prompts[..prompts.len().min(config.eval.prompts)];
    let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
    let mut decoder = prior.decoder()?;
    let samples = sample(&mut *decoder, prompts, &sampling, &decode)?.sequences;
    let mut learned = RewardModel::load(folder, Backend::F32)?;
    let scale = Normalization::of(&learned.raw_scores(&samples)?);
    let scale = scale.map_err(|error| match labels {
        Taught::Nothing => anyhow!(LEVEL),
        Taught::Something => error.into(),
    })?;
    note(format_args!(
        "scores are scaled by {:.4}·score {:+.4}: mean 0 and deviation 1 over {} samples of the prior",
        scale.gain,
        scale.bias,
        samples.len()
    ));
    write_atomic(&Normalization::path(folder), scale.to_json().as_bytes())?;
    Ok(Some(scale.gain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_tells_pairs_apart_raises_no_doubt() {
        let good = rlhf_eval::wilson(0.75, 200);
        assert_eq!(doubts(Some(&good), Some(1.7), Taught::Something), [""; 0]);
        assert_eq!(doubts(None, None, Taught::Something), [""; 0]);
        assert_eq!(
            doubts(None, Some(GREATEST_GAIN), Taught::Something),
            [""; 0]
        );
    }

    #[test]
    fn labels_that_say_nothing_are_the_doubt() {
        let said = doubts(
            Some(&rlhf_eval::wilson(0.5, 60)),
            Some(348.0),
            Taught::Nothing,
        );
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("every label is one half"), "{said:?}");
    }

    #[test]
    fn a_guess_and_a_great_gain_are_said() {
        for (share, pairs, words) in [
            (
                0.55,
                60,
                "[0.425, 0.669] holds one half, so it may be guessing",
            ),
            (
                0.3,
                100,
                "is below one half, so it prefers what was rejected",
            ),
        ] {
            let said = doubts(
                Some(&rlhf_eval::wilson(share, pairs)),
                Some(2.0),
                Taught::Something,
            );
            assert_eq!(said.len(), 1);
            assert!(said[0].contains(words), "{said:?}");
        }
        let few = Estimate {
            value: 1.0,
            interval: None,
        };
        assert!(
            doubts(Some(&few), None, Taught::Something)[0].contains("too few distinct prompts")
        );
        let said = doubts(None, Some(348.0), Taught::Something);
        assert!(said[0].contains("differ by 0.00287"), "{said:?}");
        assert!(
            said[0].contains("scaled 348 times, where 20 is the most"),
            "{said:?}"
        );
    }
}
