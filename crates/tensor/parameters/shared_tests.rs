//! Tests of weights that several tables share.

use crate::{AdamW, Error, ParameterSpec, Parameters, SharedWeights, Storage};
use rlhf_device::Memory;
use std::sync::Arc;

fn base(storage: Storage) -> Arc<SharedWeights> {
    let specs = vec![
        ParameterSpec::matrix("a", &[3, 5]).may_round(),
        ParameterSpec::matrix("b", &[2, 5]).may_round().adjoining(),
        ParameterSpec::undecayed("c", &[7]),
    ];
    let mut base = Parameters::new(specs, storage);
    let values: Vec<f32> = (0..15).map(|i| i as f32).collect();
    base.set("a", &values).unwrap();
    base.set("b", &values[..10]).unwrap();
    base.set("c", &values[..7]).unwrap();
    base.into_shared()
}

fn adapted(base: &Arc<SharedWeights>) -> Parameters {
    let mut all = Parameters::over(
        base,
        vec![ParameterSpec::matrix("adapter", &[4])],
        Storage::Trainable,
    );
    all.set("adapter", &[1.0; 4]).unwrap();
    all
}

#[test]
fn a_table_over_shared_weights_reads_both_and_trains_its_own() {
    for storage in [Storage::Frozen, Storage::FrozenBf16] {
        let base = base(storage);
        let (mut policy, prior) = (
            adapted(&base),
            Parameters::over(&base, vec![], Storage::Frozen),
        );
        assert_eq!((policy.count(), prior.count()), (36, 32));
        let before = prior.checksum();
        let id = |name| policy.id(name).unwrap();
        let (a, b, adapter) = (id("a"), id("b"), id("adapter"));
        for table in [&policy, &prior] {
            assert_eq!(table.to_host(b)[9], 9.0);
            let joined = table.weights().joined(&[a, b]);
            let joined = table.device().to_host(joined);
            assert_eq!((joined.len(), joined[14], joined[15]), (25, 14.0, 0.0));
        }
        let mut gradients = policy.gradients_mut();
        assert!(gradients.slice_mut(a).is_none() && gradients.joined_mut(&[a, b]).is_none());
        gradients.get_mut(adapter).fill(1.0);
        assert_eq!(policy.gradient_norm(), 2.0);
        policy.adamw_step(&AdamW::default(), 0.1, 1.0);
        assert!(policy.weights().get(adapter).iter().all(|x| *x < 1.0));
        assert_eq!(policy.to_host(a), prior.to_host(a));
        assert_eq!(prior.checksum(), before);
    }
}

#[test]
fn shared_weights_cannot_be_set() {
    let mut policy = adapted(&base(Storage::Frozen));
    let error = policy.set("c", &[0.0; 7]).unwrap_err();
    assert!(matches!(error, Error::Shared(name) if name == "c"));
}

#[test]
#[should_panic(expected = "`c` is shared and cannot be written")]
fn writing_shared_weights_panics() {
    let mut policy = adapted(&base(Storage::Frozen));
    let c = policy.id("c").unwrap();
    policy.weights_mut(c);
}
