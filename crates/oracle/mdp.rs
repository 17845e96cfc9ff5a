//! Markov decision processes with stochastic transitions.

use crate::backup::log_sum_exp;
use crate::error::check_positive;
use crate::{Error, Result, counting, soft_backup};

/// The most sweeps of value iteration before an error.
const MAX_SWEEPS: usize = 100_000;

/// One action of a state.
#[derive(Debug, Clone, PartialEq)]
pub struct MdpAction {
    /// The reward.
    pub reward: f64,
    /// The next states and their probabilities, which sum to 1.
    pub next: Vec<(usize, f64)>,
}

/// A finite Markov decision process with temperature α, discount γ and the counting measure as prior:
/// the value of a policy is E\[Σ γᵗ·(rₜ + α·H(π(·|sₜ)))\]. A state without actions is terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Mdp {
    states: Vec<Vec<MdpAction>>,
    alpha: f64,
    gamma: f64,
}

/// The values and the policy of a solution.
#[derive(Debug, Clone, PartialEq)]
pub struct MdpSolution {
    /// V of each state.
    pub values: Vec<f64>,
    /// Q of each action of each state.
    pub q: Vec<Vec<f64>>,
    /// π(a|s), probabilities; empty in a terminal state.
    pub policy: Vec<Vec<f64>>,
}

