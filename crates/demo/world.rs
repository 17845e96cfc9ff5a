//! The files of the world.

use crate::grammar;
use rlhf_tensor::{Rng, Stream};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The token that ends a review; it has the id 0.
const EOS: &str = "<|endoftext|>";
/// The greatest number of tokens of a prompt and its response.
const CONTEXT: usize = 48;

/// Reviews to learn the language from, prompts to continue, and what a reward needs to judge them.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Texts for supervised fine-tuning.
    pub reviews: Vec<String>,
    /// Beginnings of reviews, without repetition.
    pub prompts: Vec<String>,
    /// The words that please or displease, and how much.
    pub lexicon: Vec<(&'static str, f64)>,
}

impl World {
    /// `reviews` texts drawn from the grammar.
    #[must_use]
    pub fn generate(seed: u64, reviews: usize) -> Self {
        let draw = |i| grammar::review(&mut Rng::new(seed, Stream::Data, 0, i as u64));
        let prompts = (0..400).map(|i| grammar::prompt(&mut Rng::new(seed, Stream::Data, 1, i)));
        let rated = grammar::ADJECTIVES
            .iter()
            .filter(|(_, value)| *value != 0.0);
        Self {
            reviews: (0..reviews).map(draw).collect(),
            prompts: prompts.collect::<BTreeSet<_>>().into_iter().collect(),
            lexicon: rated.copied().collect(),
        }
    }

    /// The `tokenizer.json` of the world: one token a word.
    #[must_use]
    pub fn tokenizer() -> Value {
        let words = std::iter::once(EOS).chain(grammar::words());
        let vocab: serde_json::Map<_, _> = words
            .enumerate()
            .map(|(id, word)| (word.to_string(), json!(id)))
            .collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [{
                "id": 0, "content": EOS, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }],
            "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null,
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": EOS},
        })
    }

    /// The `config.json` of a GPT-2 that learns this world in seconds.
    #[must_use]
    pub fn model_config() -> Value {
        json!({
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": 1 + grammar::words().len(),
            "n_positions": CONTEXT,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": null,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "tie_word_embeddings": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_word_has_a_token_and_every_review_fits() {
        let world = World::generate(3, 2000);
        let tokenizer = World::tokenizer();
        let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
        assert_eq!(
            vocab.len() as u64,
            World::model_config()["vocab_size"].as_u64().unwrap()
        );
        for text in world.reviews.iter().chain(&world.prompts) {
            assert!(
                text.split(' ').all(|word| vocab.contains_key(word)),
                "{text}"
            );
            assert!(text.split(' ').count() < CONTEXT, "{text}");
        }
        assert!(world.prompts.len() > 200, "{}", world.prompts.len());
        assert_eq!(world, World::generate(3, 2000));
        assert_ne!(world, World::generate(4, 2000));
    }

    /// The reward is worth learning: it takes many values and none dominates.
    #[test]
    fn the_lexicon_tells_reviews_apart() {
        let world = World::generate(3, 2000);
        let rated: BTreeMap<&str, f64> = world.lexicon.iter().copied().collect();
        let score = |text: &String| {
            text.split(' ')
                .filter_map(|word| rated.get(word))
                .sum::<f64>()
        };
        let scores: Vec<f64> = world.reviews.iter().map(score).collect();
        let mut counts = BTreeMap::new();
        for score in &scores {
            *counts.entry((score * 2.0) as i64).or_insert(0usize) += 1;
        }
        assert!(counts.len() >= 20, "{counts:?}");
        assert!(counts.values().all(|count| *count < 600), "{counts:?}");
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        assert!(mean.abs() < 0.3, "{mean}");
    }
}
