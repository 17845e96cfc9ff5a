//! Every loss and its gradient at one point, against values of `scripts/constants/preferences.py`.

use super::*;
use rlhf_tensor::{Device, Var};

pub(super) const E: f64 = 0.1;
pub(super) const DPO: Preference = Preference::Sigmoid {
    label_smoothing: 0.0,
};
pub(super) const SMOOTHED: Preference = Preference::Sigmoid { label_smoothing: E };
pub(super) const ROBUST: Preference = Preference::Robust { label_smoothing: E };
pub(super) const DISCOPOP: Preference = Preference::Discopop { temperature: 0.05 };
pub(super) const SIMPO: Preference = Preference::Simpo { margin: 1.0 };
pub(super) const ORPO: Preference = Preference::Orpo { weight: 0.1 };
pub(super) const ALPHA: Divergence = Divergence::Alpha { alpha: 0.5 };
pub(super) const REVERSE: Divergence = Divergence::ReverseKl;

/// One pair: the log-ratios of the chosen and the rejected response, their log-probs and lengths.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    beta: f64,
    pub(super) ratios: [f64; 2],
    pub(super) log_probs: [f64; 2],
    lengths: [f64; 2],
}

impl Pair {
    pub(super) fn of(beta: f64, chosen: f64, rejected: f64) -> Self {
        Self {
            beta,
            ratios: [chosen, rejected],
            log_probs: [-6.0, -10.0],
            lengths: [4.0, 5.0],
        }
    }
}

/// The loss and its derivatives with respect to the log-ratios of the chosen and the rejected
/// response, in f64; the log-probs change with the log-ratios.
pub(super) fn at(preference: Preference, divergence: Divergence, pair: Pair) -> (f64, f64, f64) {
    let tensor = |x: f64| Tensor::new(&[x], &Device::Cpu).unwrap();
    let log_ratios = [0, 1].map(|side| Var::new(&[pair.ratios[side]], &Device::Cpu).unwrap());
    let sides = [0, 1].map(|side| {
        let log_probs = (&log_ratios[side].zeros_like().unwrap() + pair.log_probs[side]).unwrap();
        // The derivative of the log-prob with respect to the log-ratio is 1.
        let log_probs = (log_probs + log_ratios[side].as_tensor()).unwrap();
        let log_probs = (log_probs - pair.ratios[side]).unwrap();
        let zero = tensor(0.0);
        PairSide {
            implicit_rewards: divergence
                .implicit_rewards(&log_ratios[side], &zero, pair.beta)
                .unwrap(),
            log_probs,
            lengths: tensor(pair.lengths[side]),
        }
    });
    let loss = preference.losses(pair.beta, &sides[0], &sides[1]).unwrap();
    let gradients = loss.backward().unwrap();
    let number = |t: &Tensor| t.to_vec1::<f64>().unwrap()[0];
    let slope = |v: &Var| gradients.get(v).map_or(0.0, number);
    (number(&loss), slope(&log_ratios[0]), slope(&log_ratios[1]))
}

#[track_caller]
pub(super) fn close(found: f64, exact: f64, what: &str) {
    assert!(
        (found - exact).abs() < 6e-9 * exact.abs().max(1.0),
        "{what}: {found} {exact}"
    );
}

/// At β = 0.1, log-ratios 2 and −1, ε = 0.1.
#[test]
fn losses_and_gradients_match_reference_values() {
    use Divergence::{ForwardKl, JensenShannon};
    let exo = Preference::Exo { label_smoothing: E };
    for (name, preference, divergence, value, chosen, rejected) in [
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
        close(c, chosen, name);
        close(r, rejected, name);
    }
}

/// Log-probs −6 and −10, lengths 4 and 5.
#[test]
fn length_normalized_losses_match_reference_values() {
    let pair = Pair::of(2.0, -6.0, -10.0);
    let (loss, c, r) = at(SIMPO, REVERSE, pair);
    close(loss, 2f64.ln(), "simpo");
    close(c, -0.5 * 2.0 / 4.0, "simpo");
    close(r, 0.5 * 2.0 / 5.0, "simpo");
    let (loss, ..) = at(ORPO, REVERSE, pair);
    close(loss, 1.543_498_88, "orpo");
    let odds = Preference::Orpo { weight: 1.0 };
    close(
        at(odds, REVERSE, pair).0 - 1.5,
        0.434_988_81,
        "orpo's odds ratio",
    );
    // IPO per token: (2/4 + 1/5 − 5)².
    let (loss, c, _) = at(Preference::IpoNormalized, REVERSE, Pair::of(0.1, 2.0, -1.0));
    close(loss, 4.3 * 4.3, "ipo-normalized");
    close(c, -2.0 * 4.3 / 4.0, "ipo-normalized");
}

/// KTO at β = 0.1, z₀ = 0.3 log-ratios.
#[test]
fn kto_utility_matches_reference_values() {
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
