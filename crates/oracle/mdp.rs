//! Decisions whose consequences are drawn by the world.

use crate::backup::log_sum_exp;
use crate::error::positive;
use crate::{Error, Result, counting, soft_backup};

/// How many sweeps before an answer is given up.
const SWEEPS: usize = 100_000;

/// One action of a state.
#[derive(Debug, Clone, PartialEq)]
pub struct MdpAction {
    /// What it pays.
    pub reward: f64,
    /// Where it may lead, and how likely: states and probabilities that sum to 1.
    pub next: Vec<(usize, f64)>,
}

/// A finite decision process with temperature α, discount γ and the counting measure as prior: a
/// policy is worth E\[Σ γᵗ·(rₜ + α·H(π(·|sₜ)))\]. A state without actions is terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Mdp {
    states: Vec<Vec<MdpAction>>,
    alpha: f64,
    gamma: f64,
}

/// Values and the policy that goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct MdpSolution {
    /// V of each state.
    pub values: Vec<f64>,
    /// Q of each action of each state.
    pub q: Vec<Vec<f64>>,
    /// π(a|s), probabilities; nothing in a terminal state.
    pub policy: Vec<Vec<f64>>,
}

impl Mdp {
    /// A process over states 0.., each with its actions.
    ///
    /// # Errors
    /// If α is not positive, γ is not in [0, 1], a reward is not finite, or the next states of an
    /// action are not a distribution over states; the error names the state and action.
    pub fn new(states: Vec<Vec<MdpAction>>, alpha: f64, gamma: f64) -> Result<Self> {
        positive("alpha", alpha)?;
        if !(0.0..=1.0).contains(&gamma) {
            return Err(Error::at(
                "gamma",
                format!("is {gamma}; it must be in [0, 1]"),
            ));
        }
        for (state, actions) in states.iter().enumerate() {
            for (index, action) in actions.iter().enumerate() {
                let total: f64 = action.next.iter().map(|(_, p)| p).sum();
                let what = if !action.reward.is_finite() {
                    "its reward is not finite".to_owned()
                } else if action.next.iter().any(|&(s, _)| s >= states.len()) {
                    format!("leads to a state beyond the {} there are", states.len())
                } else if action.next.iter().any(|&(_, p)| p.is_nan() || p < 0.0)
                    || (total - 1.0).abs() > 1e-9
                {
                    format!("its next states have probability {total} in all, not 1")
                } else {
                    continue;
                };
                return Err(Error::at(format!("state {state}, action {index}"), what));
            }
        }
        Ok(Self {
            states,
            alpha,
            gamma,
        })
    }

    /// The optimum of what agents can control: Q = r + γ·E\[V(s′)\], V = α·log Σ exp(Q/α), the
    /// dynamics left as they are (Levine 2018, §3).
    ///
    /// # Errors
    /// If the values do not settle: a cycle without discount.
    pub fn variational(&self) -> Result<MdpSolution> {
        self.solve(&|action, values| action.reward + self.gamma * mean(action, values))
    }

    /// Exact inference that conditions the dynamics too: Q = r + α·log E\[exp(V(s′)/α)\]. A
    /// demonstration of what not to do: it believes the world will oblige, and so seeks risk
    /// (Levine 2018, §2.4). There is no discount in it. What its policy is really worth, ask
    /// [`evaluate`](Self::evaluate).
    ///
    /// # Errors
    /// As [`variational`](Self::variational).
    pub fn naive_exact(&self) -> Result<MdpSolution> {
        self.solve(&|action, values| {
            let terms = action.next.iter();
            let tilted = terms.map(|&(s, p)| p.ln() + values[s] / self.alpha);
            action.reward + self.alpha * log_sum_exp(tilted)
        })
    }

    /// The dynamics that [`naive_exact`](Self::naive_exact) believes in, for one action:
    /// p(s′|s,a)·exp(V(s′)/α), normalized.
    ///
    /// # Panics
    /// If there is no such action.
    #[must_use]
    pub fn believed_dynamics(
        &self,
        solution: &MdpSolution,
        state: usize,
        action: usize,
    ) -> Vec<f64> {
        let next = &self.states[state][action].next;
        let values: Vec<f64> = next.iter().map(|&(s, _)| solution.values[s]).collect();
        let log_p: Vec<f64> = next.iter().map(|(_, p)| p.ln()).collect();
        let tilted = soft_backup(&values, &log_p, self.alpha).log_policy;
        tilted.iter().map(|x| x.exp()).collect()
    }

