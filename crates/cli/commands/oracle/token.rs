//! The solution of a token problem and the result of training on it, as text and JSON.

use super::columns;
use anyhow::Result;
use rlhf_experiment::tabular::{Recipe, TabularMethod, TabularRun, World, train};
use rlhf_oracle::{Evaluation, Policy, Problem, Solution};
use serde_json::{Map, Value, json};

/// The most prefixes that are printed as text.
const MAX_PREFIXES: usize = 32;

/// The exponents k of the points β·2^(k/2) of the frontier.
const HALF_OCTAVES: std::ops::RangeInclusive<i32> = -10..=10;

/// A problem with its solution, and the result of a method.
pub(super) struct Report {
    world: World,
    /// The solution of the discounted problem.
    solution: Solution,
    optimum: Evaluation,
    run: Option<Run>,
}

struct Run {
    method: TabularMethod,
    recipe: Recipe,
    result: TabularRun,
}

impl Report {
    pub(super) fn new(
        problem: Problem,
        gamma: f64,
        method: Option<(TabularMethod, Recipe)>,
        seed: u64,
    ) -> Result<Self> {
        let world = World::new(problem, gamma);
        let solution = world.problem.solve_discounted(gamma);
        let run = method.map(|(method, recipe)| -> Result<Run> {
            Ok(Run {
                method,
                recipe,
                result: train(&world, method, recipe, seed)?,
            })
        });
        Ok(Self {
            optimum: world.problem.evaluate(&solution.policy),
            run: run.transpose()?,
            solution,
            world,
        })
    }

    fn prefixes(&self) -> impl Iterator<Item = (String, usize)> {
        let prefixes = self.world.problem.tree().prefixes().iter().enumerate();
        prefixes.map(|(node, prefix)| {
            let ids: Vec<String> = prefix.iter().map(u32::to_string).collect();
            (ids.join(" "), node)
        })
    }

    /// Every row of a policy, by prefix.
    fn rows(&self, policy: &Policy) -> Value {
        let rows = self
            .prefixes()
            .map(|(name, node)| (name, json!(row(policy, node))));
        Value::Object(Map::from_iter(rows))
    }

    fn frontier(&self) -> Vec<(f64, f64, f64)> {
        let responses = self.world.problem.responses();
        let at = |k: i32| {
            let beta = self.world.problem.beta() * 2f64.powf(f64::from(k) / 2.0);
            let outcome = responses.optimum(beta).outcome;
            (beta, outcome.kl, outcome.reward)
        };
        HALF_OCTAVES.map(at).collect()
    }

    /// J of the prior itself. The counting prior counts as the uniform distribution over responses.
    fn prior_elbo(&self) -> f64 {
        let problem = &self.world.problem;
        let (_, log_prior) = problem.prior().log_probs(problem.tree());
        let (policy, _) = Policy::from_responses(problem.tree(), &log_prior);
        problem.evaluate(&policy).elbo
    }

    pub(super) fn json(&self) -> Value {
        let (optimum, exact) = (self.optimum, &self.world.solution);
        let values = self
            .prefixes()
            .map(|(name, node)| (name, json!(self.solution.values[node])));
        let frontier: Vec<Value> = self
            .frontier()
            .into_iter()
            .map(|(beta, kl, reward)| json!({"beta": beta, "kl": kl, "reward": reward}))
            .collect();
        let mut report = json!({
            "log_z": exact.log_z(),
            "value": exact.value(),
            "expected_reward": optimum.expected_reward,
            "kl": optimum.kl,
            "entropy": optimum.entropy,
            "elbo": optimum.elbo,
            "prior_elbo": self.prior_elbo(),
            "values": Map::from_iter(values),
            "policy": self.rows(&self.solution.policy),
            "frontier": frontier,
        });
        if let Some(run) = &self.run {
            let last = run.result.last();
            let note = self.note(run.method);
            for (key, value) in [
                ("method", json!(run.method)),
                ("elbo", json!(last.elbo)),
                ("gap", json!(last.gap)),
                (
                    "kl_to_optimum",
                    json!(run.result.kl_to_optimum(&self.world)),
                ),
                ("samples", json!(last.samples)),
                ("settings", json!(run.recipe)),
                ("target", json!(note)),
                ("path", json!(run.result.path)),
                ("method_policy", self.rows(&run.result.policy)),
            ] {
                report[key] = value;
            }
        }
        report
    }

