//! A bag-of-words preference model, the baseline of reward models.

use rlhf_tensor::{Rng, Stream};
use std::collections::{HashMap, HashSet};

/// Epochs over the pairs, and the learning rate.
const EPOCHS: u64 = 2;
const LEARNING_RATE: f64 = 0.05;

/// A weight for each word. The score of a text is the sum over its distinct words.
#[derive(Debug, Default)]
pub(crate) struct BagOfWords(HashMap<String, f64>);

impl BagOfWords {
    /// Fits the weights to (chosen, rejected) pairs by stochastic gradient descent on the
    /// Bradley–Terry loss.
    pub(crate) fn fit(pairs: &[(&str, &str)], seed: u64) -> Self {
        let sides = |(chosen, rejected): &(&str, &str)| (words(chosen), words(rejected));
        let pairs: Vec<_> = pairs.iter().map(sides).collect();
        let mut bag = Self::default();
        for epoch in 0..EPOCHS {
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            Rng::new(seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
            for (chosen, rejected) in order.into_iter().map(|index| &pairs[index]) {
                let margin = bag.sum(chosen) - bag.sum(rejected);
                let step = LEARNING_RATE / (1.0 + margin.exp());
                for (words, step) in [(chosen, step), (rejected, -step)] {
                    for word in words {
                        *bag.0.entry(word.clone()).or_default() += step;
                    }
                }
            }
        }
        bag
    }

    /// The score of a text.
    pub(crate) fn score(&self, text: &str) -> f64 {
        self.sum(&words(text))
    }

    fn sum(&self, words: &[String]) -> f64 {
        words.iter().filter_map(|word| self.0.get(word)).sum()
    }
}

/// The distinct lower-case words and punctuation marks of a text, in order of first appearance.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let is_word_char = |c: char| c.is_alphanumeric() || c == '\'';
    let mut seen = HashSet::new();
    let spans = text.split_inclusive(|c| !is_word_char(c)).flat_map(|part| {
        let end = part.trim_end_matches(|c| !is_word_char(c)).len();
        [&part[..end], part[end..].trim()]
    });
    let words = spans.filter(|word| !word.is_empty() && seen.insert(word.to_string()));
    words.map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_punctuation_are_distinct() {
        assert_eq!(
            words("It's good, GOOD fun!"),
            ["it's", "good", ",", "fun", "!"]
        );
    }

    #[test]
    fn fitted_weights_favour_words_of_chosen_texts() {
        let pairs = [
            ("a good film", "a bad film"),
            ("good", "dull"),
            ("fine", "bad"),
        ]
        .repeat(20);
        let bag = BagOfWords::fit(&pairs, 1);
        assert!(bag.score("good fine") > bag.score("film") && bag.score("bad dull") < -0.1);
        assert!(
            bag.score("film a").abs() < 1e-9,
            "words of both texts have weight 0"
        );
    }
}
