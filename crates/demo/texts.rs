//! The inputs that the demo is made from: texts of the grammar, a tokenizer and a model configuration.

use crate::grammar;
use rlhf_tensor::{Rng, Stream};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The EOS token; its id is 0.
const EOS: &str = "<|endoftext|>";
/// The greatest number of tokens of a prompt and its response.
const CONTEXT: usize = 48;

/// The numbers of prompts in `prompts`, `held_out`, `pairs` and `held_out_pairs` of [`Texts`].
const PROMPTS: [usize; 4] = [1000, 128, 6000, 600];

/// Texts sampled from the grammar. No prompt is in two of the lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// Reviews to train the language model on.
    pub reviews: Vec<String>,
    /// Prompts to train the policy on.
    pub prompts: Vec<String>,
    /// Prompts to measure on.
    pub held_out: Vec<String>,
    /// Prompts of the preference pairs.
    pub pairs: Vec<String>,
    /// Prompts of the held-out pairs.
    pub held_out_pairs: Vec<String>,
}

impl Texts {
    /// Samples `reviews` reviews and all prompts.
    #[must_use]
    pub fn generate(seed: u64, reviews: usize) -> Self {
        let review = |i| grammar::review(&mut Rng::new(seed, Stream::Data, 0, i as u64));
        let mut seen = BTreeSet::new();
        let mut fresh = (0..)
            .map(|i| grammar::prompt(&mut Rng::new(seed, Stream::Data, 1, i)))
            .filter(|prompt| seen.insert(prompt.clone()));
        let [prompts, held_out, pairs, held_out_pairs] =
            PROMPTS.map(|count| fresh.by_ref().take(count).collect());
        Self {
            reviews: (0..reviews).map(review).collect(),
            prompts,
            held_out,
            pairs,
            held_out_pairs,
        }
    }
}

/// The words with a value other than 0: on each line a word, a tab and its value.
#[must_use]
pub fn lexicon() -> String {
    grammar::rated()
        .map(|(word, value)| format!("{word}\t{value}\n"))
        .collect()
}

/// The `tokenizer.json` of the demo: one token per word.
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

/// The `config.json` of a GPT-2 that is trained on the reviews in a minute.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_token_and_every_review_fits() {
        let texts = Texts::generate(3, 2000);
        let tokenizer = tokenizer();
        let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
        let size = model_config()["vocab_size"].as_u64().unwrap();
        assert_eq!(vocab.len() as u64, size);
        let prompts = [&texts.prompts, &texts.held_out, &texts.pairs];
        for text in prompts.into_iter().flatten().chain(&texts.reviews) {
            let known = text.split(' ').all(|word| vocab.contains_key(word));
            assert!(known, "{text}");
            assert!(text.split(' ').count() < CONTEXT, "{text}");
        }
        assert_eq!(texts, Texts::generate(3, 2000));
        assert_ne!(texts, Texts::generate(4, 2000));
    }

    #[test]
    fn no_prompt_is_in_two_lists() {
        let texts = Texts::generate(1, 0);
        let parts = [
            &texts.prompts,
            &texts.held_out,
            &texts.pairs,
            &texts.held_out_pairs,
        ];
        let all: BTreeSet<_> = parts.into_iter().flatten().collect();
        assert_eq!(all.len(), PROMPTS.iter().sum::<usize>());
    }
}
