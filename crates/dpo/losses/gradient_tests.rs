//! Properties of every loss: gradients against finite differences, finite values at extreme margins,
//! and symmetry under swapping the responses.

use super::value_tests::*;
use super::*;
use rlhf_tensor::{Device, Var};

/// Every loss, and DPO with each divergence.
fn all() -> Vec<(Preference, Divergence)> {
    use Preference::*;
    let losses = [
        DPO,
        SMOOTHED,
        ROBUST,
        Hinge,
        Ipo,
        IpoNormalized,
        Exo { label_smoothing: E },
        Nca,
        Bco,
        Sppo,
        Aot { label_smoothing: E },
        ApoZero,
        ApoDown,
        DISCOPOP,
        SIMPO,
        ORPO,
    ];
    let divergences = [Divergence::ForwardKl, Divergence::JensenShannon, ALPHA];
    let mut all: Vec<_> = losses.into_iter().map(|loss| (loss, REVERSE)).collect();
    all.extend(divergences.map(|divergence| (DPO, divergence)));
    all
}

#[test]
fn gradients_match_finite_differences() {
    let step = 1e-5;
    for (preference, divergence) in all() {
        for margin in [-50.0, -1.0, 0.0, 1.0, 50.0] {
            // The hinge is not differentiable at margin 1.
            if preference == Preference::Hinge && margin == 1.0 {
                continue;
            }
            let beta = 0.1;
            let clamped = divergence != REVERSE && margin < -1.0;
            // The divergences clamp e^500; see `extreme_margins_stay_finite_in_f32`.
            let log_ratio = if clamped { margin } else { margin / beta };
            let pair = Pair::of(beta, -0.7 + log_ratio, -0.7);
            let (loss, chosen, rejected) = at(preference, divergence, pair);
            assert!(loss.is_finite(), "{preference:?} {divergence:?} {margin}");
            for (side, slope) in [chosen, rejected].into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut pair = pair;
                    pair.ratios[side] += by;
                    pair.log_probs[side] += by;
                    at(preference, divergence, pair).0
                };
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                // The rounding error of the difference for a loss of this size.
                let rounding = 1e-15 * loss.abs().max(1.0) / step;
                let error = (slope - difference).abs();
                assert!(
                    error < 1e-6 * slope.abs() + 10.0 * rounding,
                    "{preference:?} {divergence:?} {margin}: {slope} against {difference}"
                );
            }
        }
    }
}

#[test]
fn extreme_margins_stay_finite_in_f32() {
    for (preference, divergence) in all() {
        for (chosen, rejected) in [
            (1e15f32, -1e15f32),
            (-1e15, 1e15),
            (400.0, -400.0),
            (0.0, 0.0),
        ] {
            let log_ratios = [chosen, rejected].map(|x| Var::new(&[x], &Device::Cpu).unwrap());
            let sides = [0, 1].map(|side: usize| PairSide {
                implicit_rewards: divergence
                    .implicit_rewards(
                        &log_ratios[side],
                        &log_ratios[side].zeros_like().unwrap(),
                        0.1,
                    )
                    .unwrap(),
                log_probs: log_ratios[side]
                    .neg()
                    .unwrap()
                    .abs()
                    .unwrap()
                    .neg()
                    .unwrap(),
                lengths: Tensor::new(&[3f32], &Device::Cpu).unwrap(),
            });
            let loss = preference.losses(0.1, &sides[0], &sides[1]).unwrap();
            let gradients = loss.backward().unwrap();
            let number = |t: &Tensor| t.to_vec1::<f32>().unwrap()[0];
            assert!(
                number(&loss).is_finite(),
                "{preference:?} {divergence:?} {chosen}"
            );
            for var in &log_ratios {
                let slope = gradients.get(var).map_or(0.0, number);
                assert!(slope.is_finite(), "{preference:?} {divergence:?} {chosen}");
            }
        }
    }
}

/// Exact values at the prior, where every run starts.
#[test]
fn values_where_the_policy_equals_the_prior() {
    for log_ratio in [0.0, -3.5] {
        let pair = Pair::of(0.1, log_ratio, log_ratio);
        assert_eq!(at(DPO, REVERSE, pair), (2f64.ln(), -0.05, 0.05));
        // IPO starts at 1/(4β²), and a larger β has a smaller target margin.
        close(at(Preference::Ipo, REVERSE, pair).0, 25.0, "ipo");
    }
    let slope = |beta| at(Preference::Ipo, REVERSE, Pair::of(beta, 1.0, 0.0)).1;
    assert!(slope(0.4) < 0.0 && slope(0.5) == 0.0 && slope(0.6) > 0.0);
}

/// Swapping the responses equals flipping the label; losses of the margin have opposite gradients
/// for the two responses.
#[test]
fn losses_are_symmetric_under_swapping_the_responses() {
    let flipped = Preference::Sigmoid {
        label_smoothing: 1.0 - E,
    };
    let robust = Preference::Robust {
        label_smoothing: 1.0 - E,
    };
    for (c, r) in [(2.0, -1.0), (-7.0, 3.0), (0.0, 0.0)] {
        let (pair, swapped) = (Pair::of(0.3, c, r), Pair::of(0.3, r, c));
        for (loss, other) in [(SMOOTHED, flipped), (ROBUST, robust)] {
            let (a, b) = (at(loss, REVERSE, pair), at(other, REVERSE, swapped));
            close(a.0, b.0, "swapped");
            assert!((a.1 - b.2).abs() < 1e-14 && (a.2 - b.1).abs() < 1e-14);
        }
        let exo = Preference::Exo { label_smoothing: E };
        for loss in [
            DPO,
            SMOOTHED,
            ROBUST,
            Preference::Hinge,
            Preference::Ipo,
            exo,
            DISCOPOP,
        ] {
            let (_, c, r) = at(loss, REVERSE, pair);
            assert!((c + r).abs() < 1e-13, "{loss:?}");
        }
    }
}

/// Discopop's slope is positive around h = 0: there it lowers the chosen response.
#[test]
fn discopop_lowers_the_chosen_response_near_the_prior() {
    let slope = |h: f64| at(DISCOPOP, REVERSE, Pair::of(1.0, h, 0.0)).1;
    // 1/(4τ)·(1 − log 2) − ¾.
    close(slope(0.0), 5.0 * (1.0 - 2f64.ln()) - 0.75, "at the prior");
    for h in [-0.117, 0.0, 0.071] {
        assert!(slope(h) > 0.0, "{h}");
    }
    for h in [-0.119, 0.073, 1.0, -1.0] {
        assert!(slope(h) < 0.0, "{h}");
    }
}
