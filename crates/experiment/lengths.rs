//! How long prompts and responses may be: what the context leaves, and what the settings say.

use crate::config::Config;
use crate::error::Usage;
use crate::prior::prior;
use crate::vocabulary::Vocabulary;
use anyhow::{Result, anyhow};
use rlhf_data::Limits;
use rlhf_lm::inspect;
use rlhf_reward::RewardModel;
use rlhf_train::PriorUse;
use std::path::{Path, PathBuf};

/// The greatest length of a response where nothing is said.
const MAX_NEW_TOKENS: usize = 64;

/// How much of a prompt and its response is read, at most, by every network of the run. A language
/// model never reads the last token; a reward model does, and takes one from the room there is.
pub fn context(config: &Config, vocabulary: &Vocabulary) -> Result<usize> {
    Ok(least(config, vocabulary)?.0)
}

/// The network that reads less than the model does, in words; none where the model itself reads least.
pub fn least_of(config: &Config, vocabulary: &Vocabulary) -> Result<Option<String>> {
    let (context, folder) = least(config, vocabulary)?;
    Ok(folder.map(|folder| {
        format!(
            "{context} tokens of a prompt and its response are read at most, because of {}; {} has a \
             context of {}",
            folder.display(),
            vocabulary.folder.display(),
            vocabulary.context
        )
    }))
}

/// The least context, and the network that it is of, where that is not the model.
fn least(config: &Config, vocabulary: &Vocabulary) -> Result<(usize, Option<PathBuf>)> {
    let mut whose = None;
    let mut lower = |context: &mut usize, its: usize, folder: &Path| {
        if its < *context {
            (*context, whose) = (its, Some(folder.to_path_buf()));
        }
    };
    let facts = config.method.facts();
    // A reward model reads the last token too.
    let mut context = vocabulary.context - usize::from(facts.is_reward_model());
    if let Some(rule) = &config.reward {
        for folder in rule.models().into_iter().filter(|folder| folder.exists()) {
            let its = inspect(folder)?.context;
            // One with a tokenizer of its own cuts the text itself.
            if its >= vocabulary.context
                || !RewardModel::retokenizes(folder, &vocabulary.tokenizer)?
            {
                lower(&mut context, its.min(vocabulary.context) - 1, folder);
            }
        }
        for folder in rule
            .language_models()
            .into_iter()
            .filter(|folder| folder.exists())
        {
            lower(&mut context, inspect(folder)?.context, folder);
        }
    }
    // A prior that is not complete is refused where it is needed.
    if facts.prior != PriorUse::Nothing
        && let Ok(prior) = prior(config)
    {
        for folder in prior.folders.iter().filter(|folder| folder.exists()) {
            lower(&mut context, inspect(folder)?.context, folder);
        }
    }
    Ok((context.max(1), whose))
}

/// The greatest lengths of prompts, completions and responses. Prompts that are to be continued stay
/// whole where at least a token fits behind them, unless `data.max_prompt_tokens` cuts them.
///
/// # Errors
/// If prompts and responses of the lengths that the settings ask for do not fit together.
pub fn limits(config: &Config, vocabulary: &Vocabulary) -> Result<Limits> {
    let context = context(config, vocabulary)?;
    let lengths = &config.data;
    Ok(Limits {
        context,
        prompt: lengths.max_prompt_tokens.unwrap_or(usize::MAX),
        completion: lengths.max_completion_tokens.unwrap_or(usize::MAX),
        response: of_settings(config, context)?,
    })
}

/// The greatest length of a response of these settings, where its prompt leaves that much.
///
/// # Errors
/// As [`limits`].
pub fn max_new_tokens(config: &Config, vocabulary: &Vocabulary) -> Result<usize> {
    of_settings(config, context(config, vocabulary)?)
}

fn of_settings(config: &Config, context: usize) -> Result<usize> {
    let given = config.sampling.max_new_tokens;
    match config.online() {
        true => Ok(response(given, config.data.max_prompt_tokens, context).map_err(Usage)?),
        // Pairs and demonstrations are cut to fit with their answers, whatever is drawn to measure.
        false => Ok(given.unwrap_or(MAX_NEW_TOKENS)),
    }
}

/// The greatest length of a response: what was asked for, or else 64, or less where a limit of the
/// prompts leaves less.
fn response(given: Option<usize>, prompt: Option<usize>, context: usize) -> Result<usize> {
    let Some(prompt) = prompt else {
        return Ok(given.unwrap_or(MAX_NEW_TOKENS));
    };
    // The last token of a response is never read.
    let left = (context + 1).saturating_sub(prompt);
    match given {
        _ if left == 0 => Err(anyhow!(
            "data.max_prompt_tokens = {prompt} leaves no room for a response: {context} tokens are read \
             at most; lower it"
        )),
        Some(given) if given > left => Err(anyhow!(
            "data.max_prompt_tokens = {prompt} and sampling.max_new_tokens = {given} do not fit together: \
             {context} tokens are read at most, which leaves responses of {left}; lower one of the two"
        )),
        Some(given) => Ok(given),
        None => Ok(left.min(MAX_NEW_TOKENS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_holds_or_is_refused() {
        for (given, prompt, expected) in [
            (None, None, Ok(64)),
            (Some(100), None, Ok(100)),
            (None, Some(10), Ok(39)),
            (Some(39), Some(10), Ok(39)),
            (None, Some(48), Ok(1)),
            (Some(40), Some(10), Err("which leaves responses of 39")),
            (
                None,
                Some(49),
                Err("leaves no room for a response: 48 tokens"),
            ),
        ] {
            let found = response(given, prompt, 48).map_err(|error| error.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                _ => panic!("{given:?} {prompt:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}
