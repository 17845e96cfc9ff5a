//! The solutions of a decision process, as text and JSON.

use super::columns;
use anyhow::Result;
use rlhf_oracle::{Mdp, MdpSolution};
use serde_json::{Map, Value, json};

/// The variational and the naive solution of a decision process.
pub(super) struct Report {
    variational: MdpSolution,
    /// The naive solution with the true values of its policy; `None` if it does not exist.
    naive: Option<(MdpSolution, Vec<f64>)>,
}

impl Report {
    pub(super) fn new(mdp: &Mdp) -> Result<Self> {
        let variational = mdp.variational()?;
        // It has no discount, so it has no finite values if an episode may never end.
        let naive = match mdp.naive_exact() {
            Ok(naive) => {
                let true_values = mdp.evaluate(&naive.policy)?;
                Some((naive, true_values))
            }
            Err(_) => None,
        };
        Ok(Self { variational, naive })
    }

    pub(super) fn json(&self) -> Value {
        let naive = self.naive.as_ref().map(|(naive, true_values)| {
            let mut solution = solution_json(naive);
            solution["true_values"] = json!(true_values);
            solution
        });
        json!({"variational": solution_json(&self.variational), "naive_exact": naive})
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
            if let Some((naive, true_values)) = &self.naive {
                row.push(number(naive.values[state]));
                row.push(policy(&naive.policy[state]));
                row.push(number(true_values[state]));
            }
            rows.push(row);
        }
        let note = match self.naive {
            Some(_) => {
                "V and π keep the transition probabilities: Q = r + γ·E[V]. The naive form, \
                 Q = r + α·log E[exp(V/α)],\nhas no discount and is optimistic about transitions; the last \
                 column holds the true values of its policy."
            }
            None => {
                "The naive form, Q = r + α·log E[exp(V/α)], has no discount, and so no solution if an \
                 episode\nmay never end."
            }
        };
        format!("{}\n{note}\n", columns(&rows))
    }
}

/// The values, and the policy of each state with actions.
fn solution_json(solution: &MdpSolution) -> Value {
    let states = solution.policy.iter().enumerate();
    let policy = states
        .filter(|(_, row)| !row.is_empty())
        .map(|(state, row)| (state.to_string(), json!(row)));
    json!({"values": solution.values, "policy": Map::from_iter(policy)})
}
