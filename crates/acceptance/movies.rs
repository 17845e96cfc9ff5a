//! Film snippets that people rated from −4 to 4, as pairs.

use crate::bag_of_words::BagOfWords;
use crate::task::{Pair, Task, accuracy, fold};
use anyhow::{Context, Result};
use rlhf_reward::Lexicon;
use rlhf_tensor::{Rng, Stream};
use serde_json::json;
use std::fs;
use std::path::Path;

/// By how much two ratings differ in a pair, at least.
const APART: f64 = 1.0;
/// One part of so many is held out.
const PARTS: u64 = 5;
/// How often each snippet is paired with a random other to learn from.
const PAIRINGS: usize = 4;

/// A snippet is either learned from or held out, whole; and held out it stands in one pair at most,
/// so held-out pairs are independent of each other.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let folder = data.join("sentiment-vader-human");
    let snippets = ratings(&folder.join("movieReviewSnippets_GroundTruth.txt"))?;
    let lexicon = Lexicon::read(&folder.join("vader_lexicon.txt"))?;
    let (train, held_out) = fold(snippets, PARTS, seed);
    let mut rng = Rng::new(seed, Stream::Data, 1, 0);
    let learned: Vec<_> = (0..PAIRINGS)
        .flat_map(|_| pairs(&train, &mut rng))
        .collect();
    let held_out = pairs(&held_out, &mut rng);
    let bag = BagOfWords::fit(&learned, seed);
    let row =
        |(better, worse): &Pair<'_>| json!({"prompt": "", "chosen": better, "rejected": worse});
    Ok(Task {
        name: "film snippets",
        required: 0.75,
        context: 128,
        width: 64,
        reading: &[],
        fitting: &[
            "optim.learning_rate=1e-3",
            "train.epochs=1",
            "train.batch_size=32",
            "sampling.max_new_tokens=32",
            "eval.prompts=1",
            "eval.samples_per_prompt=64",
        ],
        texts: train
            .iter()
            .map(|snippet| json!({"text": snippet.text}))
            .collect(),
        pairs: learned.iter().map(row).collect(),
        held_out: held_out.iter().map(row).collect(),
        beside: json!({
            "lexicon": accuracy(&held_out, |text| lexicon.sum(text)),
            "bag_of_words": accuracy(&held_out, |text| bag.score(text)),
        }),
    })
}

struct Snippet {
    rating: f64,
    text: String,
}

/// Lines of a number, the mean rating and the text, between tabs.
fn ratings(path: &Path) -> Result<Vec<Snippet>> {
    let file = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parse = |line: &str| {
        let mut fields = line.splitn(3, '\t').skip(1);
        Some(Snippet {
            rating: fields.next()?.parse().ok()?,
            text: fields.next()?.to_string(),
        })
    };
    let lines = file.lines().enumerate();
    lines
        .map(|(index, line)| {
            let bad = || format!("{}, line {}: no rating and text", path.display(), index + 1);
            parse(line).with_context(bad)
        })
        .collect()
}

/// Each snippet with one random other; those that are rated too much alike are left out.
fn pairs<'a>(snippets: &'a [Snippet], rng: &mut Rng) -> Vec<Pair<'a>> {
    let mut order: Vec<&Snippet> = snippets.iter().collect();
    rng.shuffle(&mut order);
    let (pairs, _) = order.as_chunks::<2>();
    let apart = pairs
        .iter()
        .filter(|[a, b]| (a.rating - b.rating).abs() >= APART);
    apart
        .map(|[a, b]| match a.rating > b.rating {
            true => (&a.text[..], &b.text[..]),
            false => (&b.text[..], &a.text[..]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_apart_and_use_each_snippet_once() {
        let snippet = |i: i32| Snippet {
            rating: f64::from(i % 7) / 2.0,
            text: i.to_string(),
        };
        let snippets: Vec<_> = (0..41).map(snippet).collect();
        let found = pairs(&snippets, &mut Rng::new(1, Stream::Data, 0, 0));
        let rating = |text: &str| f64::from(text.parse::<i32>().unwrap() % 7) / 2.0;
        let mut used: Vec<_> = found.iter().flat_map(|(a, b)| [*a, *b]).collect();
        assert!(found.len() > 5);
        assert!(found.iter().all(|(a, b)| rating(a) - rating(b) >= APART));
        used.sort_unstable();
        assert!(used.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(accuracy(&found, rating).value, 1.0);
        assert_eq!(accuracy(&found, |_| 0.0).value, 0.5);
    }
}
