//! The score that the world is judged by, and the preferences that follow from it.

use crate::grammar;
use rlhf_tensor::{Rng, Stream};
use serde_json::{Value, json};

/// r(y): what the words of a response add up to. It does not look at the prompt.
#[must_use]
pub fn gold(response: &str) -> f64 {
    let value = |word| grammar::rated().find(|(known, _)| *known == word);
    let words = response.split_whitespace().filter_map(value);
    words.map(|(_, value)| value).sum()
}

/// A row of preference data: of two responses the one a judge chose, who prefers the first with
/// probability σ(r(y₁) − r(y₂)) (Bradley & Terry 1952). The draw is that of `seed` and `index`.
#[must_use]
pub fn preference(prompt: &str, responses: [&str; 2], seed: u64, index: u64) -> Value {
    let [first, second] = responses;
    let preferred = 1.0 / (1.0 + (gold(second) - gold(first)).exp());
    let drawn = Rng::new(seed, Stream::Data, 3, index).uniform();
    let (chosen, rejected) = match drawn < preferred {
        true => (first, second),
        false => (second, first),
    };
    json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_add_up_and_the_better_response_mostly_wins() {
        assert_eq!(gold("brilliant but the plot was dull ."), 1.0);
        assert_eq!(gold("quiet ."), 0.0);
        let pair = ["great .", "fine ."];
        let wins = (0..4000).filter(|&i| preference("", pair, 1, i)["chosen"] == pair[0]);
        let share = wins.count() as f64 / 4000.0;
        let expected = 1.0 / (1.0 + (-1.5f64).exp());
        // Four standard errors.
        assert!((share - expected).abs() < 0.025, "{share}");
        assert_eq!(preference("", pair, 1, 7), preference("", pair, 1, 7));
    }
}
