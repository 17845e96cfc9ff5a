//! The minima of losses on a small problem: four responses, all pairs of them, Bradley–Terry labels.

use super::value_tests::DPO;
use super::*;
use rlhf_tensor::{Device, Var};

const PRIOR: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
const REWARDS: [f64; 4] = [0.0, 1.0, 0.5, 2.0];
const BETA: f64 = 0.5;
const PI_STAR: [f64; 4] = [0.046_402_70, 0.257_154_11, 0.063_067_81, 0.633_375_38];

/// The expected loss over uniform pairs (i, j), i ≠ j, where i is chosen with probability
/// (1 − flipped)·σ(rᵢ − rⱼ) + flipped·σ(rⱼ − rᵢ).
struct PairwiseProblem {
    preference: Preference,
    divergence: Divergence,
    log_prior: [f64; 4],
    flipped: f64,
}

impl PairwiseProblem {
    fn new(preference: Preference) -> Self {
        Self {
            preference,
            divergence: Divergence::ReverseKl,
            log_prior: PRIOR.map(f64::ln),
            flipped: 0.0,
        }
    }

    /// The loss and its gradient with respect to the first three logits.
    fn at(&self, logits: [f64; 3]) -> (f64, [f64; 3]) {
        let logits = Var::new(&[logits[0], logits[1], logits[2], 0.0], &Device::Cpu).unwrap();
        let log_sum = logits.exp().unwrap().sum_keepdim(0).unwrap().log().unwrap();
        let log_probs = logits.broadcast_sub(&log_sum).unwrap();
        let prior = Tensor::new(&self.log_prior, &Device::Cpu).unwrap();
        let implicit = self
            .divergence
            .implicit_rewards(&log_probs, &prior, BETA)
            .unwrap();
        let pairs: Vec<(u32, u32)> = (0..4)
            .flat_map(|i| (0..4).map(move |j| (i, j)))
            .filter(|(i, j)| i != j)
            .collect();
        let take = |side: fn(&(u32, u32)) -> u32| {
            let indices: Vec<u32> = pairs.iter().map(side).collect();
            let indices = Tensor::new(indices, &Device::Cpu).unwrap();
            let select = |t: &Tensor| t.index_select(&indices, 0).unwrap();
            PairSide {
                implicit_rewards: select(&implicit),
                log_probs: select(&log_probs),
                lengths: select(&log_probs.ones_like().unwrap()),
            }
        };
        let (chosen, rejected) = (take(|pair| pair.0), take(|pair| pair.1));
        let losses = self.preference.losses(BETA, &chosen, &rejected).unwrap();
        let rates = pairs
            .iter()
            .map(|&(i, j)| self.win_rate(i as usize, j as usize) / 6.0);
        let rates = Tensor::new(rates.collect::<Vec<_>>(), &Device::Cpu).unwrap();
        let loss = (losses * rates).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let slope = gradients.get(&logits).unwrap().to_vec1::<f64>().unwrap();
        (loss.to_scalar().unwrap(), [slope[0], slope[1], slope[2]])
    }

    fn win_rate(&self, i: usize, j: usize) -> f64 {
        let wins = 1.0 / (1.0 + (REWARDS[j] - REWARDS[i]).exp());
        (1.0 - self.flipped) * wins + self.flipped * (1.0 - wins)
    }

    /// Minimizes by damped Newton steps, with second derivatives by finite differences.
    fn minimum(&self) -> [f64; 4] {
        let mut logits = [0, 1, 2].map(|i| self.log_prior[i] - self.log_prior[3]);
        let mut damping = 1e-3;
        for _ in 0..300 {
            let (loss, slope) = self.at(logits);
            if slope.iter().all(|x| x.abs() < 1e-13) {
                break;
            }
            let step = 1e-5;
            let curvature = [0, 1, 2].map(|i: usize| {
                let moved = |by: f64| {
                    let mut logits = logits;
                    logits[i] += by;
                    self.at(logits).1
                };
                let (above, below) = (moved(step), moved(-step));
                [0, 1, 2].map(|j| (above[j] - below[j]) / (2.0 * step))
            });
            let newton_step = solve(curvature, slope, damping);
            let candidate = [0, 1, 2].map(|i| logits[i] - newton_step[i]);
            if self.at(candidate).0 <= loss + 1e-15 {
                logits = candidate;
                damping = (damping / 10.0).max(1e-14);
            } else {
                damping *= 10.0;
            }
        }
        let weights = [logits[0], logits[1], logits[2], 0.0].map(f64::exp);
        weights.map(|weight| weight / weights.iter().sum::<f64>())
    }
}

