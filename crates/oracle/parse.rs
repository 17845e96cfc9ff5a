//! Parses a token problem from JSON.

use crate::tree::join_ids;
use crate::{Error, Policy, Problem, Result, Tree};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The greatest number of responses of a problem.
const MAX_RESPONSES: usize = 1 << 22;

/// The tolerance on the sum of a row of the prior.
const ROW_SUM_TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    vocab: usize,
    eos: Option<u32>,
    horizon: usize,
    beta: f64,
    #[serde(default = "one")]
    gamma: f64,
    prior: Value,
    reward: Map<String, Value>,
}

fn one() -> f64 {
    1.0
}

impl Problem {
    /// Parses `{"vocab": A, "eos": id or null, "horizon": T, "beta": β, "gamma": γ, "prior": …,
    /// "reward": {"0 0 2": r, …}}`: prefixes and responses are token ids joined by spaces. The
    /// prior is `{"": [p…], "0 1": [p…], …}` with a row for each incomplete prefix, or "uniform",
    /// or "counting"; the reward has a number for each complete response. Returns the problem and γ,
    /// which is 1 by default.
    ///
    /// # Errors
    /// If the text is not a valid problem; the error names the key, prefix or response.
    pub fn from_json(text: &str) -> Result<(Self, f64)> {
        let raw: Raw = serde_json::from_str(text)?;
        if !(0.0..=1.0).contains(&raw.gamma) {
            let what = format!("is {}; it must be in [0, 1]", raw.gamma);
            return Err(Error::at("gamma", what));
        }
        let tree = tree(&raw)?;
        let prior = prior(&tree, &raw.prior)?;
        let rewards = rewards(&tree, &raw.reward)?;
        Ok((Self::new(tree, prior, rewards, raw.beta)?, raw.gamma))
    }
}

fn tree(raw: &Raw) -> Result<Tree> {
    if raw.vocab == 0 {
        return Err(Error::at("vocab", "is 0; it must be at least 1"));
    }
    if raw.horizon == 0 {
        return Err(Error::at("horizon", "is 0; it must be at least 1"));
    }
    if let Some(eos) = raw.eos.filter(|&eos| eos as usize >= raw.vocab) {
        let what = format!("is {eos}, not one of the tokens 0..{}", raw.vocab);
        return Err(Error::at("eos", what));
    }
    let depth = u32::try_from(raw.horizon).unwrap_or(u32::MAX);
    // At least 2, so that the horizon is bounded also for a vocabulary of one token.
    let responses = raw.vocab.max(2).checked_pow(depth);
    if responses.is_none_or(|responses| responses > MAX_RESPONSES) {
        let what = format!("is too large to enumerate with vocab {}", raw.vocab);
        return Err(Error::at("horizon", what));
    }
    Ok(Tree::new(raw.vocab, raw.eos, raw.horizon))
}

fn prior(tree: &Tree, value: &Value) -> Result<Policy> {
    match value {
        Value::String(name) if name == "uniform" => Ok(Policy::uniform(tree)),
        Value::String(name) if name == "counting" => Ok(Policy::counting(tree)),
        Value::Object(rows) => {
            let rows = parse_entries(rows, tree.prefixes(), "prior of prefix", &|place, value| {
                let row: Vec<f64> = Vec::deserialize(value)
                    .map_err(|_| Error::at(place, "is not a list of numbers"))?;
                let total: f64 = row.iter().sum();
                if (total - 1.0).abs() > ROW_SUM_TOLERANCE {
                    return Err(Error::at(place, format!("sums to {total}, not to 1")));
                }
                Ok(row)
            })?;
            Policy::from_weights(tree, &rows)
        }
        _ => {
            let what = "must be \"uniform\", \"counting\" or a row for each incomplete prefix";
            Err(Error::at("prior", what))
        }
    }
}

