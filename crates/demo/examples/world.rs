//! The steps of `scripts/demo.sh` that are not commands of the program: it writes texts and labels pairs.
//!
//! `world texts FOLDER` writes reviews, prompts, the lexicon, a model configuration and a tokenizer.
//! `world pairs PART < SAMPLES` labels pairs of the output of `rlhf generate -n 2 --json` by the true score;
//! part 0 is held out, and part 1 is embedded as training data. `world demonstrations < SAMPLES` keeps the
//! response with the highest true score for each prompt.

#![forbid(unsafe_code)]

use rlhf_demo::{SEED, Texts, lexicon, model_config, preference, tokenizer, true_score};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::{env, error, fs, path};

/// The number of reviews that the language model is trained on.
const REVIEWS: usize = 12_000;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

#[expect(clippy::disallowed_methods, reason = "this is a command-line program")]
fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["texts", folder] => texts(path::Path::new(folder)),
        ["pairs", part] => pairs(part.parse()?),
        ["demonstrations"] => demonstrations(),
        _ => Err("world texts FOLDER | world pairs PART | world demonstrations".into()),
    }
}

fn texts(folder: &path::Path) -> Result<()> {
    let texts = Texts::generate(SEED, REVIEWS);
    fs::create_dir_all(folder)?;
    for (name, key, texts) in [
        ("reviews.jsonl", "text", &texts.reviews),
        ("prompts.jsonl", "prompt", &texts.prompts),
        ("held_out.jsonl", "prompt", &texts.held_out),
        ("pair_prompts.jsonl", "prompt", &texts.pairs),
        (
            "held_out_pair_prompts.jsonl",
            "prompt",
            &texts.held_out_pairs,
        ),
    ] {
        let lines = texts.iter().map(|text| format!("{}\n", json!({key: text})));
        fs::write(folder.join(name), lines.collect::<String>())?;
    }
    fs::write(folder.join("lexicon.txt"), lexicon())?;
    fs::write(folder.join("config.json"), model_config().to_string())?;
    Ok(fs::write(
        folder.join("tokenizer.json"),
        tokenizer().to_string(),
    )?)
}

/// The prompt and response of each sample. A space is added before the first word of a response, because it
/// follows the prompt.
fn samples() -> Result<Vec<(String, String)>> {
    let text = io::read_to_string(io::stdin())?;
    let field = |row: &Value, name: &str| -> Result<String> {
        let text = row[name].as_str();
        Ok(text.ok_or(format!("a sample without {name}"))?.to_string())
    };
    let sample = |line: &str| -> Result<_> {
        let row = serde_json::from_str(line)?;
        let completion = match field(&row, "completion")? {
            empty if empty.is_empty() => empty,
            words => format!(" {words}"),
        };
        Ok((field(&row, "prompt")?, completion))
    };
    text.lines().map(sample).collect()
}

/// Groups consecutive responses to the same prompt.
fn groups(samples: &[(String, String)]) -> impl Iterator<Item = &[(String, String)]> {
    samples.chunk_by(|a, b| a.0 == b.0)
}

fn pairs(part: u64) -> Result<()> {
    let mut written = 0;
    for group in groups(&samples()?) {
        let [(prompt, first), (_, second)] = group else {
            return Err("expected two responses to each prompt".into());
        };
        // Equal responses cannot be compared, and an empty one is not a review.
        if first != second && ![first, second].iter().any(|words| words.is_empty()) {
            let index = part * 1_000_000 + written;
            let row = preference(prompt, [first, second], SEED, index);
            writeln!(io::stdout(), "{row}")?;
            written += 1;
        }
    }
    Ok(())
}

fn demonstrations() -> Result<()> {
    for group in groups(&samples()?) {
        let best = group
            .iter()
            .max_by(|a, b| true_score(&a.1).total_cmp(&true_score(&b.1)))
            .ok_or("no responses")?;
        let row = json!({"prompt": best.0, "completion": best.1});
        writeln!(io::stdout(), "{row}")?;
    }
    Ok(())
}