/// (A + d·1)⁻¹ b, by Cramer's rule.
fn solve(a: [[f64; 3]; 3], b: [f64; 3], damping: f64) -> [f64; 3] {
    let mut a = a;
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += damping;
    }
    let determinant = |m: [[f64; 3]; 3]| {
        let minor = |i: usize, j: usize| m[1][i] * m[2][j] - m[1][j] * m[2][i];
        m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1)
    };
    let denominator = determinant(a);
    [0, 1, 2].map(|column| {
        let mut m = a;
        for (row, b) in m.iter_mut().zip(b) {
            row[column] = b;
        }
        determinant(m) / denominator
    })
}

#[track_caller]
fn close(found: [f64; 4], exact: [f64; 4], digits: f64) {
    for (found, exact) in found.iter().zip(exact) {
        assert!((found - exact).abs() < digits, "{found} is not {exact}");
    }
}

fn normalized(weights: [f64; 4]) -> [f64; 4] {
    weights.map(|weight| weight / weights.iter().sum::<f64>())
}

const EPSILON: f64 = 0.1;
const SMOOTHED: Preference = Preference::Sigmoid {
    label_smoothing: EPSILON,
};

#[test]
fn the_minimum_of_dpo_is_pi_star() {
    let tilted = [0, 1, 2, 3].map(|i| PRIOR[i] * (REWARDS[i] / BETA).exp());
    close(normalized(tilted), PI_STAR, 1e-8);
    close(PairwiseProblem::new(DPO).minimum(), PI_STAR, 1e-8);
    // The loss and gradient at π*, and the loss at the prior.
    let problem = PairwiseProblem::new(DPO);
    let logits = |of: [f64; 4]| [0, 1, 2].map(|i: usize| (of[i] / of[3]).ln());
    let (loss, slope) = problem.at(logits(normalized(tilted)));
    assert!((loss - 0.555_081_05).abs() < 1e-8);
    assert!(slope.iter().all(|x| x.abs() < 1e-15), "{slope:?}");
    assert!((problem.at(logits(PRIOR)).0 - 2f64.ln()).abs() < 1e-15);
}

/// Label smoothing has the minimum of DPO on labels flipped at rate ε; the robust loss corrects for
/// flipped labels.
#[test]
fn smoothing_moves_the_minimum_and_robust_restores_it() {
    let shrunk = [0.096_949_30, 0.327_592_76, 0.102_269_83, 0.473_188_11];
    close(PairwiseProblem::new(SMOOTHED).minimum(), shrunk, 1e-8);
    let flipped = |preference| PairwiseProblem {
        flipped: EPSILON,
        ..PairwiseProblem::new(preference)
    };
    close(flipped(DPO).minimum(), shrunk, 1e-8);
    let robust = Preference::Robust {
        label_smoothing: EPSILON,
    };
    close(flipped(robust).minimum(), PI_STAR, 1e-8);
}

/// Each response's win rate against one drawn uniformly from all four, itself included.
fn win_rates() -> [f64; 4] {
    let problem = PairwiseProblem::new(DPO);
    [0, 1, 2, 3].map(|i| (0..4).map(|j| problem.win_rate(i, j)).sum::<f64>() / 4.0)
}

#[test]
fn the_minimum_of_ipo_tilts_the_prior_by_win_rates() {
    let exact = [0.299_282_56, 0.344_499_71, 0.184_308_54, 0.171_909_19];
    close(PairwiseProblem::new(Preference::Ipo).minimum(), exact, 1e-8);
    let rates = win_rates();
    let tilted = [0, 1, 2, 3].map(|i| PRIOR[i] * (rates[i] / BETA).exp());
    close(normalized(tilted), exact, 1e-8);
}

#[test]
fn minima_of_nca_bco_and_sppo_match_reference_values() {
    let nca = [0.1146, 0.4484, 0.1355, 0.3015];
    close(PairwiseProblem::new(Preference::Nca).minimum(), nca, 5e-5);
    let bco = [0.0435, 0.2839, 0.0760, 0.5966];
    close(PairwiseProblem::new(Preference::Bco).minimum(), bco, 5e-5);
    // Approximate, because probabilities sum to 1 and win rates do not constrain that.
    let rates = win_rates();
    let others = |i: usize| (4.0 * rates[i] - 0.5) / 3.0;
    let step = [0, 1, 2, 3].map(|i| PRIOR[i] * ((others(i) - 0.5) / BETA).exp());
    close(
        PairwiseProblem::new(Preference::Sppo).minimum(),
        normalized(step),
        0.02,
    );
}

