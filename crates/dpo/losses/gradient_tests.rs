//! What every loss must have: slopes that are its own, numbers at the ends, symmetries.

use super::table::*;
use super::*;
use rlhf_tensor::{Device, Var};

/// Each with its divergences.
fn all() -> Vec<(Preference, Divergence)> {
    use Preference::*;
    let plain = [
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
    let others = [Divergence::ForwardKl, Divergence::JensenShannon, ALPHA];
    let mut all: Vec<_> = plain.into_iter().map(|loss| (loss, REVERSE)).collect();
    all.extend(others.map(|divergence| (DPO, divergence)));
    all
}

#[test]
fn slopes_agree_with_finite_differences() {
    let step = 1e-5;
    for (preference, divergence) in all() {
        for margin in [-50.0, -1.0, 0.0, 1.0, 50.0] {
            // The hinge has no slope at its bend.
            if preference == Preference::Hinge && margin == 1.0 {
                continue;
            }
            let beta = 0.1;
            let far = divergence != REVERSE && margin < -1.0;
            // e^500 is no number: what is cut has slope 0, see below.
            let middle = if far { margin } else { margin / beta };
            let pair = Pair::of(beta, -0.7 + middle, -0.7);
            let (loss, better, worse) = at(preference, divergence, pair);
            assert!(loss.is_finite(), "{preference:?} {divergence:?} {margin}");
            for (side, slope) in [better, worse].into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut pair = pair;
                    pair.ratios[side] += by;
                    pair.log_probs[side] += by;
                    at(preference, divergence, pair).0
                };
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                // What rounding a loss of this size makes of the difference.
                let rounding = 1e-15 * loss.abs().max(1.0) / step;
                let wrong = (slope - difference).abs();
                assert!(
                    wrong < 1e-6 * slope.abs() + 10.0 * rounding,
                    "{preference:?} {divergence:?} {margin}: {slope} against {difference}"
                );
            }
        }
    }
}

#[test]
fn extreme_margins_stay_finite_in_f32() {
    for (preference, divergence) in all() {
        for (better, worse) in [
            (1e15f32, -1e15f32),
            (-1e15, 1e15),
            (400.0, -400.0),
            (0.0, 0.0),
        ] {
            let moves = [better, worse].map(|x| Var::new(&[x], &Device::Cpu).unwrap());
            let answers = [0, 1].map(|side: usize| Answers {
                implicit: divergence
                    .implicit(&moves[side], &moves[side].zeros_like().unwrap(), 0.1)
                    .unwrap(),
                log_probs: moves[side].neg().unwrap().abs().unwrap().neg().unwrap(),
                tokens: Tensor::new(&[3f32], &Device::Cpu).unwrap(),
            });
            let loss = preference.losses(0.1, &answers[0], &answers[1]).unwrap();
            let gradients = loss.backward().unwrap();
            let number = |t: &Tensor| t.to_vec1::<f32>().unwrap()[0];
            assert!(
                number(&loss).is_finite(),
                "{preference:?} {divergence:?} {better}"
            );
            for var in &moves {
                let slope = gradients.get(var).map_or(0.0, number);
                assert!(slope.is_finite(), "{preference:?} {divergence:?} {better}");
            }
        }
    }
}

/// Where the policy is the prior: exactly, because this is where every run begins.
#[test]
fn at_the_prior() {
    for log_ratio in [0.0, -3.5] {
        let pair = Pair::of(0.1, log_ratio, log_ratio);
        assert_eq!(at(DPO, REVERSE, pair), (2f64.ln(), -0.05, 0.05));
        // IPO begins at 1/(4β²), and a greater β asks for a smaller margin.
        close(at(Preference::Ipo, REVERSE, pair).0, 25.0, "ipo");
    }
    let slope = |beta| at(Preference::Ipo, REVERSE, Pair::of(beta, 1.0, 0.0)).1;
    assert!(slope(0.4) < 0.0 && slope(0.5) == 0.0 && slope(0.6) > 0.0);
}

/// Exchanging the answers exchanges the labels; a loss of the difference pulls both alike.
#[test]
fn symmetries() {
    let flipped = Preference::Sigmoid {
        label_smoothing: 1.0 - E,
    };
    let robust = Preference::Robust {
        label_smoothing: 1.0 - E,
    };
    for (c, r) in [(2.0, -1.0), (-7.0, 3.0), (0.0, 0.0)] {
        let (here, there) = (Pair::of(0.3, c, r), Pair::of(0.3, r, c));
        for (loss, other) in [(SMOOTHED, flipped), (ROBUST, robust)] {
            let (a, b) = (at(loss, REVERSE, here), at(other, REVERSE, there));
            close(a.0, b.0, "exchanged");
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
            let (_, c, r) = at(loss, REVERSE, here);
            assert!((c + r).abs() < 1e-13, "{loss:?}");
        }
    }
}

/// Discopop's slope is positive around 0: there it pushes the better answer down.
#[test]
fn discopop_begins_downhill_the_wrong_way() {
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
