//! `rlhf generate`: draw responses.

use crate::args::GenerateArgs;
use crate::output::{Usage, log, print};
use crate::wiring::Vocabulary;
use anyhow::{Result, anyhow};
use rlhf_data::{Documents, Fields, Limits, Row, rows};
use rlhf_lm::{Backend, Heads, LoadOptions, load};
use rlhf_objective::Prompt;
use rlhf_policy::{Draw, Sampled, Sampling, sample};
use rlhf_tensor::Storage;
use serde_json::{Map, json};
use std::path::Path;
use std::sync::Arc;

/// How many responses grow at once.
const ROWS: usize = 64;

pub(crate) fn run(args: &GenerateArgs) -> Result<()> {
    let greedy = args.temperature == 0.0;
    if !args.temperature.is_finite() || args.temperature < 0.0 {
        let message = anyhow!(
            "--temperature {}: must be a number from 0",
            args.temperature
        );
        return Err(Usage(message).into());
    }
    let options = LoadOptions {
        storage: Storage::Frozen,
        heads: Heads::Language,
        temperature: if greedy { 1.0 } else { args.temperature },
        backend: Backend::Engine,
    };
    let mut model = load(&args.model, &options)?;
    let vocabulary = Vocabulary::load(&args.model)?;
    let prompts = prompts(args, &vocabulary)?;
    let sampling = Sampling {
        samples: args.n,
        max_new_tokens: args.max_new_tokens,
        rows: ROWS,
        stop: vocabulary.eos.into_iter().collect(),
        context: vocabulary.context,
        draw: if greedy { Draw::Greedy } else { Draw::Sample },
        seed: args.seed,
        step: 0,
    };
    let decode = |ids: &[u32]| vocabulary.tokenizer.decode(ids);
    let sampled = sample(&mut *model.decoder()?, &prompts, &sampling, &decode)?;
    show(&sampled, args.json)
}

fn prompts(args: &GenerateArgs, vocabulary: &Vocabulary) -> Result<Vec<Arc<Prompt>>> {
    let typed = |(index, text): (usize, &String)| Row {
        path: Path::new("--prompt").into(),
        line: index + 1,
        fields: Map::from_iter([("prompt".to_string(), text.as_str().into())]),
    };
    let rows = match &args.prompts {
        Some(path) => rows(path, Documents::Lines)?,
        None => args.prompt.iter().enumerate().map(typed).collect(),
    };
    // A prompt is kept whole where it can be; then the response stops at the end of the context.
    let limits = Limits {
        prompt: vocabulary.context,
        ..Limits::context(vocabulary.context)
    };
    let mut reader = vocabulary.reader(limits, Fields::default());
    let prompts = reader.prompts(&rows)?;
    for note in reader.notes.sentences() {
        log(note);
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