    /// What a policy is worth from each state under the real dynamics.
    ///
    /// # Errors
    /// If the policy has not one probability an action, or the values do not settle.
    pub fn evaluate(&self, policy: &[Vec<f64>]) -> Result<Vec<f64>> {
        let fits = policy.len() == self.states.len()
            && policy
                .iter()
                .zip(&self.states)
                .all(|(p, a)| p.len() == a.len());
        if !fits {
            return Err(Error::at(
                "policy",
                "needs one probability an action a state",
            ));
        }
        self.settle(&|state, values| {
            let actions = policy[state].iter().zip(&self.states[state]);
            let worth = |(&p, action): (&f64, &MdpAction)| {
                if p == 0.0 {
                    return 0.0;
                }
                p * (action.reward + self.gamma * mean(action, values) - self.alpha * p.ln())
            };
            actions.map(worth).sum()
        })
    }

    fn solve(&self, q: &dyn Fn(&MdpAction, &[f64]) -> f64) -> Result<MdpSolution> {
        let row = |state: usize, values: &[f64]| -> Vec<f64> {
            let actions = self.states[state].iter();
            actions.map(|action| q(action, values)).collect()
        };
        let backup = |q: &[f64]| soft_backup(q, &counting(q.len()), self.alpha);
        let values = self.settle(&|state, values| backup(&row(state, values)).value)?;
        let q: Vec<Vec<f64>> = (0..values.len()).map(|s| row(s, &values)).collect();
        let policy = q.iter().map(|q| match q.as_slice() {
            [] => Vec::new(),
            q => backup(q).log_policy.iter().map(|x| x.exp()).collect(),
        });
        Ok(MdpSolution {
            policy: policy.collect(),
            values,
            q,
        })
    }

    /// Sweeps V ← update(V) from 0 until nothing moves by more than rounding; terminal states stay
    /// at 0.
    fn settle(&self, update: &dyn Fn(usize, &[f64]) -> f64) -> Result<Vec<f64>> {
        let mut values = vec![0.0; self.states.len()];
        for _ in 0..SWEEPS {
            let next: Vec<f64> = (0..values.len())
                .map(|state| match self.states[state].is_empty() {
                    true => 0.0,
                    false => update(state, &values),
                })
                .collect();
            let settled = next
                .iter()
                .zip(&values)
                .all(|(a, b): (&f64, &f64)| (a - b).abs() <= 1e-14 * (1.0 + a.abs()));
            values = next;
            if settled {
                return Ok(values);
            }
        }
        let what = "the values do not settle; remove the cycle or take gamma below 1";
        Err(Error::at("problem", what))
    }
}

