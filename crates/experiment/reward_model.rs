//! Normalizes the scores of a trained reward model, and warns if it discriminates poorly.

use crate::config::Config;
use crate::dataset::LabelSignal;
use crate::notes::note;
use crate::prior::{load, prior};
use crate::progress::busy;
use crate::sampling::sampling;
use crate::vocabulary::Vocabulary;
use crate::words::counted;
use anyhow::{Result, anyhow};
use rlhf_journal::{Estimate, Interval, write_atomic};
use rlhf_lm::{Backend, inspect};
use rlhf_objective::Prompt;
use rlhf_policy::{Sampling, sample};
use rlhf_reward::{Normalization, RewardModel};
use std::path::Path;
use std::sync::Arc;

/// The greatest gain that raises no warning. Scores are log-odds: at a gain of 20, two responses of the
/// prior differ by 0.07 in the root mean square (√2 times the standard deviation 1/20), so the model
/// prefers the better one with probability 0.52.
const MAX_GAIN: f64 = 20.0;

/// The warning if no label prefers a response.
const ALL_TIED: &str = "every label is one half, so the reward model had nothing to learn: train it on pairs \
                        whose labels prefer one response";

/// Warnings about a reward model: that its accuracy on held-out pairs may be chance, or that its scores
/// hardly differ, each where it is known. If all labels are tied, only that.
pub(crate) fn warnings(
    accuracy: Option<&Estimate>,
    gain: Option<f64>,
    labels: LabelSignal,
) -> Vec<String> {
    if labels == LabelSignal::AllTied {
        return vec![ALL_TIED.into()];
    }
    let mut warnings = Vec::new();
    if let Some(Estimate { value, interval }) = accuracy {
        let problem = match interval {
            Some(Interval { low, .. }) if *low > 0.5 => None,
            Some(Interval { low, high }) if *high < 0.5 => Some(format!(
                "its interval [{low:.3}, {high:.3}] is below one half, so it prefers the rejected \
                 responses: check which response the data call chosen"
            )),
            Some(Interval { low, high }) => Some(format!(
                "its interval [{low:.3}, {high:.3}] contains one half, so it may be guessing: train it \
                 longer, with a greater optim.learning_rate or on more pairs, before training a policy \
                 against it"
            )),
            None => Some(
                "on too few distinct prompts to exclude that it is guessing: hold out more pairs"
                    .into(),
            ),
        };
        warnings.extend(problem.map(|why| {
            format!("the reward model gets {value:.3} of the held-out pairs right; {why}")
        }));
    }
    if let Some(gain) = gain.filter(|gain| *gain > MAX_GAIN) {
        warnings.push(format!(
            "the reward model's scores have a standard deviation of {:.5} over samples of the prior and \
             are multiplied by {gain:.0}; above {MAX_GAIN:.0} the scaled scores are mostly noise: train \
             it longer, or with a greater optim.learning_rate",
            1.0 / gain
        ));
    }
    warnings
}

/// Normalizes the model's scores to mean 0 and standard deviation 1 over samples of the prior for
/// `prompts`, writes that to `reward.json` beside the model, and returns the gain. `None` if the prior is
/// not a language model to sample from.
pub(crate) fn normalize(
    config: &Config,
    vocabulary: &Vocabulary,
    prompts: &[Arc<Prompt>],
    (folder, labels): (&Path, LabelSignal),
) -> Result<Option<f64>> {
    let plan = prior(config)?;
    let mut language = !plan.folders.is_empty();
    for folder in &plan.folders {
        language &= !inspect(folder)?.reward_model;
    }
    if !language {
        note(
            "the scores are not normalized: there is no language model to sample from; give one with --prior",
        );
        return Ok(None);
    }
    let (mut prior, _) = load(plan, config)?;
    let _busy = busy("sampling from the prior to normalize the scores");
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
        LabelSignal::AllTied => anyhow!(ALL_TIED),
        LabelSignal::Informative => error.into(),
    })?;
    note(format_args!(
        "scores are normalized to {:.4}·score {:+.4}: mean 0 and standard deviation 1 over {} of the prior",
        scale.gain,
        scale.bias,
        counted(samples.len(), "samples")
    ));
    write_atomic(&Normalization::path(folder), scale.to_json().as_bytes())?;
    Ok(Some(scale.gain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accurate_model_raises_no_warning() {
        let good = rlhf_eval::wilson(0.75, 200);
        assert_eq!(
            warnings(Some(&good), Some(1.7), LabelSignal::Informative),
            [""; 0]
        );
        assert_eq!(warnings(None, None, LabelSignal::Informative), [""; 0]);
        assert_eq!(
            warnings(None, Some(MAX_GAIN), LabelSignal::Informative),
            [""; 0]
        );
    }

    #[test]
    fn tied_labels_are_the_only_warning() {
        let said = warnings(
            Some(&rlhf_eval::wilson(0.5, 60)),
            Some(348.0),
            LabelSignal::AllTied,
        );
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("every label is one half"), "{said:?}");
    }

    #[test]
    fn chance_accuracy_and_a_large_gain_raise_warnings() {
        for (share, pairs, words) in [
            (
                0.55,
                60,
                "[0.425, 0.669] contains one half, so it may be guessing",
            ),
            (
                0.3,
                100,
                "is below one half, so it prefers the rejected responses",
            ),
        ] {
            let said = warnings(
                Some(&rlhf_eval::wilson(share, pairs)),
                Some(2.0),
                LabelSignal::Informative,
            );
            assert_eq!(said.len(), 1);
            assert!(said[0].contains(words), "{said:?}");
        }
        let few = Estimate {
            value: 1.0,
            interval: None,
        };
        assert!(
            warnings(Some(&few), None, LabelSignal::Informative)[0]
                .contains("too few distinct prompts")
        );
        let said = warnings(None, Some(348.0), LabelSignal::Informative);
        let words = "standard deviation of 0.00287 over samples of the prior and are multiplied by 348; \
                     above 20";
        assert!(said[0].contains(words), "{said:?}");
    }
}
