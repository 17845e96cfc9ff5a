//! Every loss at one point, its slopes everywhere, and where they come from.

use super::*;
use rlhf_tensor::{Device, Var};

const E: f64 = 0.1;
pub(super) const DPO: Preference = Preference::Sigmoid {
    label_smoothing: 0.0,
};
const SMOOTHED: Preference = Preference::Sigmoid { label_smoothing: E };
const ROBUST: Preference = Preference::Robust { label_smoothing: E };
const DISCOPOP: Preference = Preference::Discopop { temperature: 0.05 };
const SIMPO: Preference = Preference::Simpo { margin: 1.0 };
const ORPO: Preference = Preference::Orpo { weight: 0.1 };
const ALPHA: Divergence = Divergence::Alpha { alpha: 0.5 };
const REVERSE: Divergence = Divergence::ReverseKl;

/// One pair: the log-ratios of both answers, and their log-probs and lengths where a loss reads them.
#[derive(Clone, Copy)]
struct Pair {
    beta: f64,
    ratios: [f64; 2],
    log_probs: [f64; 2],
    tokens: [f64; 2],
}

impl Pair {
    fn of(beta: f64, better: f64, worse: f64) -> Self {
        Self {
            beta,
            ratios: [better, worse],
            log_probs: [-6.0, -10.0],
            tokens: [4.0, 5.0],
        }
    }
}

/// The loss and its derivatives with respect to what moves, in f64: the log-ratios, or for losses
/// without a prior the log-probs.
fn at(preference: Preference, divergence: Divergence, pair: Pair) -> (f64, f64, f64) {
    let tensor = |x: f64| Tensor::new(&[x], &Device::Cpu).unwrap();
    let moves = [0, 1].map(|side| Var::new(&[pair.ratios[side]], &Device::Cpu).unwrap());
    let answers = [0, 1].map(|side| {
        let log_probs = (&moves[side].zeros_like().unwrap() + pair.log_probs[side]).unwrap();
        // A log-ratio moves as the log-prob does.
        let log_probs = (log_probs + moves[side].as_tensor()).unwrap();
        let log_probs = (log_probs - pair.ratios[side]).unwrap();
        let zero = tensor(0.0);
        Answers {
            implicit: divergence.implicit(&moves[side], &zero, pair.beta).unwrap(),
            log_probs,
            tokens: tensor(pair.tokens[side]),
        }
    });
    let loss = preference
        .losses(pair.beta, &answers[0], &answers[1])
        .unwrap();
    let gradients = loss.backward().unwrap();
    let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
    let slope = |v: &Var| gradients.get(v).map_or(0.0, number);
    (number(&loss), slope(&moves[0]), slope(&moves[1]))
}

#[track_caller]
fn close(found: f64, exact: f64, what: &str) {
    assert!(
        (found - exact).abs() < 6e-9 * exact.abs().max(1.0),
        "{what}: {found} {exact}"
    );
}

/// Values and slopes at β = 0.1, log-ratios 2 and −1, ε = 0.1: golden numbers.
#[test]
fn values_and_slopes_at_one_point() {
    use Divergence::{ForwardKl, JensenShannon};
    let exo = Preference::Exo { label_smoothing: E };
    for (name, preference, divergence, value, better, worse) in [
        (
            "sigmoid",
            DPO,
            REVERSE,
            0.554_355_24,
            -0.042_555_75,
            0.042_555_75,
        ),
        (
            "smoothed",
            SMOOTHED,
            REVERSE,
            0.584_355_24,
            -0.032_555_75,
            0.032_555_75,
        ),
        (
            "robust",
            ROBUST,
            REVERSE,
            0.516_855_24,
            -0.055_055_75,
            0.055_055_75,
        ),
        ("hinge", Preference::Hinge, REVERSE, 0.7, -0.1, 0.1),
        ("ipo", Preference::Ipo, REVERSE, 4.0, -4.0, 4.0),
        (
            "exo",
            exo,
            REVERSE,
            0.358_383_39,
            -0.046_379_23,
            0.046_379_23,
        ),
        (
            "nca",
            Preference::Nca,
            REVERSE,
            1.319_406_63,
            -0.017_524_90,
            0.023_751_04,
        ),
        (
            "bco",
            Preference::Bco,
            REVERSE,
            1.242_535_53,
            -0.045_016_60,
            0.047_502_08,
        ),
        ("sppo", Preference::Sppo, REVERSE, 25.0, -6.0, 8.0),
        (
            "apo-zero",
            Preference::ApoZero,
            REVERSE,
            0.925_186_82,
            -0.024_751_66,
            0.024_937_60,
        ),
        (
            "apo-down",
            Preference::ApoDown,
            REVERSE,
            0.975_391_48,
            0.000_305_83,
            0.024_445_83,
        ),
        (
            "discopop",
            DISCOPOP,
            REVERSE,
            0.740_357_17,
            -0.073_084_04,
            0.073_084_04,
        ),
        (
            "forward KL",
            DPO,
            ForwardKl,
            0.572_316_29,
            -0.005_897_68,
            0.118_458_09,
        ),
        (
            "JS",
            DPO,
            JensenShannon,
            0.635_588_70,
            -0.005_607_02,
            0.034_387_27,
        ),
        ("α", DPO, ALPHA, 0.573_243_45, -0.016_050_79, 0.071_934_67),
    ] {
        let (loss, c, r) = at(preference, divergence, Pair::of(0.1, 2.0, -1.0));
        close(loss, value, name);
        close(c, better, name);
        close(r, worse, name);
    }
}

/// Log-probs −6 and −10 of 4 and 5 tokens.
#[test]
fn losses_of_lengths_at_one_point() {
    let pair = Pair::of(2.0, -6.0, -10.0);
    let (loss, c, r) = at(SIMPO, REVERSE, pair);
    close(loss, 2f64.ln(), "simpo");
    close(c, -0.5 * 2.0 / 4.0, "simpo");
    close(r, 0.5 * 2.0 / 5.0, "simpo");
    let (loss, ..) = at(ORPO, REVERSE, pair);
    close(loss, 1.543_498_88, "orpo");
    let odds = Preference::Orpo { weight: 1.0 };
    close(at(odds, REVERSE, pair).0 - 1.5, 0.434_988_81, "orpo's odds");
    // IPO a token: (2/4 + 1/5 − 5)².
    let (loss, c, _) = at(Preference::IpoNormalized, REVERSE, Pair::of(0.1, 2.0, -1.0));
    close(loss, 4.3 * 4.3, "ipo-normalized");
    close(c, -2.0 * 4.3 / 4.0, "ipo-normalized");
}

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

/// KTO at β = 0.1, z₀ = 0.3 log-ratios.
#[test]
fn utility_of_a_liked_and_a_disliked_answer() {
    for (ratio, sign, value, slope) in [
        (2.0, 1.0, 0.457_602_06, -0.024_820_24),
        (-1.0, -1.0, 0.467_545_69, 0.024_894_67),
    ] {
        let ratio = Var::new(&[ratio], &Device::Cpu).unwrap();
        let implicit = (ratio.as_tensor() * 0.1).unwrap();
        let loss = utility(
            &implicit,
            &Tensor::new(&[sign], &Device::Cpu).unwrap(),
            0.03,
        )
        .unwrap();
        let gradients = loss.backward().unwrap();
        let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
        close(number(&loss), value, "kto");
        close(number(gradients.get(&ratio).unwrap()), slope, "kto");
    }
}
