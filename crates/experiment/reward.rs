//! Builds the reward of a run, and checks it before any weights are loaded.

use crate::config::Config;
use crate::networks::{frozen, options};
use crate::progress::busy;
use crate::vocabulary::Vocabulary;
use anyhow::{Context, Result, ensure};
use rlhf_lm::{OutputHeads, Tokenizer, inspect};
use rlhf_objective::Reward;
use rlhf_reward::{RewardModel, Rules};

/// The reward of the settings.
pub fn reward(config: &Config, tokenizer: &Tokenizer) -> Result<Box<dyn Reward>> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    let _busy = busy("loading the reward");
    let networks = options(
        config,
        frozen(config.model.frozen_dtype),
        OutputHeads::Score,
    );
    Ok(Box::new(Rules::with(rule, tokenizer, &networks)?))
}

/// Checks that the reward can be built for the policy's tokenizer. Only the headers of its models are read.
pub fn check_reward(config: &Config, vocabulary: &Vocabulary) -> Result<()> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    for folder in rule.models() {
        ensure!(
            inspect(folder)?.reward_model,
            "{} is a language model, not a reward model: train a reward model from it first (rlhf train \
             --objective reward)",
            folder.display()
        );
    }
    rule.check_models(&vocabulary.tokenizer)?;
    Rules::new(&rule.without_models(), &vocabulary.tokenizer)?.check(vocabulary.size)?;
    Ok(())
}

/// A note that names the reward models with another tokenizer than the policy's.
pub(crate) fn retokenizing_models(
    config: &Config,
    tokenizer: &Tokenizer,
) -> Result<Option<String>> {
    let mut folders = Vec::new();
    for folder in config.reward.iter().flat_map(|rule| rule.models()) {
        if RewardModel::retokenizes(folder, tokenizer)? {
            folders.push(folder.display().to_string());
        }
    }
    let words = "responses are decoded and tokenized again, because the tokenizer differs";
    Ok((!folders.is_empty()).then(|| format!("{}: {words}", folders.join(", "))))
}
