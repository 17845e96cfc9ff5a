//! Parses a Markov decision process from JSON.

use crate::{Error, Mdp, MdpAction, Result};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    states: usize,
    terminal: Vec<usize>,
    alpha: f64,
    gamma: f64,
    actions: Vec<RawAction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAction {
    state: usize,
    action: usize,
    reward: f64,
    next: Vec<(usize, f64)>,
}

impl Mdp {
    /// Parses `{"states": n, "terminal": [ids], "alpha": α, "gamma": γ, "actions": [{"state": s,
    /// "action": a, "reward": r, "next": [[s′, p], …]}, …]}`: states are 0..n, the actions of a state
    /// are numbered from 0 and listed in any order, and terminal states have no actions.
    ///
    /// # Errors
    /// If the text is not a valid process; the error names the key, state or action.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut raw: Raw = serde_json::from_str(text)?;
        // Every state is terminal or has an action; this bounds the allocation for huge `states`.
        if raw.states > raw.actions.len() + raw.terminal.len() {
            let what = format!(
                "is {}, but fewer states are terminal or have actions",
                raw.states
            );
            return Err(Error::at("states", what));
        }
        raw.actions
            .sort_by_key(|action| (action.state, action.action));
        let mut states: Vec<Vec<MdpAction>> = vec![Vec::new(); raw.states];
        for action in raw.actions {
            let place = format!("state {}, action {}", action.state, action.action);
            let Some(actions) = states.get_mut(action.state) else {
                return Err(Error::at(
                    place,
                    format!("the state is not one of 0..{}", raw.states),
                ));
            };
            if action.action != actions.len() {
                let what = "is duplicated, or an action with a smaller number is missing";
                return Err(Error::at(place, what));
            }
            actions.push(MdpAction {
                reward: action.reward,
                next: action.next,
            });
        }
        for (state, actions) in states.iter().enumerate() {
            if actions.is_empty() != raw.terminal.contains(&state) {
                let what = "must either have actions or be terminal";
                return Err(Error::at(format!("state {state}"), what));
            }
        }
        if let Some(state) = raw.terminal.iter().find(|&&state| state >= raw.states) {
            let what = format!("{state} is not one of the states 0..{}", raw.states);
            return Err(Error::at("terminal", what));
        }
        Self::new(states, raw.alpha, raw.gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn risky_process() -> Value {
        json!({"states": 4, "terminal": [3], "alpha": 0.5, "gamma": 1.0, "actions": [
            {"state": 0, "action": 1, "reward": 0.0, "next": [[1, 0.5], [2, 0.5]]},
            {"state": 0, "action": 0, "reward": 0.2, "next": [[3, 1.0]]},
            {"state": 1, "action": 0, "reward": 2.0, "next": [[3, 1.0]]},
            {"state": 2, "action": 0, "reward": -2.0, "next": [[3, 1.0]]},
        ]})
    }

    #[test]
    fn a_risky_process_is_parsed() {
        let mdp = Mdp::from_json(&risky_process().to_string()).unwrap();
        let solution = mdp.variational().unwrap();
        assert!((solution.policy[0][1] - 0.401_312).abs() < 1e-6);
        assert!((solution.values[0] - 0.456_508).abs() < 1e-6);
    }

    #[test]
    fn errors_name_the_key_state_or_action() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut json = risky_process();
            change(&mut json);
            let error = Mdp::from_json(&json.to_string()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|j| j["alpha"] = json!(-1.0), "alpha");
        check(&|j| j["gama"] = json!(1.0), "gama");
        check(&|j| j["states"] = json!(1_000_000_000_000_u64), "states");
        check(&|j| j["terminal"] = json!([2, 3]), "state 2");
        check(&|j| j["terminal"] = json!([]), "state 3");
        check(&|j| j["terminal"] = json!([3, 9]), "terminal: 9");
        check(
            &|j| j["actions"][0]["action"] = json!(2),
            "state 0, action 2",
        );
        check(
            &|j| j["actions"][0]["action"] = json!(0),
            "state 0, action 0",
        );
        check(&|j| j["actions"][0]["state"] = json!(7), "state 7");
        check(
            &|j| j["actions"][0]["next"] = json!([[1, 0.5]]),
            "state 0, action 1",
        );
        check(
            &|j| j["actions"][0]["next"] = json!([[8, 1.0]]),
            "state 0, action 1",
        );
    }
}
