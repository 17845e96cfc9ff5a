//! Parameters that are not trained, in one table with those that are.

use super::tests::{Transformer, batch, config, gradients, parameters};
use crate::{OutputHeads, testing};
use rlhf_device::Precision;
use rlhf_objective::{Network, OutputSpec};
use rlhf_tensor::{AdamW, Parameters, Storage};
use serde_json::json;

const HEADS: OutputHeads = OutputHeads::LanguageAndValue;

/// A network of which the parameters with such names are frozen.
fn network(frozen: &dyn Fn(&str) -> bool) -> Transformer {
    let config = config(&json!({}));
    let all = parameters(&config, HEADS);
    let specs = all.specs().cloned().map(|spec| match frozen(&spec.name) {
        true => spec.frozen(),
        false => spec,
    });
    let mut some = Parameters::new(specs.collect(), Storage::Trainable);
    for id in all.ids() {
        some.write(id, 0, all.weights().get(id));
    }
    Transformer::new(&config, some, HEADS, 1.0, Precision::F32)
}

/// Embeddings, layers, norms, the heads, and everything but one bias.
#[test]
fn what_is_frozen_has_no_gradient_and_the_others_have_theirs() {
    let learn = |network: &mut Transformer| {
        let s = batch(61, 3);
        let outputs = network
            .forward(&s, OutputSpec::TRAIN.with_entropy())
            .unwrap();
        network.backward(&gradients(s.tokens(), &outputs)).unwrap();
    };
    let mut all = network(&|_| false);
    learn(&mut all);
    let parts: [&dyn Fn(&str) -> bool; 6] = [
        &|name| name.contains("wte"),
        &|name| name.contains("wpe") || name.contains("c_attn"),
        &|name| name.contains("ln_"),
        &|name| name.contains("v_head") || name.contains("c_fc.weight"),
        &|name| name.contains(".h."),
        &|name| name != "transformer.h.0.mlp.c_fc.bias",
    ];
    for frozen in parts {
        let mut some = network(frozen);
        learn(&mut some);
        let before: Vec<_> = testing::names(&some)
            .into_iter()
            .map(|name| (testing::weights(&some, &name), name))
            .collect();
        for (_, name) in &before {
            match testing::parameters(&some).gradient(name) {
                Ok(got) => assert_eq!(*got, testing::gradient(&all, name), "{name}"),
                Err(_) => assert!(frozen(name), "{name}"),
            }
        }
        some.optimizer_step(&AdamW::default(), 0.1, 1.0);
        for (before, name) in &before {
            let moved = testing::weights(&some, name) != *before;
            assert_eq!(moved, !frozen(name), "{name}");
        }
    }
}
