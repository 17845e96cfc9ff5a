//! Losses, gradients and metrics against values computed with TRL (tests/golden).

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
struct ReferenceFile<C> {
    lengths: Vec<usize>,
    cases: BTreeMap<String, C>,
    #[serde(default)]
    kto: BTreeMap<String, KtoCase>,
}

#[derive(Deserialize)]
struct SmoothedCase {
    label_smoothing: f64,
    stats: BTreeMap<String, f64>,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
struct LossCase {
    settings: Config,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    beta: f64,
    log_probs: Vec<f32>,
    prior_log_probs: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct KtoCase {
    weights: KtoConfig,
    liked: Vec<bool>,
    mismatched_log_probs: Vec<f32>,
    mismatched_prior_log_probs: Vec<f32>,
    kl: f64,
    #[serde(flatten)]
    expected: Expected,
}

/// A network and a prior with fixed log-probs: one per token, or one per response (that of its first
/// token; the others are 0).
struct FixedLogProbs(Vec<f32>);

impl FixedLogProbs {
    fn log_probs_of(&self, sequences: &Sequences) -> Vec<f32> {
        if self.0.len() == sequences.tokens() {
            return self.0.clone();
        }
        let mut log_probs = vec![0.0; sequences.tokens()];
        for (start, log_prob) in sequences.offsets().iter().zip(&self.0) {
            log_probs[*start] = *log_prob;
        }
        log_probs
    }
}

impl Network for FixedLogProbs {
    fn vocab(&self) -> usize {
        unreachable!()
    }
    fn forward(&mut self, sequences: &Sequences, _: OutputSpec) -> Result<Outputs> {
        Outputs::new(sequences, self.log_probs_of(sequences), None, None)
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

impl Prior for FixedLogProbs {
    fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
        PerToken::from_vec(self.log_probs_of(sequences), sequences.offsets())
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

fn load<C: DeserializeOwned>(name: &str) -> ReferenceFile<C> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    let text = std::fs::read_to_string(format!("{path}{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn by_pair(lengths: &[usize]) -> Vec<(usize, usize)> {
    lengths.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

#[track_caller]
fn close(ours: f64, expected: f64, what: &str) {
    let tolerance = 1e-4 * expected.abs() + 1e-7;
    assert!(
        (ours - expected).abs() <= tolerance,
        "{what}: {ours} is not {expected}"
    );
}

/// Compares loss and gradient with the expected ones, and returns the metrics.
fn check<L: Learner>(
    learner: &L,
    batch: &L::Batch,
    case: Expected,
    name: &str,
) -> rlhf_train::Stats {
    let mut network = FixedLogProbs(case.log_probs);
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
fn dpo_loss_gradient_and_metrics_match_trl() {
    let file: ReferenceFile<SmoothedCase> = load("dpo.json");
    assert_eq!(file.cases.len(), 12);
    for (name, case) in file.cases {
        let dpo = Dpo::new(&Config {
            label_smoothing: case.label_smoothing,
            ..Config::default()
        });
        let (prior, beta) = (case.expected.prior_log_probs.clone(), case.expected.beta);
        let batch = Batch::new(pairs(&by_pair(&file.lengths), prior, beta)).unwrap();
        let stats = check(&dpo.unwrap(), &batch, case.expected, &name);
        // At the prior the margins are 0, so the accuracy depends on rounding.
        let defined = |stat: &str| stat != "rewards/accuracies" || !name.starts_with("at");
        for (stat, exact) in case.stats.iter().filter(|(stat, _)| defined(stat)) {
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
fn other_losses_and_gradients_match_trl() {
    let file: ReferenceFile<LossCase> = load("preferences.json");
    assert_eq!(file.cases.len(), 32);
    for (name, case) in file.cases {
        let dpo = Dpo::new(&case.settings).unwrap();
        let (prior, beta) = (case.expected.prior_log_probs.clone(), case.expected.beta);
        let batch = Batch::new(pairs(&by_pair(&file.lengths), prior, beta)).unwrap();
        check(&dpo, &batch, case.expected, &name);
    }
}

#[test]
fn kto_loss_and_gradient_match_trl() {
    let file: ReferenceFile<LossCase> = load("preferences.json");
    assert_eq!(file.kto.len(), 2);
    for (name, case) in file.kto {
        let kto = Kto::new(&case.weights).unwrap();
        let expected = case.expected;
        let prior = expected.prior_log_probs.clone();
        let pairs = pairs(&by_pair(&file.lengths), prior.clone(), 1.0);
        let sequences = pairs.pairs.sequences().clone();
        let beta = Beta::Fixed(expected.beta);
        let mut penalty = KlPenalty::new(Box::new(FixedLogProbs(prior)), beta);
        let batch = UnpairedPreferences::new(sequences, case.liked, &mut penalty, 64, 1000);
        let batch = UnpairedPreferences {
            mismatched_prior: PerSeq::from_vec(case.mismatched_prior_log_probs).unwrap(),
            ..batch.unwrap()
        };
        let mut mismatched = FixedLogProbs(case.mismatched_log_probs);
        let batch = kto.prepare(&mut mismatched, &batch, 1000).unwrap().unwrap();
        let reference_point = batch.reference_point.unwrap();
        close(reference_point, expected.beta * case.kl, &name);
        let kto = PreparedKto(kto);
        check(&kto, &batch, expected, &name);
    }
}

/// KTO without `prepare`, for a batch whose reference point is set.
struct PreparedKto(Kto);

impl Learner for PreparedKto {
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
