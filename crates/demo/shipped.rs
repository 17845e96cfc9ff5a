//! The files of the world, inside the program.

/// The seed of everything random in the making of the files.
pub const SEED: u64 = 1;

macro_rules! shipped {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("world/", $path)))),*]
    };
}

/// Each file of the world, and what is in it:
/// a model that writes reviews and a reward model, each a folder in Hugging Face layout; `reviews`,
/// some of the texts the model learnt from; `prompts` to align on and `held_out` ones to measure on;
/// preference `pairs`, and those held out; `demonstrations`, responses that scored well; and the
/// `lexicon` of the gold score.
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
    use crate::{Texts, gold, lexicon, preference, tokenizer};
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

    /// What the generator decides alone is in the files, to the byte.
    #[test]
    fn the_files_are_those_of_the_seed() {
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

    /// The gold score has labelled the pairs, by the draws of the seed.
    #[test]
    fn the_labels_are_the_draws_of_the_gold_score() {
        let mut right = 0;
        for (part, path) in [(0, "held_out_pairs.jsonl"), (1, "pairs.jsonl")] {
            let rows = rows(path);
            assert!(rows.len() > 500, "{path}: {}", rows.len());
            for (index, row) in rows.iter().enumerate() {
                let prompt = field(row, "prompt");
                let pair = [field(row, "chosen"), field(row, "rejected")];
                let index = part * 1_000_000 + index as u64;
                // Of the two orders the one that was drawn gives the same row.
                let orders = [pair, [pair[1], pair[0]]];
                let drawn = orders.map(|order| preference(prompt, order, SEED, index));
                assert!(drawn.contains(row), "{path}:{index}");
                right += usize::from(gold(pair[0]) > gold(pair[1]));
            }
        }
        let all = rows("pairs.jsonl").len() + rows("held_out_pairs.jsonl").len();
        let share = right as f64 / all as f64;
        assert!((0.65..0.9).contains(&share), "{share}");
    }

    #[test]
    fn the_world_is_small() {
        let size: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size <= 3_000_000, "{size} bytes");
    }
}
