//! The optimum under each prior, on a problem that is solved exactly.

use crate::{Counting, Mixture, Uniform};
use rlhf_objective::{
    Decoder, Error, Finish, LogDist, PerToken, Prior, Prompt, Response, Result, Sequences,
};
use rlhf_oracle::{Optimum, Policy, Responses, Tree, reference_demonstrations, reference_tree};
use std::ops::Range;

const BETA: f64 = 0.5;

/// A prior with given rows.
struct TablePrior {
    tree: Tree,
    policy: Policy,
}

impl TablePrior {
    fn row(&self, prefix: &[u32]) -> &[f64] {
        self.policy.row(self.tree.prefix(prefix).unwrap())
    }
}

/// The prefix before each token.
fn prefixes(sequences: &Sequences) -> Vec<Vec<u32>> {
    let prefixes = |y: &std::sync::Arc<Response>| -> Vec<Vec<u32>> {
        (0..y.ids.len()).map(|t| y.ids[..t].to_vec()).collect()
    };
    sequences.responses().iter().flat_map(prefixes).collect()
}

impl Prior for TablePrior {
    fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
        let tokens = s.responses().iter().flat_map(|y| y.ids.clone());
        let pairs = prefixes(s).into_iter().zip(tokens);
        let taken = pairs.map(|(prefix, token)| self.row(&prefix)[token as usize] as f32);
        PerToken::from_vec(taken.collect(), s.offsets())
    }

    fn log_dist(&mut self, s: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
        let all = prefixes(s);
        let flat: Vec<f32> = all[rows]
            .iter()
            .flat_map(|prefix| self.row(prefix).iter().map(|&x| x as f32))
            .collect();
        LogDist::of_log_probs(flat, self.tree.vocab())
    }

    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Err(Error::Unsupported("not needed here".into()))
    }
}

fn pretrained() -> Box<dyn Prior> {
    let problem = reference_tree(BETA);
    Box::new(TablePrior {
        tree: problem.tree().clone(),
        policy: problem.prior().clone(),
    })
}

fn demonstrations() -> Box<dyn Prior> {
    Box::new(TablePrior {
        tree: reference_tree(BETA).tree().clone(),
        policy: reference_demonstrations(),
    })
}

/// The 15 responses to one prompt.
fn every_response() -> Sequences {
    let tree = reference_tree(BETA).tree().clone();
    let response = |y: &Vec<u32>| Response::new(0, y.clone(), Finish::Length);
    let responses = tree.responses().iter().map(response).collect();
    Sequences::new(vec![Prompt::from_ids(vec![0])], responses).unwrap()
}

/// log p₀(y) of each response.
fn log_prior(prior: &mut dyn Prior) -> Vec<f64> {
    let sums = prior.log_probs(&every_response()).unwrap().sums().unwrap();
    sums.to_vec().unwrap().into_iter().map(f64::from).collect()
}

fn problem(prior: &mut dyn Prior) -> Responses {
    Responses::new(log_prior(prior), reference_tree(BETA).rewards().to_vec()).unwrap()
}

fn optimum(mut prior: impl Prior) -> Optimum {
    problem(&mut prior).optimum(BETA)
}

fn close(ours: f64, expected: f64) {
    assert!((ours - expected).abs() < 1e-6, "{ours} is not {expected}");
}

/// E_p₀\[r\], β·log Z, E*\[r\], and the KL of the optimum to its own prior, to the pretrained one and
/// to the demonstrations.
fn check(mut prior: impl Prior, expected: [f64; 6]) {
    let own = problem(&mut prior);
    let optimum = own.optimum(BETA);
    let kl = |to: &mut dyn Prior| problem(to).evaluate(&optimum.log_policy).kl;
    for (ours, expected) in [
        own.evaluate(own.log_prior()).reward,
        BETA * optimum.log_z,
        optimum.outcome.reward,
        optimum.outcome.kl,
        kl(&mut *pretrained()),
        kl(&mut *demonstrations()),
    ]
    .into_iter()
    .zip(expected)
    {
        close(ours, expected);
    }
}

#[test]
fn each_mean_of_two_priors_has_its_reference_optimum() {
    check(
        Mixture::geometric_per_token(pretrained(), demonstrations(), 0.5).unwrap(),
        [
            0.94913361, 1.70267863, 2.46456890, 1.52378053, 1.62875292, 1.45853136,
        ],
    );
    check(
        Mixture::arithmetic_over_sequences(pretrained(), demonstrations(), 0.5).unwrap(),
        [
            0.95454378, 1.70199516, 2.46104177, 1.51809323, 1.62489918, 1.44952345,
        ],
    );
}

#[test]
fn an_arithmetic_mixture_is_the_mean_of_responses_and_not_of_rows() {
    let weight = 0.5;
    let mixture = Mixture::arithmetic_over_sequences(pretrained(), demonstrations(), weight);
    let mixed = log_prior(&mut mixture.unwrap());
    let (first, second) = (
        log_prior(&mut *pretrained()),
        log_prior(&mut *demonstrations()),
    );
    for (y, log_prob) in mixed.iter().enumerate() {
        let mean = (1.0 - weight) * first[y].exp() + weight * second[y].exp();
        close(log_prob.exp(), mean);
    }
    let reference = reference_tree(BETA);
    let by_rows = reference
        .prior()
        .mix(&reference_demonstrations(), weight)
        .log_probs(reference.tree())
        .1;
    let kl: f64 = by_rows
        .iter()
        .zip(&mixed)
        .map(|(p, q)| p.exp() * (p - q))
        .sum();
    close(kl, 0.00156141);
}

/// With an EOS, maximum entropy and the uniform prior have different optima: under the uniform prior each
/// token costs β·log V more.
#[test]
fn counting_and_uniform_have_different_optima_with_an_eos() {
    let tree = reference_tree(BETA).tree().clone();
    let measured = |optimum: Optimum| {
        let responses = || tree.responses().iter().zip(&optimum.log_policy);
        let at_once: f64 = responses()
            .filter(|(y, _)| y[..] == [2])
            .map(|(_, p)| p.exp())
            .sum();
        let length: f64 = responses().map(|(y, p)| y.len() as f64 * p.exp()).sum();
        [BETA * optimum.log_z, at_once, length]
    };
    for (ours, expected) in [
        (
            optimum(Uniform::new(3)),
            [1.74262534, 0.04578206, 2.79005972],
        ),
        (
            optimum(Counting::new(3)),
            [3.32684715, 0.00577802, 2.94362424],
        ),
    ] {
        for (ours, expected) in measured(ours).into_iter().zip(expected) {
            close(ours, expected);
        }
    }
}
