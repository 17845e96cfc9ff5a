//! The true score of a review, and preferences drawn from it.

use crate::grammar;
use rlhf_tensor::{Rng, Stream};
use serde_json::{Value, json};

/// r(y), the sum of the values of the words of a response. It does not depend on the prompt.
#[must_use]
pub fn true_score(response: &str) -> f64 {
    let value = |word| grammar::rated().find(|(known, _)| *known == word);
    let words = response.split_whitespace().filter_map(value);
    words.map(|(_, value)| value).sum()
}

/// A row of preference data. The first response is chosen with probability σ(r(y₁) − r(y₂)) (Bradley &
/// Terry 1952), drawn with `seed` and `index`.
#[must_use]
pub fn preference(prompt: &str, responses: [&str; 2], seed: u64, index: u64) -> Value {
    let [first, second] = responses;
    let preferred = 1.0 / (1.0 + (true_score(second) - true_score(first)).exp());
    let drawn = Rng::new(seed, Stream::Data, 3, index).uniform();
    let (chosen, rejected) = if drawn < preferred {
        (first, second)
    } else {
        (second, first)
    };
    json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_sums_and_preferences_follow_bradley_terry() {
        assert_eq!(true_score("brilliant but the plot was dull ."), 1.0);
        assert_eq!(true_score("quiet ."), 0.0);
        let pair = ["great .", "fine ."];
        let wins = (0..4000).filter(|&i| preference("", pair, 1, i)["chosen"] == pair[0]);
        let share = wins.count() as f64 / 4000.0;
        let expected = 1.0 / (1.0 + (-1.5f64).exp());
        // Four standard errors.
        assert!((share - expected).abs() < 0.025, "{share}");
        assert_eq!(preference("", pair, 1, 7), preference("", pair, 1, 7));
    }
}