    /// The policy that a method converges to.
    fn note(&self, method: TabularMethod) -> String {
        let gamma = self.world.gamma;
        match method {
            TabularMethod::Grpo => {
                "not π*: the scores are divided by their standard deviation σ, which makes it the \
                 optimum of another β, β·σ"
                    .into()
            }
            TabularMethod::PpoKl if gamma < 1.0 => {
                format!("not π*: the policy of the discount γ = {gamma}")
            }
            _ if gamma < 1.0 => {
                format!(
                    "π* of γ = 1: {method} has no discount and ignores the problem's γ = {gamma}"
                )
            }
            _ => "π*".into(),
        }
    }

    pub(super) fn text(&self) -> String {
        let (optimum, exact) = (self.optimum, &self.world.solution);
        let number = |x: f64| format!("{x:.6}");
        let line =
            |name: &str, x: f64, unit: &str| vec![name.into(), number(x), format!(" {unit}")];
        let mut text = columns(&[
            line("log Z", exact.log_z(), "nats"),
            line("value, β·log Z", exact.value(), "reward"),
            line("E[r] of the optimum", optimum.expected_reward, "reward"),
            line("KL of the optimum", optimum.kl, "nats"),
            line("entropy of the optimum", optimum.entropy, "nats"),
            line("J of the optimum", optimum.elbo, "reward"),
            line("J of the prior", self.prior_elbo(), "reward"),
        ]);
        let gamma = self.world.gamma;
        if gamma < 1.0 {
            text += &format!(
                "\nγ = {gamma}: the optimum above is that of the discounted problem, which is not π*; it \
                 costs {:.6}\n",
                exact.value() - optimum.elbo
            );
        }
        text += &self.states();
        text += &self.path();
        text
    }

    fn states(&self) -> String {
        let vocab = self.world.problem.tree().vocab();
        let mut rows = vec![vec!["prefix".to_string(), "V".into()]];
        rows[0].extend((0..vocab).map(|token| format!("π({token})")));
        for (name, node) in self.prefixes().take(MAX_PREFIXES) {
            let probabilities = self::row(&self.solution.policy, node);
            let mut row = vec![
                format!("\"{name}\""),
                format!("{:.4}", self.solution.values[node]),
            ];
            row.extend(probabilities.iter().map(|p| format!("{p:.4}")));
            rows.push(row);
        }
        let mut text = format!("\n{}", columns(&rows));
        let more = self
            .world
            .problem
            .tree()
            .prefixes()
            .len()
            .saturating_sub(MAX_PREFIXES);
        if more > 0 {
            text += &format!("and {more} more: --json prints all\n");
        }
        let mut rows = vec![vec!["β".to_string(), "KL, nats".into(), "E[r]".into()]];
        for (beta, kl, reward) in self.frontier().into_iter().step_by(4) {
            rows.push([beta, kl, reward].map(|x| format!("{x:.4}")).to_vec());
        }
        text + &format!("\nthe optimal frontier\n{}", columns(&rows))
    }

    fn path(&self) -> String {
        let Some(run) = &self.run else {
            return String::new();
        };
        let head = ["step", "samples", "J", "gap", "KL(π‖π*), nats"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for point in &run.result.path {
            let nats = point.gap / self.world.problem.beta();
            rows.push(vec![
                point.step.to_string(),
                point.samples.to_string(),
                format!("{:.6}", point.elbo),
                format!("{:.2e}", point.gap),
                format!("{nats:.2e}"),
            ]);
        }
        format!(
            "\n{}, its target: {}\n{}",
            run.method,
            self.note(run.method),
            columns(&rows)
        )
    }
}

/// π(·|prefix).
fn row(policy: &Policy, node: usize) -> Vec<f64> {
    policy.row(node).iter().map(|log_p| log_p.exp()).collect()
}