impl Mdp {
    /// A process from the actions of each state.
    ///
    /// # Errors
    /// If α is not positive, γ is not in [0, 1], a reward is not finite, or the next states of an
    /// action are not a distribution over states; the error names the state and action.
    pub fn new(states: Vec<Vec<MdpAction>>, alpha: f64, gamma: f64) -> Result<Self> {
        check_positive("alpha", alpha)?;
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
                    "the reward is not finite".to_owned()
                } else if action.next.iter().any(|&(s, _)| s >= states.len()) {
                    format!("a next state is not one of the {} states", states.len())
                } else if action.next.iter().any(|&(_, p)| p.is_nan() || p < 0.0)
                    || (total - 1.0).abs() > 1e-9
                {
                    format!("the probabilities of its next states sum to {total}, not 1")
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

    /// The optimum over policies under the true dynamics: Q = r + γ·E\[V(s′)\],
    /// V = α·log Σ exp(Q/α) (Levine 2018, §3).
    ///
    /// # Errors
    /// If the values do not converge, because of a cycle without discount.
    pub fn variational(&self) -> Result<MdpSolution> {
        self.solve(&|action, values| action.reward + self.gamma * mean(action, values))
    }

    /// Exact inference that conditions the dynamics on optimality too:
    /// Q = r + α·log E\[exp(V(s′)/α)\], without discount. It assumes favourable transitions and
    /// therefore seeks risk (Levine 2018, §2.4); it is here for comparison. Use
    /// [`evaluate`](Self::evaluate) for the true value of its policy.
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

    /// The dynamics conditioned on optimality that [`naive_exact`](Self::naive_exact) assumes for one
    /// action: p(s′|s,a)·exp(V(s′)/α), normalized.
    ///
    /// # Panics
    /// If there is no such action.
    #[must_use]
    pub fn posterior_dynamics(
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

    /// The value of a policy from each state under the true dynamics.
    ///
    /// # Errors
    /// If the policy does not have one probability per action, or the values do not converge.
    pub fn evaluate(&self, policy: &[Vec<f64>]) -> Result<Vec<f64>> {
        let valid = policy.len() == self.states.len()
            && policy
                .iter()
                .zip(&self.states)
                .all(|(p, a)| p.len() == a.len());
        if !valid {
            return Err(Error::at(
                "policy",
                "must have one probability for each action of each state",
            ));
        }
        self.iterate(&|state, values| {
            let actions = policy[state].iter().zip(&self.states[state]);
            let value = |(&p, action): (&f64, &MdpAction)| {
                if p == 0.0 {
                    return 0.0;
                }
                p * (action.reward + self.gamma * mean(action, values) - self.alpha * p.ln())
            };
            actions.map(value).sum()
        })
    }

    fn solve(&self, q: &dyn Fn(&MdpAction, &[f64]) -> f64) -> Result<MdpSolution> {
        let row = |state: usize, values: &[f64]| -> Vec<f64> {
            let actions = self.states[state].iter();
            actions.map(|action| q(action, values)).collect()
        };
        let backup = |q: &[f64]| soft_backup(q, &counting(q.len()), self.alpha);
        let values = self.iterate(&|state, values| backup(&row(state, values)).value)?;
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

    /// Value iteration V ← update(V) from 0 until it converges to rounding; terminal states have
    /// value 0.
    fn iterate(&self, update: &dyn Fn(usize, &[f64]) -> f64) -> Result<Vec<f64>> {
        let mut values = vec![0.0; self.states.len()];
        for _ in 0..MAX_SWEEPS {
            let next: Vec<f64> = (0..values.len())
                .map(|state| {
                    if self.states[state].is_empty() {
                        0.0
                    } else {
                        update(state, &values)
                    }
                })
                .collect();
            let converged = next
                .iter()
                .zip(&values)
                .all(|(a, b): (&f64, &f64)| (a - b).abs() <= 1e-14 * (1.0 + a.abs()));
            values = next;
            if converged {
                return Ok(values);
            }
        }
        let what = "the values do not converge; remove the cycle or set gamma below 1";
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

    /// A safe action with reward 0.2 and a risky one with +2 or −2 at probability ½ each.
    fn risk(alpha: f64) -> Mdp {
        let start = vec![action(0.2, &[(3, 1.0)]), action(0.0, &[(1, 0.5), (2, 0.5)])];
        let (good, bad) = (action(2.0, &[(3, 1.0)]), action(-2.0, &[(3, 1.0)]));
        Mdp::new(vec![start, vec![good], vec![bad], vec![]], alpha, 1.0).unwrap()
    }

    #[test]
    fn naive_inference_prefers_risk() {
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
        for (alpha, risky, value, naive_q, naive_risky, naive_value, true_value, posterior) in rows
        {
            let mdp = risk(alpha);
            let variational = mdp.variational().unwrap();
            close(variational.policy[0][1], risky, 1e-6);
            close(variational.values[0], value, 1e-6);
            let naive = mdp.naive_exact().unwrap();
            close(naive.q[0][1], naive_q, 1e-6);
            close(naive.q[0][1], alpha * (2.0 / alpha).cosh().ln(), 1e-9);
            close(naive.policy[0][1], naive_risky, 1e-6);
            close(naive.values[0], naive_value, 1e-6);
            close(mdp.evaluate(&naive.policy).unwrap()[0], true_value, 1e-6);
            close(
                mdp.evaluate(&variational.policy).unwrap()[0],
                variational.values[0],
                1e-12,
            );
            close(mdp.posterior_dynamics(&naive, 0, 1)[0], posterior, 1e-6);
        }
    }

    #[test]
    fn both_forms_agree_at_high_temperature() {
        // Q = α·log cosh(2/α) ≈ 2/α for large α.
        let q = |alpha: f64| risk(alpha).naive_exact().unwrap().q[0][1];
        for alpha in [1e2, 1e3, 1e4] {
            close(q(alpha) * alpha, 2.0, 3.0 / alpha);
            let policy = |solution: MdpSolution| solution.policy[0][1];
            let variational = policy(risk(alpha).variational().unwrap());
            close(
                policy(risk(alpha).naive_exact().unwrap()),
                variational,
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
    fn two_step_values_match_reference_values() {
        let variational = two_steps(0.9).variational().unwrap();
        close(variational.values[1], 2.00907496, 1e-8);
        close(variational.values[2], 0.06346401, 1e-8);
        close(variational.q[0][0], 1.38285251, 1e-8);
        close(variational.q[0][1], 0.35711760, 1e-8);
        close(variational.values[0], 1.44331747, 1e-8);
        close(variational.policy[0][0], 0.88609605, 1e-8);
        let naive = two_steps(0.9).naive_exact().unwrap();
        // The naive form ignores the discount.
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
    fn temperature_and_discount_have_different_effects() {
        // Stop with reward 1, or continue to reward 1.2.
        for (alpha, gamma, probability) in [
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
            close(solution.policy[0][1], probability, 1e-8);
        }
    }

    /// A random process in which any state may follow any other; the last is terminal.
    fn random_mdp(random: &mut SplitMix, gamma: f64) -> Mdp {
        let n = random.between(3, 6);
        let mut states: Vec<Vec<MdpAction>> = Vec::new();
        for state in 0..n - 1 {
            // Without discount transitions only go forward, so that the process ends.
            let first = if gamma < 1.0 { 0 } else { state + 1 };
            let random_action = |random: &mut SplitMix| {
                let weights: Vec<f64> = (first..n).map(|_| random.uniform() + 0.01).collect();
                let total: f64 = weights.iter().sum();
                let next = (first..n).zip(weights.iter().map(|w| w / total)).collect();
                MdpAction {
                    reward: random.normal(),
                    next,
                }
            };
            let actions = random.between(1, 3);
            states.push((0..actions).map(|_| random_action(random)).collect());
        }
        states.push(vec![]);
        Mdp::new(states, 0.1 + random.uniform(), gamma).unwrap()
    }

    #[test]
    fn naive_values_are_upper_bounds_and_variational_values_are_true() {
        let mut source = SplitMix(5);
        for _ in 0..50 {
            let mdp = random_mdp(&mut source, 1.0);
            let (variational, naive) = (mdp.variational().unwrap(), mdp.naive_exact().unwrap());
            for (a, b) in naive.values.iter().zip(&variational.values) {
                assert!(*a >= b - 1e-12, "{a} < {b}");
            }
            let true_values = mdp.evaluate(&naive.policy).unwrap();
            for (a, b) in true_values.iter().zip(&variational.values) {
                assert!(*a <= b + 1e-12, "{a} > {b}");
            }
            let discounted = random_mdp(&mut source, 0.9);
            let variational = discounted.variational().unwrap();
            for (a, b) in discounted
                .evaluate(&variational.policy)
                .unwrap()
                .iter()
                .zip(&variational.values)
            {
                close(*a, *b, 1e-11);
            }
        }
    }

    #[test]
    fn both_forms_agree_with_deterministic_transitions() {
        let forward = |s: usize| vec![action(0.3, &[(s + 1, 1.0)]), action(-0.2, &[(3, 1.0)])];
        let mdp = Mdp::new(vec![forward(0), forward(1), forward(2), vec![]], 0.7, 1.0).unwrap();
        let (a, b) = (mdp.variational().unwrap(), mdp.naive_exact().unwrap());
        for (a, b) in a.values.iter().zip(&b.values) {
            close(*a, *b, 1e-12);
        }
    }

    #[test]
    fn a_sweep_is_a_contraction_by_the_discount() {
        let mut source = SplitMix(8);
        for _ in 0..50 {
            let mdp = random_mdp(&mut source, 0.8);
            let sweep = |v: &[f64]| -> Vec<f64> {
                (mdp.states.iter())
                    .map(|actions| {
                        let q: Vec<f64> = (actions.iter())
                            .map(|a| a.reward + mdp.gamma * mean(a, v))
                            .collect();
                        if q.is_empty() {
                            0.0
                        } else {
                            soft_backup(&q, &counting(q.len()), mdp.alpha).value
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
    fn undiscounted_cycles_and_unnormalized_transitions_are_errors() {
        let cycle = Mdp::new(vec![vec![action(1.0, &[(0, 1.0)])]], 1.0, 1.0).unwrap();
        assert!(cycle.variational().is_err());
        let error = Mdp::new(vec![vec![action(1.0, &[(0, 0.4)])]], 1.0, 1.0).unwrap_err();
        assert!(error.to_string().contains("state 0, action 0"), "{error}");
        assert!(Mdp::new(vec![], 0.0, 1.0).is_err());
        assert!(Mdp::new(vec![], 1.0, 1.1).is_err());
    }
}
