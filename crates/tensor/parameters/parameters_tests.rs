//! Tests of the layout, the storage in bf16 and the checksum.

use super::*;
use crate::{AdamW, Stream};
use rlhf_device::Memory;

fn parameters(storage: Storage) -> Parameters {
    let specs = vec![
        ParameterSpec::matrix("a", &[3, 5]),
        ParameterSpec::undecayed("b", &[7]),
    ];
    let mut parameters = Parameters::new(specs, storage);
    let mut rng = Rng::new(1, Stream::Init, 0, 0);
    parameters.initialize("a", Init::Normal { std: 1.0 }, &mut rng);
    parameters.initialize("b", Init::Constant(0.5), &mut rng);
    parameters
}

#[test]
fn parameters_are_aligned_and_found_by_name() {
    let mut p = parameters(Storage::Frozen);
    assert_eq!(p.count(), 22);
    let b = p.id("b").unwrap();
    assert_eq!(p.weights().get(b), [0.5; 7]);
    assert_eq!(p.weights().slice(b).range().start % ALIGN, 0);
    p.set("b", &[1.0; 7]).unwrap();
    assert_eq!(p.weights().get(b), [1.0; 7]);
    assert!(matches!(p.set("c", &[]), Err(Error::UnknownParameter(_))));
    assert!(
        p.set("b", &[1.0])
            .unwrap_err()
            .to_string()
            .contains("`b` has shape [7]")
    );
    assert!(p.moments_to_host(b).is_none());
}

#[test]
fn only_matrices_are_rounded_to_bf16() {
    let specs = |n: usize| {
        vec![
            ParameterSpec::matrix("a", &[n, 5]).may_round(),
            ParameterSpec::undecayed("b", &[7]),
            ParameterSpec::undecayed("c", &[2, 3]).may_round(),
        ]
    };
    let n = 501;
    let mut in_bf16 = Parameters::new(specs(n), Storage::FrozenBf16);
    let mut in_f32 = Parameters::new(specs(n), Storage::Frozen);
    assert_eq!(in_bf16.storage(), Storage::FrozenBf16);
    assert!(
        !in_bf16.storage().is_trainable()
            && in_bf16.gradient_to_host(in_bf16.id("a").unwrap()).is_none()
    );
    let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    for (name, n) in [("a", 5 * n), ("b", 7), ("c", 6)] {
        in_bf16.set(name, &values(n)).unwrap();
        in_f32.set(name, &values(n)).unwrap();
    }
    assert_eq!(in_bf16.count(), in_f32.count());
    assert_ne!(in_bf16.checksum(), in_f32.checksum());
    // Matrices are rounded, the rest is not.
    for id in in_bf16.ids() {
        let name = &in_bf16.spec(id).name;
        assert_eq!(in_bf16.dtype(id) == Dtype::Bf16, name != "b");
        let got = in_bf16.to_host(id);
        let rounded = in_f32.weights().get(id).iter();
        let rounded = rounded.map(|x| half::bf16::from_f32(*x).to_f32());
        assert_eq!(got == in_f32.weights().get(id), name == "b");
        if name != "b" {
            assert_eq!(got, rounded.collect::<Vec<_>>());
        }
        // The checksum is equal for equal weights of either type.
        in_f32.set(name, &got).unwrap();
    }
    assert_eq!(in_bf16.checksum(), in_f32.checksum());
    let last = in_bf16.id("a").unwrap();
    in_bf16.write(last, 5 * n - 1, &[9.0]);
    assert_ne!(in_bf16.checksum(), in_f32.checksum());
}

#[test]
#[should_panic(expected = "`a` is stored in bf16")]
fn reading_bf16_weights_as_f32_panics() {
    let specs = vec![ParameterSpec::matrix("a", &[3, 5]).may_round()];
    let parameters = Parameters::new(specs, Storage::FrozenBf16);
    let id = parameters.id("a").unwrap();
    let _ = parameters.weights().get(id);
}

#[test]
fn checksum_and_version_change_with_any_weight() {
    let mut p = parameters(Storage::Trainable);
    let before = p.checksum();
    assert_eq!(before, parameters(Storage::Frozen).checksum());
    let (a, version) = (p.id("a").unwrap(), p.version());
    p.weights_mut(a)[14] += 1e-6;
    assert_ne!(before, p.checksum());
    assert_ne!(version, p.version());
    let version = p.version();
    p.adamw_step(&AdamW::default(), 0.0, 1.0);
    assert_ne!(version, p.version());
}

/// Two matrices of odd sizes, read and added to as one.
#[test]
fn adjoining_parameters_are_read_as_one() {
    for storage in [Storage::Trainable, Storage::FrozenBf16] {
        let specs = vec![
            ParameterSpec::undecayed("before", &[3]),
            ParameterSpec::matrix("a", &[3, 5]).may_round(),
            ParameterSpec::matrix("b", &[2, 5]).may_round().adjoining(),
            ParameterSpec::undecayed("after", &[3]),
        ];
        let mut p = Parameters::new(specs, storage);
        let ids = ["a", "b"].map(|name| p.id(name).unwrap());
        let values: Vec<f32> = (0..25).map(|i| i as f32).collect();
        p.set("a", &values[..15]).unwrap();
        p.set("b", &values[15..]).unwrap();
        let joined = p.weights().joined(&ids);
        assert_eq!(p.device().to_host(joined), values);
        assert!(p.to_host(p.id("after").unwrap()).iter().all(|x| *x == 0.0));
        if storage.is_trainable() {
            let mut gradients = p.gradients_mut();
            let all = gradients.joined_mut(&ids).unwrap();
            all.host().copy_from_slice(&values);
            assert_eq!(p.gradient(ids[0]).unwrap(), &values[..15]);
            assert_eq!(p.gradient(ids[1]).unwrap(), &values[15..]);
        }
    }
}

#[test]
#[should_panic(expected = "`a` and `b` do not adjoin")]
fn parameters_apart_are_not_joined() {
    let specs = ["a", "b"].map(|name| ParameterSpec::matrix(name, &[3, 5]));
    let p = Parameters::new(specs.to_vec(), Storage::Frozen);
    let ids = ["a", "b"].map(|name| p.id(name).unwrap());
    let _ = p.weights().joined(&ids);
}
