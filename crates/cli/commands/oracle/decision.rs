//! What is known of a decision process.

use super::columns;
use anyhow::Result;
use rlhf_oracle::{Mdp, MdpSolution};
use serde_json::{Map, Value, json};

/// Both forms, and what the naive one is really worth.
pub(super) struct Answer {
    variational: MdpSolution,
    /// Absent where it has no solution.
    naive: Option<(MdpSolution, Vec<f64>)>,
}

impl Answer {
    pub(super) fn new(mdp: &Mdp) -> Result<Self> {
        let variational = mdp.variational()?;
        // It has no discount, so a process that may go on for ever has no such values.
        let naive = match mdp.naive_exact() {
            Ok(naive) => {
                let earned = mdp.evaluate(&naive.policy)?;
                Some((naive, earned))
            }
            Err(_) => None,
        };
        Ok(Self { variational, naive })
    }

    pub(super) fn json(&self) -> Value {
        let naive = self.naive.as_ref().map(|(naive, earned)| {
            let mut form = form(naive);
            form["true_values"] = json!(earned);
            form
        });
        json!({"variational": form(&self.variational), "naive_exact": naive})
    }

    pub(super) fn text(&self) -> String {
        let head = ["state", "V", "π", "naive V", "naive π", "naive earns"];
        let mut rows = vec![head.map(String::from).to_vec()];
        let number = |x: f64| format!("{x:.6}");
        let policy = |row: &[f64]| row.iter().map(|&p| number(p)).collect::<Vec<_>>().join(" ");
        for (state, value) in self.variational.values.iter().enumerate() {
            let mut row = vec![
                state.to_string(),
                number(*value),
                policy(&self.variational.policy[state]),
            ];
            if let Some((naive, earned)) = &self.naive {
                row.push(number(naive.values[state]));
                row.push(policy(&naive.policy[state]));
                row.push(number(earned[state]));
            }
            rows.push(row);
        }
        let note = match self.naive {
            Some(_) => {
                "V and π leave the world as it is: Q = r + γ·E[V]. The naive form, \
                 Q = r + α·log E[exp(V/α)],\nhas no discount and expects the world to oblige; what its \
                 policy earns is in the last column."
            }
            None => {
                "The naive form, Q = r + α·log E[exp(V/α)], has no discount and so no solution where a \
                 process\nmay go on for ever."
            }
        };
        format!("{}\n{note}\n", columns(&rows))
    }
}

/// Values, and the policy of each state that has actions.
fn form(solution: &MdpSolution) -> Value {
    let states = solution.policy.iter().enumerate();
    let policy = states
        .filter(|(_, row)| !row.is_empty())
        .map(|(state, row)| (state.to_string(), json!(row)));
    json!({"values": solution.values, "policy": Map::from_iter(policy)})
}
