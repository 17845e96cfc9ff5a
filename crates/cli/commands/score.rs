//! `rlhf score`: the log-probs of completions, or what a reward says of them.

use crate::args::ScoreArgs;
use crate::output::print;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rlhf_data::{AppendEos, Limits, Reader, Row, RowRequirement, Settings};
use rlhf_experiment::{
    BackendName, Config, DtypeName, Missing, Session, Usage, Vocabulary, backend, check_reward,
    model_path, reward as make_reward, reward_needs, reward_rule, rows,
};
use rlhf_lm::{ActivationCheckpointing, LoadOptions, OutputHeads, OutputVocabulary, load};
use rlhf_objective::{OutputSpec, Sequences, finite_optional_scores};
use rlhf_reward::Rule;
use rlhf_tensor::Storage;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// How many tokens are read at once.
const TOKENS: usize = 4096;

pub(crate) fn run(session: &Session, args: &ScoreArgs) -> Result<()> {
    if (args.backend, args.dtype) == (BackendName::Plain, DtypeName::Bf16) {
        let message = "--dtype bf16: only --backend engine computes in it";
        return Err(Usage(anyhow!(message)).into());
    }
    match (&args.model, &args.reward) {
        (model, Some(reward)) => rewards(session, args, model.as_deref(), reward),
        (Some(model), None) => log_probs(session, args, &session.locator.model(model)?),
        (None, None) => bail!("give --model or --reward"),
    }
}

/// A reward model reads with its own tokenizer; any other rule needs that of a model.
fn rewards(session: &Session, args: &ScoreArgs, model: Option<&Path>, reward: &str) -> Result<()> {
    let rule = reward_rule(&session.registry.catalog().rewards, reward).map_err(Usage)?;
    let objective = session.registry.catalog().methods.objective("sft");
    let objective = objective.context("there is no objective sft")?;
    let mut config = Config::defaults(&objective, &session.registry.catalog().priors)?;
    config.model.path = match (model, &rule) {
        (Some(path), _) => Some(path.into()),
        (None, Rule::Model { folder }) => Some(folder.clone()),
        (None, _) => {
            let message = format!("--reward {reward} needs --model too, for its tokenizer");
            return Err(Usage(anyhow!(message)).into());
        }
    };
    (config.model.backend, config.model.dtype) = (args.backend, args.dtype);
    config.reward = Some(rule);
    let config = session.locator.settle(config, Missing::Refuse)?.local;
    let mut vocabulary = Vocabulary::load(model_path(&config)?)?;
    vocabulary.append = AppendEos::ToText;
    check_reward(&config, &vocabulary)?;
    let mut reward = make_reward(&config, &vocabulary.tokenizer)?;
    let (rows, sequences) = read(session, args, &vocabulary, reward_needs(&config)?)?;
    if model.is_none() {
        for (index, row) in rows.iter().enumerate() {
            // A language model does not read the last token; a reward model does.
            let length = sequences.network_tokens(index..index + 1) + 1;
            check_length(row, length, vocabulary.context)?;
        }
    }
    for range in sequences.micro_batches(TOKENS, 1) {
        let part = sequences.select(&range.collect::<Vec<_>>());
        for score in finite_optional_scores(&mut *reward, &part)? {
            print(json!({"score": score.map(f64::from)}))?;
        }
    }
    reward.finish()?;
    Ok(())
}

/// The rows of the input and their completions; each must have what those who judge it need.
fn read(
    session: &Session,
    args: &ScoreArgs,
    vocabulary: &Vocabulary,
    needs: Vec<Arc<dyn RowRequirement>>,
) -> Result<(Vec<Row>, Sequences)> {
    let rows = rows(&session.locator.data(&args.input)?)?;
    let settings = Settings {
        requirements: needs,
        ..vocabulary.settings(Limits::context(usize::MAX - 1))
    };
    let sequences = Reader::new(settings).completions(&rows)?;
    Ok((rows, sequences))
}

fn log_probs(session: &Session, args: &ScoreArgs, folder: &Path) -> Result<()> {
    let options = LoadOptions {
        storage: Storage::Frozen,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::Whole,
        temperature: args.temperature,
        backend: backend(args.backend, args.dtype),
    };
    let mut model = load(folder, &options)?;
    let mut vocabulary = Vocabulary::load(folder)?;
    // What is scored is what was given.
    vocabulary.append = AppendEos::Never;
    let (rows, sequences) = read(session, args, &vocabulary, Vec::new())?;
    for (index, row) in rows.iter().enumerate() {
        let length = sequences.network_tokens(index..index + 1);
        check_length(row, length, vocabulary.context)?;
    }
    for range in sequences.micro_batches(TOKENS, 1) {
        let part = sequences.select(&range.collect::<Vec<_>>());
        let log_probs = model.forward(&part, OutputSpec::SCORE)?.log_probs;
        let numbers = log_probs.to_vec()?;
        for index in 0..part.len() {
            print(line(&numbers[log_probs.range(index)])?)?;
        }
    }
    Ok(())
}

fn check_length(row: &Row, length: usize, context: usize) -> Result<()> {
    if length > context {
        let message = format!("{length} tokens, but the checkpoint reads at most {context}");
        return Err(row.error(message).into());
    }
    Ok(())
}

fn line(log_probs: &[f32]) -> Result<Value> {
    let numbers: Vec<f64> = log_probs.iter().map(|number| f64::from(*number)).collect();
    let sum: f64 = numbers.iter().sum();
    ensure!(
        sum.is_finite(),
        "a log-prob is not finite: the checkpoint holds bad numbers"
    );
    serde_json::to_value(json!({"log_probs": numbers, "log_prob": sum, "tokens": numbers.len()}))
        .context("a line of output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_all_their_digits() {
        let third = 1.0f32 / 3.0;
        let text = line(&[-third, -2.0]).unwrap().to_string();
        assert_eq!(
            text,
            "{\"log_probs\":[-0.3333333432674408,-2.0],\"log_prob\":-2.333333343267441,\"tokens\":2}"
        );
        assert!(line(&[f32::NEG_INFINITY]).is_err());
    }
}