fn rewards(tree: &Tree, rows: &Map<String, Value>) -> Result<Vec<f64>> {
    parse_entries(
        rows,
        tree.responses(),
        "reward of response",
        &|place, value| {
            value
                .as_f64()
                .ok_or_else(|| Error::at(place, "is not a number"))
        },
    )
}

/// Parses one entry for each of `keys`, in their order; other entries are errors.
fn parse_entries<T>(
    rows: &Map<String, Value>,
    keys: &[Vec<u32>],
    what: &str,
    parse: &dyn Fn(&str, &Value) -> Result<T>,
) -> Result<Vec<T>> {
    let names: Vec<String> = keys.iter().map(|key| join_ids(key)).collect();
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if let Some(key) = rows.keys().find(|key| !known.contains(key.as_str())) {
        let place = format!("{what} \"{key}\"");
        return Err(Error::at(
            place,
            "is not in the tree; write token ids joined by single spaces",
        ));
    }
    let entry = |name: &String| {
        let place = format!("{what} \"{name}\"");
        match rows.get(name) {
            Some(value) => parse(&place, value),
            None => Err(Error::at(place, "is missing")),
        }
    };
    names.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_tree;
    use serde_json::json;

    fn reference_json() -> Value {
        let problem = reference_tree(0.5);
        let tree = problem.tree();
        let mut prior = Map::new();
        for (node, prefix) in tree.prefixes().iter().enumerate() {
            let row: Vec<f64> = problem.prior().row(node).iter().map(|x| x.exp()).collect();
            prior.insert(join_ids(prefix), json!(row));
        }
        let mut reward = Map::new();
        for (response, r) in tree.responses().iter().zip(problem.rewards()) {
            reward.insert(join_ids(response), json!(r));
        }
        json!({"vocab": 3, "eos": 2, "horizon": 3, "beta": 0.5, "prior": prior, "reward": reward})
    }

    #[test]
    fn the_reference_tree_is_parsed() {
        let (problem, gamma) = Problem::from_json(&reference_json().to_string()).unwrap();
        assert_eq!(gamma, 1.0);
        assert!((problem.solve().value() - 1.65834953).abs() < 1e-8);
        for (kind, value) in [("uniform", 1.74262534), ("counting", 3.32684715)] {
            let mut json = reference_json();
            json["prior"] = kind.into();
            let (problem, _) = Problem::from_json(&json.to_string()).unwrap();
            assert!((problem.solve().value() - value).abs() < 1e-8);
        }
    }

    #[test]
    fn errors_name_the_key_prefix_or_response() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut json = reference_json();
            change(&mut json);
            let error = Problem::from_json(&json.to_string())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|j| j["beta"] = 0.into(), "beta");
        check(&|j| j["gamma"] = 2.into(), "gamma");
        check(&|j| j["horizon"] = 90.into(), "horizon");
        check(&|j| j["eos"] = 3.into(), "eos");
        check(&|j| j["vocab"] = 0.into(), "vocab");
        check(&|j| j["horizn"] = 3.into(), "horizn");
        check(&|j| j["prior"] = "flat".into(), "prior");
        check(
            &|j| j["prior"]["0 1"] = json!([0.5, 0.4, 0.2]),
            "prefix \"0 1\": sums to 1.1",
        );
        check(
            &|j| j["prior"]["0 1"] = json!([1.5, -0.5, 0.0]),
            "prefix \"0 1\"",
        );
        check(&|j| j["prior"]["0 1"] = json!([0.5, 0.5]), "prefix \"0 1\"");
        check(
            &|j| j["prior"]["2"] = json!([1.0, 0.0, 0.0]),
            "prefix \"2\": is not in the tree",
        );
        check(
            &|j| j["reward"]["0 0 2"] = "x".into(),
            "response \"0 0 2\": is not a number",
        );
        check(
            &|j| {
                j["reward"].as_object_mut().unwrap().remove("2");
            },
            "response \"2\": is missing",
        );
    }
}
