//! The greatest lengths of prompts and responses, from the context of each network and the settings.

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

/// The default of `sampling.max_new_tokens`.
const MAX_NEW_TOKENS: usize = 64;

/// The most tokens of a prompt and its response that every network of the run can read. A language model
/// does not read the last token of a response; a reward model does, which takes one token of its context.
pub fn context(config: &Config, vocabulary: &Vocabulary) -> Result<usize> {
    Ok(smallest(config, vocabulary)?.0)
}

/// A note that names the network with the smallest context; `None` if that is the model itself.
pub fn context_note(config: &Config, vocabulary: &Vocabulary) -> Result<Option<String>> {
    let (context, folder) = smallest(config, vocabulary)?;
    Ok(folder.map(|folder| {
        format!(
            "a prompt and its response have at most {context} tokens, the limit of {}; {} has a context of {}",
            folder.display(),
            vocabulary.folder.display(),
            vocabulary.context
        )
    }))
}

/// The smallest context, and the folder of the network that it belongs to if that is not the model.
fn smallest(config: &Config, vocabulary: &Vocabulary) -> Result<(usize, Option<PathBuf>)> {
    let mut limited_by = None;
    let mut lower = |context: &mut usize, limit: usize, folder: &Path| {
        if limit < *context {
            (*context, limited_by) = (limit, Some(folder.to_path_buf()));
        }
    };
    let facts = config.method.facts();
    // A reward model reads the last token too.
    let mut context = vocabulary.context - usize::from(facts.is_reward_model());
    if let Some(rule) = &config.reward {
        for folder in rule.models().into_iter().filter(|folder| folder.exists()) {
            let limit = inspect(folder)?.context;
            // A reward model with its own tokenizer truncates the text itself.
            if limit >= vocabulary.context
                || !RewardModel::retokenizes(folder, &vocabulary.tokenizer)?
            {
                lower(&mut context, limit.min(vocabulary.context) - 1, folder);
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
    // An incomplete prior is reported when the prior is planned.
    if facts.prior != PriorUse::Nothing
        && let Ok(prior) = prior(config)
    {
        for folder in prior.folders.iter().filter(|folder| folder.exists()) {
            lower(&mut context, inspect(folder)?.context, folder);
        }
    }
    Ok((context.max(1), limited_by))
}

/// The greatest lengths of prompts, completions and responses. A prompt to sample from stays whole if at
/// least one response token fits after it, unless `data.max_prompt_tokens` cuts it.
///
/// # Errors
/// If prompts and responses of the lengths in the settings do not fit into the context.
pub fn limits(config: &Config, vocabulary: &Vocabulary) -> Result<Limits> {
    let context = context(config, vocabulary)?;
    let lengths = &config.data;
    Ok(Limits {
        context,
        prompt: lengths.max_prompt_tokens.unwrap_or(usize::MAX),
        completion: lengths.max_completion_tokens.unwrap_or(usize::MAX),
        response: max_response(config, context)?,
    })
}

/// The greatest length of a response, if its prompt leaves that much of the context.
///
/// # Errors
/// As [`limits`].
pub fn max_new_tokens(config: &Config, vocabulary: &Vocabulary) -> Result<usize> {
    max_response(config, context(config, vocabulary)?)
}

fn max_response(config: &Config, context: usize) -> Result<usize> {
    let given = config.sampling.max_new_tokens;
    if config.online() {
        let prompt = config.data.max_prompt_tokens;
        Ok(max_response_after(prompt, given, context).map_err(Usage)?)
    } else {
        // Offline methods sample for evaluation only; their data are cut to the context elsewhere.
        Ok(given.unwrap_or(MAX_NEW_TOKENS))
    }
}

/// The greatest length of a response: the one given, or else 64, or less if the limit of prompts leaves
/// less.
fn max_response_after(
    prompt: Option<usize>,
    given: Option<usize>,
    context: usize,
) -> Result<usize> {
    let Some(prompt) = prompt else {
        return Ok(given.unwrap_or(MAX_NEW_TOKENS));
    };
    // The last token of a response is not read.
    let left = (context + 1).saturating_sub(prompt);
    match given {
        _ if left == 0 => Err(anyhow!(
            "data.max_prompt_tokens = {prompt} leaves no room for a response: the context is {context} \
             tokens. Lower it"
        )),
        Some(given) if given > left => Err(anyhow!(
            "data.max_prompt_tokens = {prompt} and sampling.max_new_tokens = {given} do not fit together: \
             the context is {context} tokens, which leaves {left} for a response. Lower one of the two"
        )),
        Some(given) => Ok(given),
        None => Ok(left.min(MAX_NEW_TOKENS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_length_is_kept_or_refused() {
        for (given, prompt, expected) in [
            (None, None, Ok(64)),
            (Some(100), None, Ok(100)),
            (None, Some(10), Ok(39)),
            (Some(39), Some(10), Ok(39)),
            (None, Some(48), Ok(1)),
            (Some(40), Some(10), Err("which leaves 39 for a response")),
            (
                None,
                Some(49),
                Err("leaves no room for a response: the context is 48 tokens"),
            ),
        ] {
            let found = max_response_after(prompt, given, 48).map_err(|error| error.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                _ => panic!("{given:?} {prompt:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}
