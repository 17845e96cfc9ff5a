//! Against TRL's numbers.

use crate::batch::tests::pairs;
use crate::{Batch, Config, Dpo, Kto, KtoConfig, UnpairedPreferences};
use rlhf_objective::{
    Beta, Decoder, KlPenalty, LogDist, Network, OutputGrads, OutputSpec, Outputs, ParameterSet,
    PerSeq, PerToken, Prior, Result, Sequences,
};
use rlhf_train::Learner;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Deserialize)]
struct Golden<C> {
    lengths: Vec<usize>,
    cases: BTreeMap<String, C>,
    #[serde(default)]
    kto: BTreeMap<String, Opinion>,
}

#[derive(Deserialize)]
struct Smoothed {
    label_smoothing: f64,
    stats: BTreeMap<String, f64>,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Deserialize)]
struct Named {
    settings: Config,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    beta: f64,
    log_probs: Vec<f32>,
    prior_log_probs: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Opinion {
    weights: KtoConfig,
    liked: Vec<bool>,
    mismatched_log_probs: Vec<f32>,
    mismatched_prior_log_probs: Vec<f32>,
    kl: f64,
    #[serde(flatten)]
    numbers: Numbers,
}

/// A network, or a prior, that answers numbers it was given: one a token, or one a response (its
/// first token's, the others 0).
struct Given(Vec<f32>);

impl Given {
    fn answers(&self, sequences: &Sequences) -> Vec<f32> {
        if self.0.len() == sequences.tokens() {
            return self.0.clone();
        }
        let mut numbers = vec![0.0; sequences.tokens()];
        for (start, number) in sequences.offsets().iter().zip(&self.0) {
            numbers[*start] = *number;
        }
        numbers
    }
}

impl Network for Given {
    fn vocab(&self) -> usize {
        unreachable!()
    }
    fn forward(&mut self, sequences: &Sequences, _: OutputSpec) -> Result<Outputs> {
        Outputs::new(sequences, self.answers(sequences), None, None)
    }
    fn log_dist(&mut self, _: Range<usize>) -> Result<LogDist<'_>> {
        unreachable!()
    }
    fn backward(&mut self, _: &OutputGrads) -> Result<()> {
        unreachable!()
    }
    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        unreachable!()
    }
    fn parameter_sets(&self) -> Vec<&dyn ParameterSet> {
        unreachable!()
    }
    fn parameter_sets_mut(&mut self) -> Vec<&mut dyn ParameterSet> {
        unreachable!()
    }
}

impl Prior for Given {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        PerToken::from_vec(self.answers(sequences), sequences.offsets())
    }
    fn log_dist(&mut self, _: &Sequences, _: Range<usize>) -> Result<LogDist<'_>> {
        unreachable!()
    }
    fn is_normalized(&self) -> bool {
        true
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        unreachable!()
    }
}

