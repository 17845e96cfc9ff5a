//! The reward of a run: made, and checked before it is.

use crate::config::Config;
use crate::networks::{frozen, options};
use crate::progress::busy;
use crate::vocabulary::Vocabulary;
use anyhow::{Context, Result, ensure};
use rlhf_lm::{OutputHeads, Tokenizer, inspect};
use rlhf_objective::Reward;
use rlhf_reward::{RewardModel, Rules};

/// r.
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

/// Whether the reward can be made for the policy's tokens; of its models, only headers are read.
pub fn check_reward(config: &Config, vocabulary: &Vocabulary) -> Result<()> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    for folder in rule.models() {
        ensure!(
            inspect(folder)?.reward_model,
            "{} is a language model, not a reward model: train one from it first (rlhf train \
             --objective reward)",
            folder.display()
        );
    }
    rule.check_models(&vocabulary.tokenizer)?;
    Rules::new(&rule.without_models(), &vocabulary.tokenizer)?.check(vocabulary.size)?;
    Ok(())
}

/// What is to be said of how the reward's models read the policy, from their headers.
pub(crate) fn rereading(config: &Config, tokenizer: &Tokenizer) -> Result<Option<String>> {
    let mut folders = Vec::new();
    for folder in config.reward.iter().flat_map(|rule| rule.models()) {
        if RewardModel::retokenizes(folder, tokenizer)? {
            folders.push(folder.display().to_string());
        }
    }
    let words = "read texts and not the model's tokens: their tokenizer is another";
    Ok((!folders.is_empty()).then(|| format!("{} {words}", folders.join(", "))))
}
