//! The files of the demo, embedded in the program.

/// The seed with which the files were made.
pub const SEED: u64 = 1;

macro_rules! shipped {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("world/", $path)))),*]
    };
}

/// The path and content of each file of the demo: `model`, which writes reviews, and the `reward` model,
/// both in Hugging Face format; `reviews`, some of the model's training texts; `prompts` to train on and
/// `held_out` prompts to measure on; preference `pairs`, and held-out ones; `demonstrations`, responses
/// with a high true score; and the `lexicon` of the true score.
pub const FILES: &[(&str, &[u8])] = shipped! {
    "model/config.json"
    "model/model.safetensors"
    "model/tokenizer.json"
    "reward/config.json"
    "reward/model.safetensors"
    "reward/tokenizer.json"
    "reward/reward.json"
    "reviews.jsonl"
    "prompts.jsonl"
    "held_out.jsonl"
    "pairs.jsonl"
    "held_out_pairs.jsonl"
    "demonstrations.jsonl"
    "lexicon.txt"
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Texts, lexicon, preference, tokenizer, true_score};
    use serde_json::Value;

    fn text(path: &str) -> &'static str {
        let (_, bytes) = FILES.iter().find(|(name, _)| *name == path).unwrap();
        std::str::from_utf8(bytes).unwrap()
    }

    fn rows(path: &str) -> Vec<Value> {
        let lines = text(path).lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn field<'a>(row: &'a Value, name: &str) -> &'a str {
        row[name].as_str().unwrap()
    }

    /// The files that no model takes part in are reproduced to the byte.
    #[test]
    fn generated_files_match_the_seed() {
        let texts = Texts::generate(SEED, rows("reviews.jsonl").len());
        for (path, key, expected) in [
            ("reviews.jsonl", "text", &texts.reviews),
            ("prompts.jsonl", "prompt", &texts.prompts),
            ("held_out.jsonl", "prompt", &texts.held_out),
        ] {
            let rows = rows(path);
            let found: Vec<&str> = rows.iter().map(|row| field(row, key)).collect();
            assert_eq!(&found, expected, "{path}");
        }
        assert_eq!(text("lexicon.txt"), lexicon());
        for path in ["model/tokenizer.json", "reward/tokenizer.json"] {
            let found: Value = serde_json::from_str(text(path)).unwrap();
            assert_eq!(found, tokenizer(), "{path}");
        }
    }

    #[test]
    fn labels_are_drawn_from_the_true_score() {
        let mut right = 0;
        for (part, path) in [(0, "held_out_pairs.jsonl"), (1, "pairs.jsonl")] {
            let rows = rows(path);
            assert!(rows.len() > 500, "{path}: {}", rows.len());
            for (index, row) in rows.iter().enumerate() {
                let prompt = field(row, "prompt");
                let pair = [field(row, "chosen"), field(row, "rejected")];
                let index = part * 1_000_000 + index as u64;
                // One of the two orders of the responses reproduces the row.
                let orders = [pair, [pair[1], pair[0]]];
                let drawn = orders.map(|order| preference(prompt, order, SEED, index));
                assert!(drawn.contains(row), "{path}:{index}");
                right += usize::from(true_score(pair[0]) > true_score(pair[1]));
            }
        }
        let all = rows("pairs.jsonl").len() + rows("held_out_pairs.jsonl").len();
        let share = right as f64 / all as f64;
        assert!((0.65..0.9).contains(&share), "{share}");
    }

    #[test]
    fn the_demo_is_at_most_3_mb() {
        let size: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size <= 3_000_000, "{size} bytes");
    }
}
