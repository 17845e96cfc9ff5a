//! Where methods end by theory: at π*, and those that have another target at that.

use super::train::Runner;
use super::{Reached, Recipe, TabularMethod, World, train};
use rlhf_objective::{KlPenalty, LocalKl, Outputs, Result, Scored, Sequences};
use rlhf_oracle::{LocalPenalty, Policy, reference_demonstrations, reference_tree};
use rlhf_reinforce::{Baseline, GradientBatch, KlPlacement, PolicyGradient};
use rlhf_tensor::Rng;
use rlhf_train::{Learner, Loss, Method, Stats};
use std::ops::ControlFlow;

fn gold() -> World {
    World::new(reference_tree(0.5), 1.0)
}

fn online<M: Method>(world: &World, method: M) -> Reached {
    // At these fixed points, unlike at π*, samples leave a noise that does not go away by itself.
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
fn penalties_on_tokens_alone_land_where_the_oracle_says() {
    let world = gold();
    for (kl, penalty, elbo) in [
        (LocalKl::LocalKl, LocalPenalty::Reverse, 1.643_768_81),
        (LocalKl::LocalK2, LocalPenalty::Reverse, 1.643_768_81),
        (LocalKl::LocalK3, LocalPenalty::Forward, 1.613_820_55),
    ] {
        let method = PolicyGradient::new(Baseline::LeaveOneOut, KlPlacement::Loss(kl)).unwrap();
        let reached = online(&world, method);
        let last = reached.last().elbo;
        assert!((last - elbo).abs() < 2e-3, "{kl:?}: {last}");
        // Not only its J: the policy itself, while π* is ten times as far.
        let predicted = world
            .problem
            .with_prior(world.problem.local_optimum(penalty));
        let distance = |policy: &Policy| predicted.as_ref().unwrap().evaluate(policy).kl;
        let (own, optimum) = (distance(&reached.policy), distance(&world.solution.policy));
        assert!(own < 4e-3 && optimum > 2e-2, "{kl:?}: {own} and {optimum}");
    }
}

/// k1 = log π − log p₀ in the loss: a mistake that others have made.
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
        // The prior's part is a constant.
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
fn k1_in_the_loss_regularizes_nothing() {
    let world = gold();
    let nothing = KlPlacement::Loss(LocalKl::LocalK2);
    let gradient = PolicyGradient::new(Baseline::LeaveOneOut, nothing).unwrap();
    let last = online(&world, K1InLoss(gradient)).last();
    // At the response of greatest reward, 3, whose log-prob under the prior is −3.60.
    assert!(last.reward > 2.97, "{last:?}");
    assert!((last.elbo - 1.199).abs() < 0.05, "{last:?}");
}

#[test]
fn what_the_prior_forbids_no_method_says() {
    let problem = reference_tree(0.5);
    let rows: Vec<Vec<f64>> = problem
        .tree()
        .prefixes()
        .iter()
        .map(|_| vec![0.4, 0.0, 0.6])
        .collect();
    let deaf = Policy::from_weights(problem.tree(), &rows).unwrap();
    let world = World::new(problem.with_prior(deaf).unwrap(), 1.0);
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

/// With a discount ppo rests at the policy of that discount; a method without one at π*.
#[test]
fn a_discount_is_another_problem() {
    let world = World::new(reference_tree(0.5), 0.9);
    let run = |method| train(&world, method, Recipe::of(method), 1).unwrap();
    let gap = run(TabularMethod::PpoKl).last().gap;
    assert!((gap - 0.029_857_02).abs() < 2e-3, "{gap}");
    assert!(run(TabularMethod::Rloo).last().gap < 1e-3);
}

/// The same seed gives the same numbers, another one others.
#[test]
fn a_run_is_what_its_seed_makes_it() {
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
