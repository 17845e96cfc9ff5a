//! Methods converge to their theoretical optima: π*, or another policy for some.

use super::train::Runner;
use super::{Recipe, TabularMethod, TabularRun, World, train};
use rlhf_objective::{KlPenalty, LocalKl, Outputs, Result, Scored, Sequences};
use rlhf_oracle::{LocalPenalty, Policy, reference_demonstrations, reference_tree};
use rlhf_reinforce::{Baseline, GradientBatch, KlPlacement, PolicyGradient};
use rlhf_tensor::Rng;
use rlhf_train::{Learner, Loss, Method, Stats};
use std::ops::ControlFlow;

fn reference_world() -> World {
    World::new(reference_tree(0.5), 1.0)
}

fn online<M: Method>(world: &World, method: M) -> TabularRun {
    // At these fixed points, unlike at π*, the gradient noise does not vanish.
    let recipe = Recipe {
        steps: 400,
        responses: 4096,
        ..Recipe::of(TabularMethod::Rloo)
    };
    let runner = Runner {
        world,
        recipe,
        seed: 1,
    };
    runner.online(method).unwrap()
}

#[test]
fn per_token_kl_losses_converge_to_the_predicted_optimum() {
    let world = reference_world();
    for (kl, penalty, elbo) in [
        (LocalKl::LocalKl, LocalPenalty::Reverse, 1.643_768_81),
        (LocalKl::LocalK2, LocalPenalty::Reverse, 1.643_768_81),
        (LocalKl::LocalK3, LocalPenalty::Forward, 1.613_820_55),
    ] {
        let method = PolicyGradient::new(Baseline::LeaveOneOut, KlPlacement::Loss(kl)).unwrap();
        let reached = online(&world, method);
        let last = reached.last().elbo;
        assert!((last - elbo).abs() < 2e-3, "{kl:?}: {last}");
        // The policy also matches, and π* is ten times as far away.
        let predicted = world
            .problem
            .with_prior(world.problem.local_optimum(penalty));
        let distance = |policy: &Policy| predicted.as_ref().unwrap().evaluate(policy).kl;
        let (own, optimum) = (distance(&reached.policy), distance(&world.solution.policy));
        assert!(own < 4e-3 && optimum > 2e-2, "{kl:?}: {own} and {optimum}");
    }
}

/// k1 = log π − log p₀ in the loss: a known mistake, whose gradient has mean 0.
struct K1InLoss(PolicyGradient);

impl Learner for K1InLoss {
    type Batch = GradientBatch;

    fn sequences<'a>(&self, batch: &'a GradientBatch) -> &'a Sequences {
        self.0.sequences(batch)
    }

    fn select(&self, batch: &GradientBatch, responses: &[usize]) -> Result<GradientBatch> {
        self.0.select(batch, responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &GradientBatch) -> Result<Loss> {
        let Loss { value, stats } = self.0.loss(outputs, batch)?;
        // log p₀ has no gradient.
        let k1 = outputs.log_probs.values().sum_all()?;
        let weight = 0.5 / self.sequences(batch).len() as f64;
        let value = (value + (k1 * weight)?)?;
        Ok(Loss { value, stats })
    }
}

impl Method for K1InLoss {
    type State = ();

    fn batches(
        &mut self,
        mut scored: Scored,
        penalty: &mut KlPenalty,
        rng: Rng,
    ) -> Result<Vec<GradientBatch>> {
        scored.beta = 0.0;
        self.0.batches(scored, penalty, rng)
    }

    fn after_step(&mut self, stats: &Stats) -> ControlFlow<()> {
        self.0.after_step(stats)
    }

    fn state(&self) {}

    fn load_state(&mut self, (): ()) {}
}

#[test]
fn k1_in_the_loss_does_not_regularize() {
    let world = reference_world();
    // Its penalty is disabled by β = 0 in `batches`.
    let disabled = KlPlacement::Loss(LocalKl::LocalK2);
    let gradient = PolicyGradient::new(Baseline::LeaveOneOut, disabled).unwrap();
    let last = online(&world, K1InLoss(gradient)).last();
    // It converges to the response with the greatest reward, 3, whose log p₀ is −3.60.
    assert!(last.reward > 2.97, "{last:?}");
    assert!((last.elbo - 1.199).abs() < 0.05, "{last:?}");
}

#[test]
fn tokens_with_zero_prior_probability_are_never_generated() {
    let problem = reference_tree(0.5);
    let rows: Vec<Vec<f64>> = problem
        .tree()
        .prefixes()
        .iter()
        .map(|_| vec![0.4, 0.0, 0.6])
        .collect();
    let forbidding = Policy::from_weights(problem.tree(), &rows).unwrap();
    let world = World::new(problem.with_prior(forbidding).unwrap(), 1.0);
    for method in [
        TabularMethod::PpoKl,
        TabularMethod::Rloo,
        TabularMethod::Vargrad,
        TabularMethod::Dpo,
    ] {
        let reached = train(&world, method, Recipe::of(method), 1).unwrap();
        assert!(reached.kl_to_optimum(&world) < 1e-3, "{method}");
        for node in 0..rows.len() {
            assert_eq!(reached.policy.row(node)[1], f64::NEG_INFINITY, "{method}");
        }
    }
}

/// With γ < 1 PPO converges to the optimum of the discounted problem; a method without γ to π*.
#[test]
fn a_discount_changes_the_optimum_of_ppo() {
    let world = World::new(reference_tree(0.5), 0.9);
    let run = |method| train(&world, method, Recipe::of(method), 1).unwrap();
    let gap = run(TabularMethod::PpoKl).last().gap;
    assert!((gap - 0.029_857_02).abs() < 2e-3, "{gap}");
    assert!(run(TabularMethod::Rloo).last().gap < 1e-3);
}

#[test]
fn a_run_depends_on_its_seed_only() {
    let world = World::new(
        reference_tree(0.5)
            .with_prior(reference_demonstrations())
            .unwrap(),
        1.0,
    );
    let recipe = Recipe {
        steps: 20,
        ..Recipe::of(TabularMethod::Rloo)
    };
    let run = |seed| {
        train(&world, TabularMethod::Rloo, recipe, seed)
            .unwrap()
            .path
    };
    let (first, again, other) = (run(5), run(5), run(6));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first[0].step, 0);
    assert!(first[0].kl > 0.0, "the start is not the prior");
    assert_eq!(first.last().unwrap().samples, 20 * recipe.responses);
}
