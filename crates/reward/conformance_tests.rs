//! Conformance checks of every reward.

use crate::{Normalization, RewardModel, RewardTable, Rule, Rules, Token, Weighted};
use rlhf_lm::{
    ActivationCheckpointing, Backend, LoadOptions, OutputHeads, OutputVocabulary, Tokenizer,
};
use rlhf_objective::{Finish, Prompt, Response, Reward, Sequences, conformance};
use rlhf_tensor::{Rng, Storage, Stream};
use std::collections::BTreeMap;
use std::path::Path;

/// Responses with text, with and without an EOS, to shared prompts.
fn batch() -> Sequences {
    let prompts = [&[1, 2][..], &[3]].map(|ids| Prompt::from_ids(ids.to_vec()));
    let answers = [
        (0, &[4, 2, 0][..], "good good", Finish::Eos),
        (1, &[5], "bad", Finish::Length),
        (0, &[2, 2, 2], "so so", Finish::Length),
        (1, &[0], "", Finish::Eos),
    ];
    let answers = answers.map(|(prompt, ids, text, finish)| Response {
        prompt,
        ids: ids.to_vec(),
        text: text.into(),
        finish,
    });
    Sequences::new(prompts.to_vec(), answers.to_vec()).unwrap()
}

#[test]
fn every_rule_passes_the_conformance_checks() {
    let words = BTreeMap::from([("good".into(), 1.0), ("bad".into(), -2.0)]);
    let lexicon = Rule::Lexicon { file: None, words };
    let rules = [
        Rule::TokenShare {
            token: Token::Id(2),
        },
        Rule::Contains {
            text: "good".into(),
        },
        Rule::Regex {
            pattern: "^s".into(),
        },
        Rule::Length { per_token: -0.25 },
        lexicon.clone(),
        Rule::Sum {
            rules: vec![
                Weighted {
                    weight: 2.0,
                    rule: lexicon.clone(),
                },
                Weighted {
                    weight: -1.0,
                    rule: Rule::Length { per_token: 1.0 },
                },
            ],
        },
        Rule::MissingEos {
            penalty: 1.5,
            rule: Box::new(lexicon),
        },
    ];
    let bare = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::load(bare.path(), 6).unwrap();
    for rule in rules {
        let mut reward = Rules::new(&rule, &tokenizer).unwrap();
        conformance::reward(&mut reward, &batch()).unwrap();
    }
}

#[test]
fn a_table_passes_the_conformance_checks() {
    let s = batch();
    let rows = s.responses().iter().zip([0.5f32, -1.0, 2.0, 0.0]);
    let mut table = RewardTable::new(rows.map(|(y, r)| (y.ids.clone(), r)));
    conformance::reward(&mut table, &s).unwrap();
}

/// A random reward model in `folder`.
fn model(folder: &Path) {
    let config = r#"{"model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 8,
        "n_layer": 1, "n_head": 2}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    let language = folder.join("language");
    rlhf_lm::init(&folder.join("config.json"), 3, &language).unwrap();
    let options = LoadOptions {
        storage: Storage::Trainable,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Score,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend: Backend::F32,
    };
    let mut model = rlhf_lm::load(&language, &options).unwrap();
    let mut rng = Rng::new(4, Stream::Init, 0, 0);
    let head: Vec<f32> = (0..8).map(|_| rng.normal() as f32).collect();
    model.parameter_sets_mut()[0]
        .set_weights("score.weight", &head)
        .unwrap();
    model.save(&folder.join("reward")).unwrap();
}

#[test]
fn a_reward_model_passes_the_conformance_checks() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let reward = folder.path().join("reward");
    let mut raw = RewardModel::load(&reward, Backend::F32).unwrap();
    conformance::reward(&mut raw, &batch()).unwrap();
    let scores = raw.raw_scores(&batch()).unwrap();
    assert!(scores.iter().any(|x| *x != scores[0]), "{scores:?}");
    let scale = Normalization {
        gain: 2.0,
        bias: 0.5,
    };
    std::fs::write(Normalization::path(&reward), scale.to_json()).unwrap();
    let mut scaled = RewardModel::load(&reward, Backend::F32).unwrap();
    conformance::reward(&mut scaled, &batch()).unwrap();
    let found = scaled.score(&batch()).unwrap().to_vec().unwrap();
    for (found, raw) in found.iter().zip(&scores) {
        assert!((found - (2.0 * raw + 0.5)).abs() < 1e-6, "{found} of {raw}");
    }
}
