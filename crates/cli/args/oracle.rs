//! The arguments of `oracle`.

use crate::names::tabular_methods;
use clap::Args;
use rlhf_experiment::tabular::TabularMethod;
use std::path::PathBuf;

/// Solves a small enumerable problem exactly. With --method, also trains that method on the problem and
/// reports its gap to the optimum.
#[derive(Debug, Args)]
#[command(after_help = ORACLE_HELP)]
pub(crate) struct OracleArgs {
    /// The problem, a JSON file.
    pub(crate) problem: PathBuf,
    /// Train this method on a table of logits, one row per prefix.
    #[arg(long, value_parser = tabular_methods())]
    pub(crate) method: Option<TabularMethod>,
    /// The seed of the method.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A setting of the method: steps, responses, learning_rate, decay or epochs. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "method")]
    pub(crate) set: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A test runs the first problem.
const ORACLE_HELP: &str = r#"Example: control as inference with two actions. In two.json

  {"vocab": 2, "eos": null, "horizon": 1, "beta": 1.0, "gamma": 1.0,
   "prior": "counting", "reward": {"0": 1.0, "1": 0.0}}

  rlhf oracle two.json
  rlhf oracle two.json --method rloo

Rewards are (1, 0), α = 1, and there is no prior: V = log(e + 1) = 1.3133 and π = (.7311, .2689).

A token problem has a vocabulary of A tokens, 0..A. A response is complete when it ends with eos or
has as many tokens as the horizon. Prefixes and responses are token ids separated by spaces.
  {"vocab": A, "eos": id or null, "horizon": T, "beta": β, "gamma": γ,
   "prior": {"": [p, …], "0 1": [p, …], …} or "uniform" or "counting",
   "reward": {"0 0 2": r, …}}       a row for each incomplete prefix, a reward for each response
--json prints log_z (nats), value = β·log Z, then expected_reward, kl, entropy and elbo of the
optimum, prior_elbo, values and policy of each prefix, and the frontier. A method adds method, gap,
kl_to_optimum = gap/β (nats), samples and its path; elbo is then the method's.

A decision process may have random transitions; the values of terminal states are 0.
  {"states": n, "terminal": [s, …], "alpha": α, "gamma": γ,
   "actions": [{"state": s, "action": a, "reward": r, "next": [[s2, p], …]}, …]}
--json prints variational and naive_exact, each with values and policy; naive_exact also has
true_values, the values of its policy."#;