fn golden<C: DeserializeOwned>(name: &str) -> Golden<C> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    let text = std::fs::read_to_string(format!("{path}{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn by_pair(lengths: &[usize]) -> Vec<(usize, usize)> {
    lengths.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

#[track_caller]
fn close(ours: f64, golden: f64, what: &str) {
    let tolerance = 1e-4 * golden.abs() + 1e-7;
    assert!(
        (ours - golden).abs() <= tolerance,
        "{what}: {ours} is not {golden}"
    );
}

/// The statistics, once loss and gradient are found right.
fn check<L: Learner>(
    learner: &L,
    batch: &L::Batch,
    case: Numbers,
    name: &str,
) -> rlhf_train::Stats {
    let mut network = Given(case.log_probs);
    let prepared = learner.prepare(&mut network, batch, 1000).unwrap();
    let batch = prepared.as_ref().unwrap_or(batch);
    let outputs = network
        .forward(learner.sequences(batch), OutputSpec::TRAIN)
        .unwrap();
    let loss = learner.loss(&outputs, batch).unwrap();
    let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
    close(value, case.loss, name);
    close(loss.stats.get("loss").unwrap(), case.loss, name);
    let gradient = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
    assert_eq!(gradient.len(), case.gradient.len());
    for (ours, exact) in gradient.iter().zip(case.gradient) {
        close(f64::from(*ours), exact, name);
    }
    loss.stats
}

#[test]
fn loss_gradient_and_statistics_are_those_of_trl() {
    let golden: Golden<Smoothed> = golden("dpo.json");
    assert_eq!(golden.cases.len(), 12);
    for (name, case) in golden.cases {
        let dpo = Dpo::new(&Config {
            label_smoothing: case.label_smoothing,
            ..Config::default()
        });
        let (prior, beta) = (case.numbers.prior_log_probs.clone(), case.numbers.beta);
        let batch = Batch::new(pairs(&by_pair(&golden.lengths), prior, beta)).unwrap();
        let stats = check(&dpo.unwrap(), &batch, case.numbers, &name);
        // At the prior, which response wins is a matter of rounding.
        let decided = |stat: &str| stat != "rewards/accuracies" || !name.starts_with("at");
        for (stat, exact) in case.stats.iter().filter(|(stat, _)| decided(stat)) {
            // Sums of log-probs are rounded at 1e-6.
            let tolerance = 1e-4 * exact.abs() + 1e-6;
            let ours = stats.get(stat).unwrap();
            assert!(
                (ours - exact).abs() <= tolerance,
                "{name}, {stat}: {ours} is not {exact}"
            );
        }
    }
}

#[test]
fn the_other_losses_are_those_of_trl() {
    let golden: Golden<Named> = golden("preferences.json");
    assert_eq!(golden.cases.len(), 32);
    for (name, case) in golden.cases {
        let dpo = Dpo::new(&case.settings).unwrap();
        let (prior, beta) = (case.numbers.prior_log_probs.clone(), case.numbers.beta);
        let batch = Batch::new(pairs(&by_pair(&golden.lengths), prior, beta)).unwrap();
        check(&dpo, &batch, case.numbers, &name);
    }
}

#[test]
fn kto_is_that_of_trl() {
    let golden: Golden<Named> = golden("preferences.json");
    assert_eq!(golden.kto.len(), 2);
    for (name, case) in golden.kto {
        let kto = Kto::new(&case.weights).unwrap();
        let numbers = case.numbers;
        let prior = numbers.prior_log_probs.clone();
        let answers = pairs(&by_pair(&golden.lengths), prior.clone(), 1.0);
        let answers = answers.pairs.sequences().clone();
        let beta = Beta::Fixed(numbers.beta);
        let mut penalty = KlPenalty::new(Box::new(Given(prior)), beta);
        let made = UnpairedPreferences::new(answers, case.liked, &mut penalty, 64, 1000);
        let batch = UnpairedPreferences {
            mismatched_prior: PerSeq::from_vec(case.mismatched_prior_log_probs).unwrap(),
            ..made.unwrap()
        };
        let mut others = Given(case.mismatched_log_probs);
        let batch = kto.prepare(&mut others, &batch, 1000).unwrap().unwrap();
        let reference_point = batch.reference_point.unwrap();
        close(reference_point, numbers.beta * case.kl, &name);
        let known = Known(kto);
        check(&known, &batch, numbers, &name);
    }
}

/// KTO on a batch whose reference point is known already.
struct Known(Kto);

impl Learner for Known {
    type Batch = UnpairedPreferences;
    fn sequences<'a>(&self, batch: &'a UnpairedPreferences) -> &'a Sequences {
        self.0.sequences(batch)
    }
    fn select(
        &self,
        batch: &UnpairedPreferences,
        responses: &[usize],
    ) -> Result<UnpairedPreferences> {
        self.0.select(batch, responses)
    }
    fn loss(&self, outputs: &Outputs, batch: &UnpairedPreferences) -> Result<rlhf_train::Loss> {
        self.0.loss(outputs, batch)
    }
}