/// E\[V(s′)\].
fn mean(action: &MdpAction, values: &[f64]) -> f64 {
    action.next.iter().map(|&(s, p)| p * values[s]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SplitMix, close};

    fn action(reward: f64, next: &[(usize, f64)]) -> MdpAction {
        MdpAction {
            reward,
            next: next.to_vec(),
        }
    }

    /// Safe pays 0.2; risky pays +2 or −2, a coin's toss.
    fn risk(alpha: f64) -> Mdp {
        let start = vec![action(0.2, &[(3, 1.0)]), action(0.0, &[(1, 0.5), (2, 0.5)])];
        let (good, bad) = (action(2.0, &[(3, 1.0)]), action(-2.0, &[(3, 1.0)]));
        Mdp::new(vec![start, vec![good], vec![bad], vec![]], alpha, 1.0).unwrap()
    }

    #[test]
    fn exact_inference_seeks_risk() {
        let rows = [
            (
                0.1, 0.119203, 0.212693, 1.930685, 1.000000, 1.930685, 0.000000, 1.000000,
            ),
            (
                0.5, 0.401312, 0.456508, 1.653594, 0.948201, 1.680189, 0.112250, 0.999665,
            ),
            (
                1.0, 0.450166, 0.798139, 1.325003, 0.754915, 1.606152, 0.605887, 0.982014,
            ),
            (
                2.0, 0.475021, 1.488793, 0.867562, 0.582679, 1.947799, 1.442289, 0.880797,
            ),
        ];
        for (alpha, risky, value, naive_q, naive_risky, claimed, earned, good) in rows {
            let mdp = risk(alpha);
            let sound = mdp.variational().unwrap();
            close(sound.policy[0][1], risky, 1e-6);
            close(sound.values[0], value, 1e-6);
            let naive = mdp.naive_exact().unwrap();
            close(naive.q[0][1], naive_q, 1e-6);
            close(naive.q[0][1], alpha * (2.0 / alpha).cosh().ln(), 1e-9);
            close(naive.policy[0][1], naive_risky, 1e-6);
            close(naive.values[0], claimed, 1e-6);
            close(mdp.evaluate(&naive.policy).unwrap()[0], earned, 1e-6);
            close(
                mdp.evaluate(&sound.policy).unwrap()[0],
                sound.values[0],
                1e-12,
            );
            close(mdp.believed_dynamics(&naive, 0, 1)[0], good, 1e-6);
        }
    }

    #[test]
    fn in_the_heat_both_forms_are_one() {
        // Q = α·log cosh(2/α) → 0 as 2/α, half its square times α.
        let q = |alpha: f64| risk(alpha).naive_exact().unwrap().q[0][1];
        for alpha in [1e2, 1e3, 1e4] {
            close(q(alpha) * alpha, 2.0, 3.0 / alpha);
            let policy = |of: MdpSolution| of.policy[0][1];
            let sound = policy(risk(alpha).variational().unwrap());
            close(
                policy(risk(alpha).naive_exact().unwrap()),
                sound,
                3.0 / (alpha * alpha),
            );
        }
    }

    fn two_steps(gamma: f64) -> Mdp {
        let start = vec![action(0.1, &[(1, 0.7), (2, 0.3)]), action(0.3, &[(2, 1.0)])];
        let end = |reward| action(reward, &[(3, 1.0)]);
        let states = vec![
            start,
            vec![end(2.0), end(0.0)],
            vec![end(0.0), end(-1.0)],
            vec![],
        ];
        Mdp::new(states, 0.5, gamma).unwrap()
    }

    #[test]
    fn two_steps_with_and_without_discount() {
        let sound = two_steps(0.9).variational().unwrap();
        close(sound.values[1], 2.00907496, 1e-8);
        close(sound.values[2], 0.06346401, 1e-8);
        close(sound.q[0][0], 1.38285251, 1e-8);
        close(sound.q[0][1], 0.35711760, 1e-8);
        close(sound.values[0], 1.44331747, 1e-8);
        close(sound.policy[0][0], 0.88609605, 1e-8);
        let naive = two_steps(0.9).naive_exact().unwrap();
        // The naive form has no discount: with one it would be neither form.
        assert_eq!(naive, two_steps(1.0).naive_exact().unwrap());
        close(naive.q[0][0], 1.93509425, 1e-8);
        close(naive.q[0][1], 0.36346401, 1e-8);
        close(naive.policy[0][0], 0.95864234, 1e-8);
        close(
            two_steps(1.0).variational().unwrap().q[0][0],
            1.52539168,
            1e-8,
        );
    }

    #[test]
    fn temperature_and_discount_are_different_things() {
        // Stop for 1, or go on to 1.2.
        for (alpha, gamma, go) in [
            (0.5, 1.0, 0.59868766),
            (0.5, 0.8, 0.48001066),
            (0.25, 1.0, 0.68997448),
            (0.25, 0.8, 0.46008512),
        ] {
            let start = vec![action(1.0, &[(2, 1.0)]), action(0.0, &[(1, 1.0)])];
            let states = vec![start, vec![action(1.2, &[(2, 1.0)])], vec![]];
            let solution = Mdp::new(states, alpha, gamma)
                .unwrap()
                .variational()
                .unwrap();
            close(solution.policy[0][1], go, 1e-8);
        }
    }

    /// Any state may follow any other; the last is terminal.
    fn random(random: &mut SplitMix, gamma: f64) -> Mdp {
        let n = random.between(3, 6);
        let mut states: Vec<Vec<MdpAction>> = Vec::new();
        for state in 0..n - 1 {
            // Without discount only forward, so that it ends.
            let first = if gamma < 1.0 { 0 } else { state + 1 };
            let one = |random: &mut SplitMix| {
                let weights: Vec<f64> = (first..n).map(|_| random.uniform() + 0.01).collect();
                let total: f64 = weights.iter().sum();
                let next = (first..n).zip(weights.iter().map(|w| w / total)).collect();
                MdpAction {
                    reward: random.normal(),
                    next,
                }
            };
            let actions = random.between(1, 3);
            states.push((0..actions).map(|_| one(random)).collect());
        }
        states.push(vec![]);
        Mdp::new(states, 0.1 + random.uniform(), gamma).unwrap()
    }

    #[test]
    fn optimism_is_never_below_and_the_sound_policy_earns_its_value() {
        let mut source = SplitMix(5);
        for _ in 0..50 {
            let mdp = random(&mut source, 1.0);
            let (sound, naive) = (mdp.variational().unwrap(), mdp.naive_exact().unwrap());
            for (a, b) in naive.values.iter().zip(&sound.values) {
                assert!(*a >= b - 1e-12, "{a} < {b}");
            }
            let earned = mdp.evaluate(&naive.policy).unwrap();
            for (a, b) in earned.iter().zip(&sound.values) {
                assert!(*a <= b + 1e-12, "{a} > {b}");
            }
            let discounted = random(&mut source, 0.9);
            let sound = discounted.variational().unwrap();
            for (a, b) in discounted
                .evaluate(&sound.policy)
                .unwrap()
                .iter()
                .zip(&sound.values)
            {
                close(*a, *b, 1e-11);
            }
        }
    }

    #[test]
    fn without_chance_both_agree() {
        let forward = |s: usize| vec![action(0.3, &[(s + 1, 1.0)]), action(-0.2, &[(3, 1.0)])];
        let mdp = Mdp::new(vec![forward(0), forward(1), forward(2), vec![]], 0.7, 1.0).unwrap();
        let (a, b) = (mdp.variational().unwrap(), mdp.naive_exact().unwrap());
        for (a, b) in a.values.iter().zip(&b.values) {
            close(*a, *b, 1e-12);
        }
    }

    #[test]
    fn a_sweep_contracts_by_the_discount() {
        let mut source = SplitMix(8);
        for _ in 0..50 {
            let mdp = random(&mut source, 0.8);
            let sweep = |v: &[f64]| -> Vec<f64> {
                (mdp.states.iter())
                    .map(|actions| {
                        let q: Vec<f64> = (actions.iter())
                            .map(|a| a.reward + mdp.gamma * mean(a, v))
                            .collect();
                        match q.is_empty() {
                            true => 0.0,
                            false => soft_backup(&q, &counting(q.len()), mdp.alpha).value,
                        }
                    })
                    .collect()
            };
            let distance = |a: &[f64], b: &[f64]| {
                let each = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                each.fold(0.0, f64::max)
            };
            let mut draw = || -> Vec<f64> {
                let n = mdp.states.len();
                (0..n).map(|_| 3.0 * source.normal()).collect()
            };
            let (a, b) = (draw(), draw());
            assert!(distance(&sweep(&a), &sweep(&b)) <= 0.8 * distance(&a, &b) + 1e-12);
        }
    }

    #[test]
    fn refuses_what_never_ends_and_what_does_not_add_up() {
        let turn = Mdp::new(vec![vec![action(1.0, &[(0, 1.0)])]], 1.0, 1.0).unwrap();
        assert!(turn.variational().is_err());
        let short = Mdp::new(vec![vec![action(1.0, &[(0, 0.4)])]], 1.0, 1.0).unwrap_err();
        assert!(short.to_string().contains("state 0, action 0"), "{short}");
        assert!(Mdp::new(vec![], 0.0, 1.0).is_err());
        assert!(Mdp::new(vec![], 1.0, 1.1).is_err());
    }
}
