//! Tests of gradients and optimizer steps.

use crate::{AdamW, ParameterSpec, Parameters, Storage};

#[test]
fn pair_mut_returns_both_gradients_in_the_order_given() {
    let specs = vec![
        ParameterSpec::matrix("a", &[3, 5]),
        ParameterSpec::undecayed("b", &[7]),
    ];
    let mut p = Parameters::new(specs, Storage::Trainable);
    let (a, b) = (p.id("a").unwrap(), p.id("b").unwrap());
    let mut gradients = p.gradients_mut();
    let [of_b, of_a] = gradients.pair_mut(b, a).unwrap().host();
    of_a.fill(1.0);
    of_b.fill(2.0);
    assert_eq!(p.gradient(a).unwrap(), [1.0; 15]);
    assert_eq!(p.gradient(b).unwrap(), [2.0; 7]);
}

/// A frozen base parameter and trained ones in the same table.
#[test]
fn only_trainable_parameters_have_gradients_and_are_updated() {
    let specs = |base: ParameterSpec| {
        vec![
            ParameterSpec::matrix("a", &[3, 5]),
            base,
            ParameterSpec::undecayed("c", &[20]),
        ]
    };
    let base = ParameterSpec::matrix("b", &[7]);
    let step = |base: ParameterSpec| {
        let mut p = Parameters::new(specs(base), Storage::Trainable);
        let ids: Vec<_> = p.ids().collect();
        for id in &ids {
            p.weights_mut(*id).fill(1.0);
            if let Some(gradient) = p.gradients_mut().slice_mut(*id) {
                gradient.host().fill(1.0 + id.index() as f32);
            }
        }
        let (trained, norm) = (
            ids.iter()
                .map(|id| p.moments_to_host(*id).map_or(0, |[first, _]| first.len()))
                .sum(),
            p.gradient_norm(),
        );
        p.adamw_step(&AdamW::default(), 0.1, 1.0);
        (p, trained, norm)
    };
    let (all, count, norm) = step(base.clone());
    assert_eq!(
        (count, norm),
        (42usize, (15.0f64 + 4.0 * 7.0 + 9.0 * 20.0).sqrt())
    );
    let (mut some, count, norm) = step(base.clone().frozen());
    assert_eq!((count, norm), (35usize, (15.0f64 + 9.0 * 20.0).sqrt()));
    for name in ["a", "c"] {
        let id = all.id(name).unwrap();
        assert!(some.spec(id).trainable && some.weights().get(id)[0] < 1.0);
        assert_eq!(some.weights().get(id), all.weights().get(id));
    }
    let b = some.id("b").unwrap();
    assert_eq!(some.weights().get(b), [1.0; 7]);
    assert!(!some.spec(b).trainable && some.gradient(b).is_none());
    assert!(some.gradients_mut().slice_mut(b).is_none());
    assert!(some.moments_to_host(b).is_none() && some.gradient_to_host(b).is_none());
    // Under frozen storage nothing is trained, whatever the specs say.
    let frozen = Parameters::new(specs(base), Storage::Frozen);
    assert!(frozen.specs().all(|spec| !spec.trainable));
}

#[test]
#[should_panic(expected = "only one of `a` and `b` is trained")]
fn pair_mut_panics_if_only_one_of_the_two_is_trained() {
    let specs = vec![
        ParameterSpec::matrix("a", &[3]),
        ParameterSpec::matrix("b", &[3]).frozen(),
    ];
    let mut p = Parameters::new(specs, Storage::Trainable);
    let (a, b) = (p.id("a").unwrap(), p.id("b").unwrap());
    let _ = p.gradients_mut().pair_mut(a, b);
}