/// With two responses there is one pair, with h = (2P − 1)·log((1 − ε)/ε) at the minimum.
#[test]
fn the_minimum_of_exo_matches_its_formula() {
    let exo = Preference::Exo {
        label_smoothing: EPSILON,
    };
    let share = 0.7f64;
    let exact = (2.0 * share - 1.0) * ((1.0 - EPSILON) / EPSILON).ln();
    let slope = |h: f64| {
        let h = Var::new(&[h], &Device::Cpu).unwrap();
        let zero = h.zeros_like().unwrap();
        let side = |implicit: &Tensor| PairSide {
            implicit_rewards: implicit.clone(),
            log_probs: zero.clone(),
            lengths: zero.clone(),
        };
        let (first, second) = (side(&h), side(&zero));
        let losses = exo.losses(BETA, &first, &second).unwrap();
        let swapped = exo.losses(BETA, &second, &first).unwrap();
        let loss = ((losses * share).unwrap() + (swapped * (1.0 - share)).unwrap()).unwrap();
        let gradients = loss.backward().unwrap();
        gradients.get(&h).unwrap().to_vec1::<f64>().unwrap()[0]
    };
    assert!(slope(exact).abs() < 1e-15 && slope(exact - 0.1) < 0.0 && slope(exact + 0.1) > 0.0);
}

/// DPO with f′ in place of the log-ratio maximizes E[r] − β·D_f.
#[test]
fn minima_of_divergences_match_reference_values() {
    for (divergence, exact) in [
        (
            Divergence::ForwardKl,
            [0.096_550_85, 0.139_997_55, 0.063_635_60, 0.699_816_00],
        ),
        (
            Divergence::JensenShannon,
            [0.006_734_68, 0.041_820_93, 0.009_426_08, 0.942_018_30],
        ),
        (
            Divergence::Alpha { alpha: 0.5 },
            [0.070_948_77, 0.158_811_61, 0.056_924_09, 0.713_315_52],
        ),
    ] {
        let problem = PairwiseProblem {
            divergence,
            ..PairwiseProblem::new(DPO)
        };
        close(problem.minimum(), exact, 2e-8);
    }
}

/// With the counting prior, DPO is CPO, and its minimum is that of maximum-entropy RL.
#[test]
fn the_minimum_with_the_counting_prior_is_the_maximum_entropy_policy() {
    let problem = PairwiseProblem {
        log_prior: [0.0; 4],
        ..PairwiseProblem::new(DPO)
    };
    let exact = [0.015_219, 0.112_457, 0.041_371, 0.830_953];
    close(problem.minimum(), exact, 1e-6);
    close(
        problem.minimum(),
        normalized(REWARDS.map(|r| (r / BETA).exp())),
        1e-8,
    );
}

/// The gradient at π* is 0 for exactly the losses whose documented optimum is π*.
#[test]
fn documented_optima_agree_with_the_gradient_at_pi_star() {
    let logits = [0, 1, 2].map(|i: usize| (PI_STAR[i] / PI_STAR[3]).ln());
    for (name, preference, flipped) in [
        (LossName::Sigmoid, DPO, 0.0),
        (
            LossName::Robust,
            Preference::Robust {
                label_smoothing: EPSILON,
            },
            EPSILON,
        ),
        (LossName::Hinge, Preference::Hinge, 0.0),
        (LossName::Ipo, Preference::Ipo, 0.0),
        (LossName::IpoNormalized, Preference::IpoNormalized, 0.0),
        (
            LossName::Exo,
            Preference::Exo {
                label_smoothing: EPSILON,
            },
            0.0,
        ),
        (LossName::Nca, Preference::Nca, 0.0),
        (LossName::Bco, Preference::Bco, 0.0),
        (LossName::Sppo, Preference::Sppo, 0.0),
        (LossName::ApoZero, Preference::ApoZero, 0.0),
        (LossName::ApoDown, Preference::ApoDown, 0.0),
        (
            LossName::Discopop,
            Preference::Discopop { temperature: 0.05 },
            0.0,
        ),
        (LossName::Simpo, Preference::Simpo { margin: 0.5 }, 0.0),
        (LossName::Orpo, Preference::Orpo { weight: 0.1 }, 0.0),
    ] {
        let problem = PairwiseProblem {
            flipped,
            ..PairwiseProblem::new(preference)
        };
        let (_, slope) = problem.at(logits);
        let steepest = slope.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        match name.optimum() {
            Optimum::PiStar => assert!(steepest < 1e-8, "{name:?}: {steepest}"),
            _ => assert!(steepest > 1e-3, "{name:?}: {steepest}"),
        }
    }
}
