//! `rlhf generate`: draw responses.

use crate::args::GenerateArgs;
use crate::output::{note, print};
use anyhow::{Result, anyhow};
use rlhf_data::{Fields, Limits, Row};
use rlhf_experiment::{BackendName, Session, Usage, Vocabulary, backend, rows};
use rlhf_lm::{ActivationCheckpointing, LoadOptions, OutputHeads, OutputVocabulary, load};
use rlhf_objective::Prompt;
use rlhf_policy::{Draw, Sampled, Sampling, sample};
use rlhf_tensor::Storage;
use serde_json::{Map, json};
use std::path::Path;
use std::sync::Arc;

/// How many responses grow at once.
const ROWS: usize = 64;

pub(crate) fn run(session: &Session, args: &GenerateArgs) -> Result<()> {
    let greedy = args.temperature == 0.0;
    let options = LoadOptions {
        storage: Storage::Frozen,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::WithText,
        temperature: if greedy { 1.0 } else { args.temperature },
        backend: backend(BackendName::Engine, args.dtype),
    };
    let folder = session.locator.model(&args.model)?;
    let mut model = load(&folder, &options)?;
    let vocabulary = Vocabulary::load(&folder)?;
    let prompts = prompts(session, args, &vocabulary)?;
    let sampling = Sampling {
        samples: args.n.get(),
        max_new_tokens: args.max_new_tokens.get(),
        rows: ROWS,
        stop: stop(args, &vocabulary)?,
        context: vocabulary.context,
        draw: if greedy { Draw::Greedy } else { Draw::Sample },
        seed: args.seed,
        step: 0,
    };
    let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
    let sampled = sample(&mut *model.decoder()?, &prompts, &sampling, &decode)?;
    show(&sampled, args.json)
}

/// The EOS, and the tokens that were asked for.
fn stop(args: &GenerateArgs, vocabulary: &Vocabulary) -> Result<Vec<u32>> {
    let mut ids = vocabulary.ends.clone();
    for token in &args.stop {
        let one = |ids: Vec<u32>| <[u32; 1]>::try_from(ids).ok().map(|[id]| id);
        let id = vocabulary.tokenizer.encode(token).ok().and_then(one);
        let id = id.or_else(|| vocabulary.tokenizer.id(token));
        let id = id.or_else(|| token.parse().ok());
        let id = id.filter(|id| (*id as usize) < vocabulary.size);
        ids.push(id.ok_or_else(|| {
            let fix = "give the text of one token (a leading blank is part of it), or its id";
            Usage(anyhow!("--stop {token:?} is not one token: {fix}"))
        })?);
    }
    Ok(ids)
}

fn prompts(
    session: &Session,
    args: &GenerateArgs,
    vocabulary: &Vocabulary,
) -> Result<Vec<Arc<Prompt>>> {
    let typed = |(index, text): (usize, &String)| Row {
        path: Path::new("--prompt").into(),
        line: index + 1,
        fields: Map::from_iter([("prompt".to_string(), text.as_str().into())]),
    };
    let rows = match &args.prompts {
        Some(path) => rows(&session.locator.data(path)?)?,
        None => args.prompt.iter().enumerate().map(typed).collect(),
    };
    // A prompt is kept whole where it can be; then the response stops at the end of the context.
    let limits = Limits {
        response: args.max_new_tokens.get(),
        ..Limits::context(vocabulary.context)
    };
    let mut reader = vocabulary.reader(limits, Fields::default());
    let prompts = reader.prompts(&rows)?;
    for sentence in reader.notes.sentences() {
        note(sentence);
    }
    Ok(prompts)
}

fn show(sampled: &Sampled, as_json: bool) -> Result<()> {
    let log_probs = sampled.log_probs.to_vec()?;
    for (index, response) in sampled.sequences.responses().iter().enumerate() {
        let prompt = sampled.sequences.prompt_of(index);
        if as_json {
            let log_probs = &log_probs[sampled.log_probs.range(index)];
            print(json!({
                "prompt": prompt.text,
                "completion": response.text,
                "prompt_ids": prompt.ids,
                "completion_ids": response.ids,
                "finish": response.finish,
                "log_probs": log_probs,
            }))?;
        } else {
            print(format_args!("{}\u{2502}{}", prompt.text, response.text))?;
        }
    }
    Ok(())
}
