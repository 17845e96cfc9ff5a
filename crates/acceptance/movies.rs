//! The task `film snippets`: pairs of film snippets that people rated from −4 to 4.

use crate::bag_of_words::BagOfWords;
use crate::task::{Pair, Task, accuracy, train_held_out_split};
use anyhow::{Context, Result};
use rlhf_reward::Lexicon;
use rlhf_tensor::{Rng, Stream};
use serde_json::json;
use std::fs;
use std::path::Path;

/// The least difference of the two ratings of a pair.
const MIN_RATING_DIFFERENCE: f64 = 1.0;
/// The number of folds, of which one is held out.
const FOLDS: u64 = 5;
/// The number of random pairings of each training snippet.
const TRAIN_PAIRINGS: usize = 4;

/// Each snippet is either in the training set or held out. A held-out snippet is in at most one pair, so
/// held-out pairs are independent.
pub(crate) fn task(data: &Path, seed: u64) -> Result<Task> {
    let folder = data.join("sentiment-vader-human");
    let snippets = ratings(&folder.join("movieReviewSnippets_GroundTruth.txt"))?;
    let lexicon = Lexicon::read(&folder.join("vader_lexicon.txt"))?;
    let (train, held_out) = train_held_out_split(snippets, FOLDS, seed);
    let mut rng = Rng::new(seed, Stream::Data, 1, 0);
    let train_pairs: Vec<_> = (0..TRAIN_PAIRINGS)
        .flat_map(|_| pairs(&train, &mut rng))
        .collect();
    let held_out = pairs(&held_out, &mut rng);
    let bag = BagOfWords::fit(&train_pairs, seed);
    let row = |(chosen, rejected): &Pair<'_>| json!({"prompt": "", "chosen": chosen, "rejected": rejected});
    Ok(Task {
        name: "film snippets",
        required: 0.75,
        context: 128,
        width: 64,
        common_settings: &[],
        reward_settings: &[
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
        pairs: train_pairs.iter().map(row).collect(),
        held_out: held_out.iter().map(row).collect(),
        baselines: json!({
            "lexicon": accuracy(&held_out, |text| lexicon.sum(text)),
            "bag_of_words": accuracy(&held_out, |text| bag.score(text)),
        }),
    })
}

struct Snippet {
    rating: f64,
    text: String,
}

/// Reads tab-separated lines of an index, the mean rating and the text.
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
            let invalid = || {
                format!(
                    "{}, line {}: expected an index, a rating and a text separated by tabs",
                    path.display(),
                    index + 1
                )
            };
            parse(line).with_context(invalid)
        })
        .collect()
}

/// Pairs each snippet with a random other; pairs with too small a difference of ratings are left out.
fn pairs<'a>(snippets: &'a [Snippet], rng: &mut Rng) -> Vec<Pair<'a>> {
    let mut order: Vec<&Snippet> = snippets.iter().collect();
    rng.shuffle(&mut order);
    let (pairs, _) = order.as_chunks::<2>();
    let distinct = pairs
        .iter()
        .filter(|[a, b]| (a.rating - b.rating).abs() >= MIN_RATING_DIFFERENCE);
    distinct
        .map(|[a, b]| {
            if a.rating > b.rating {
                (&a.text[..], &b.text[..])
            } else {
                (&b.text[..], &a.text[..])
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_differ_in_rating_and_use_each_snippet_once() {
        let snippet = |i: i32| Snippet {
            rating: f64::from(i % 7) / 2.0,
            text: i.to_string(),
        };
        let snippets: Vec<_> = (0..41).map(snippet).collect();
        let found = pairs(&snippets, &mut Rng::new(1, Stream::Data, 0, 0));
        let rating = |text: &str| f64::from(text.parse::<i32>().unwrap() % 7) / 2.0;
        let mut used: Vec<_> = found.iter().flat_map(|(a, b)| [*a, *b]).collect();
        assert!(found.len() > 5);
        assert!(
            found
                .iter()
                .all(|(a, b)| rating(a) - rating(b) >= MIN_RATING_DIFFERENCE)
        );
        used.sort_unstable();
        assert!(used.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(accuracy(&found, rating).value, 1.0);
        assert_eq!(accuracy(&found, |_| 0.0).value, 0.5);
    }
}
