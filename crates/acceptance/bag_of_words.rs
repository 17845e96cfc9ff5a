//! What word counts alone can tell: the baseline a reward model is printed beside.

use rlhf_tensor::{Rng, Stream};
use std::collections::{HashMap, HashSet};

/// Passes over the pairs, and the step of each.
const PASSES: u64 = 2;
const RATE: f64 = 0.05;

/// A number for each word; a text is worth the sum over its words, each counted once.
#[derive(Debug, Default)]
pub(crate) struct BagOfWords(HashMap<String, f64>);

impl BagOfWords {
    /// Fitted to pairs (better, worse) by stochastic gradient descent on Bradley and Terry's loss.
    pub(crate) fn fit(pairs: &[(&str, &str)], seed: u64) -> Self {
        let sides = |(better, worse): &(&str, &str)| (words(better), words(worse));
        let pairs: Vec<_> = pairs.iter().map(sides).collect();
        let mut bag = Self::default();
        for pass in 0..PASSES {
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            Rng::new(seed, Stream::Shuffle, pass, 0).shuffle(&mut order);
            for (better, worse) in order.into_iter().map(|index| &pairs[index]) {
                let margin = bag.sum(better) - bag.sum(worse);
                let step = RATE / (1.0 + margin.exp());
                for (words, step) in [(better, step), (worse, -step)] {
                    for word in words {
                        *bag.0.entry(word.clone()).or_default() += step;
                    }
                }
            }
        }
        bag
    }

    /// What a text is worth.
    pub(crate) fn score(&self, text: &str) -> f64 {
        self.sum(&words(text))
    }

    fn sum(&self, words: &[String]) -> f64 {
        words.iter().filter_map(|word| self.0.get(word)).sum()
    }
}

/// The words and marks of a text in lower case, each once, in the order in which they come.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let of_word = |c: char| c.is_alphanumeric() || c == '\'';
    let mut seen = HashSet::new();
    let spans = text.split_inclusive(|c| !of_word(c)).flat_map(|part| {
        let end = part.trim_end_matches(|c| !of_word(c)).len();
        [&part[..end], part[end..].trim()]
    });
    let words = spans.filter(|word| !word.is_empty() && seen.insert(word.to_string()));
    words.map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks_once_each() {
        assert_eq!(
            words("It's good, GOOD fun!"),
            ["it's", "good", ",", "fun", "!"]
        );
    }

    #[test]
    fn learns_which_words_win() {
        let pairs = [
            ("a good film", "a bad film"),
            ("good", "dull"),
            ("fine", "bad"),
        ]
        .repeat(20);
        let bag = BagOfWords::fit(&pairs, 1);
        assert!(bag.score("good fine") > bag.score("film") && bag.score("bad dull") < -0.1);
        assert!(bag.score("film a").abs() < 1e-9, "they are in both");
    }
}
