//! The loss of a reward model: maximum likelihood under the Bradley–Terry (1952) model.

use rlhf_objective::{
    Dataset, Error, Network, OutputSpec, Outputs, Pairs, Result, Sequences, log_sigmoid,
};
use rlhf_tensor::{Device, Tensor};
use rlhf_train::{Epochs, Learner, Loss, Role, Source, Stats};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Settings of [`BradleyTerry`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BradleyTerryConfig {
    /// m, the margin of the chosen response's score, in units of the reward, at least 0 (Touvron et al.
    /// 2023, eq. 2). A data row's field `margin` overrides it.
    pub margin: f64,
    /// c, the coefficient of the penalty that centres scores on 0, at least 0 (Eisenstein et al. 2023,
    /// eq. 2).
    pub centring: f64,
}

impl Default for BradleyTerryConfig {
    fn default() -> Self {
        Self {
            margin: 0.0,
            centring: 0.01,
        }
    }
}

impl BradleyTerryConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// If one is negative or not finite; the message names it.
    pub fn check(&self) -> Result<()> {
        for (key, number) in [("margin", self.margin), ("centring", self.centring)] {
            if !number.is_finite() || number < 0.0 {
                let message = format!("[method] {key} = {number}: must be a number from 0");
                return Err(Error::Unsupported(message));
            }
        }
        Ok(())
    }
}

/// Fits r(x, y) to preferences: the mean over pairs of
///
/// −p·log σ(r(x, y₊) − r(x, y₋) − m) − (1 − p)·log σ(r(x, y₋) − r(x, y₊) − m) + c·(r(x, y₊) + r(x, y₋))²
///
/// (Ouyang et al. 2022, eq. 1, with one pair per prompt, in expectation over the label: p is the
/// probability that y₊ is preferred, 1 if a row has no label), in nats.
#[derive(Debug, Clone, Copy)]
pub struct BradleyTerry {
    centring: f64,
}

impl BradleyTerry {
    /// The loss with these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: &BradleyTerryConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            centring: config.centring,
        })
    }
}

/// Pairs with their margins and labels, and their weight in the loss.
#[derive(Debug, Clone)]
pub struct PairBatch {
    pairs: Pairs,
    /// \[pairs\]
    margins: Vec<f32>,
    /// The probability that the first response of a pair is preferred: \[pairs\].
    labels: Vec<f32>,
    /// The weight of each pair.
    weight: f64,
}

impl PairBatch {
    /// A whole batch, in which each pair has the weight 1/pairs. The margin is the prompt's field `margin`
    /// if that is a number, else that of the settings. The label is the field `label`, a probability or a
    /// boolean, else 1.
    ///
    /// # Errors
    /// If there are no pairs, a margin is negative or not finite, or a label is not a probability.
    pub fn new(pairs: Pairs, config: &BradleyTerryConfig) -> Result<Self> {
        if pairs.is_empty() {
            return Err(Error::Empty("there are no preference pairs".into()));
        }
        let margin = |pair| {
            let field = pairs.sequences().prompt_of(2 * pair).fields.get("margin");
            let margin = field.and_then(Value::as_f64);
            let margin = margin.unwrap_or(config.margin);
            if margin.is_finite() && margin >= 0.0 {
                Ok(margin as f32)
            } else {
                Err(Error::Unsupported(format!(
                    "pair {pair}: its margin is {margin}, which must be a number from 0"
                )))
            }
        };
        let label = |pair| {
            let field = pairs.sequences().prompt_of(2 * pair).fields.get("label");
            match field {
                None | Some(Value::Null) => Ok(1.0),
                Some(Value::Bool(yes)) => Ok(f32::from(u8::from(*yes))),
                Some(value) => value
                    .as_f64()
                    .filter(|label| (0.0..=1.0).contains(label))
                    .map(|label| label as f32)
                    .ok_or_else(|| {
                        let need = "which must be a probability in [0, 1]";
                        Error::Unsupported(format!("pair {pair}: its label is {value}, {need}"))
                    }),
            }
        };
        let margins: Result<_> = (0..pairs.len()).map(margin).collect();
        let labels: Result<_> = (0..pairs.len()).map(label).collect();
        Ok(Self {
            margins: margins?,
            labels: labels?,
            weight: 1.0 / pairs.len() as f64,
            pairs,
        })
    }

    /// The probability that the first response of each pair is preferred: \[pairs\].
    #[must_use]
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// r(x, y₊) − r(x, y₋) under a reward model, \[pairs\], with at most `tokens` tokens in a forward pass.
    ///
    /// # Errors
    /// If the network is not a reward model, or a forward pass fails.
    pub fn margins(&self, network: &mut dyn Network, tokens: usize) -> Result<Vec<f32>> {
        let sequences = self.pairs.sequences();
        let mut margins = Vec::with_capacity(self.pairs.len());
        for range in sequences.micro_batches(tokens, 2) {
            let part = sequences.select(&range.collect::<Vec<_>>());
            let scores = network.forward(&part, OutputSpec::SCORE)?.scores;
            let scores = scores.ok_or_else(no_scores)?.to_vec()?;
            margins.extend(scores.chunks_exact(2).map(|pair| pair[0] - pair[1]));
        }
        Ok(margins)
    }

    /// The responses of the pairs, with their prompts.
    #[must_use]
    pub fn sequences(&self) -> &Sequences {
        self.pairs.sequences()
    }

    /// These pairs, with unchanged weights.
    fn part(&self, pairs: &[usize]) -> Self {
        Self {
            pairs: self.pairs.select(pairs),
            margins: pairs.iter().map(|&pair| self.margins[pair]).collect(),
            labels: pairs.iter().map(|&pair| self.labels[pair]).collect(),
            weight: self.weight,
        }
    }
}

/// Batches of pairs, in a seeded random order for each epoch.
pub struct PairSource {
    all: Box<dyn Dataset>,
    config: BradleyTerryConfig,
    epochs: Epochs,
}

impl PairSource {
    /// Batches of `batch_size` pairs over `epochs` epochs of `all`, whose items are pairs. The last batch
    /// contains the remaining pairs, which have the weight of the pairs of a full batch.
    ///
    /// # Errors
    /// If there are no pairs, or `batch_size` or `epochs` is zero.
    pub fn new(
        all: Box<dyn Dataset>,
        config: &BradleyTerryConfig,
        batch_size: usize,
        epochs: usize,
        seed: u64,
    ) -> Result<Self> {
        if all.count() == 0 {
            return Err(Error::Empty("there are no preference pairs".into()));
        }
        if batch_size == 0 || epochs == 0 {
            let message = "a reward model needs at least 1 pair per step and 1 epoch";
            return Err(Error::Unsupported(message.into()));
        }
        let epochs = Epochs::new(&vec![1; all.count()], batch_size, epochs, seed);
        Ok(Self {
            all,
            config: *config,
            epochs,
        })
    }
}

impl Source for PairSource {
    type Batch = PairBatch;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    fn batch(&mut self, step: usize) -> Result<PairBatch> {
        let pairs = self.all.read(self.epochs.items(step))?;
        let batch = PairBatch::new(Pairs::new(pairs)?, &self.config)?;
        Ok(PairBatch {
            weight: batch.weight * self.epochs.share(step),
            ..batch
        })
    }
}

impl Learner for BradleyTerry {
    const ROLES: &'static [Role] = &[Role::Scorer];

    type Batch = PairBatch;

    fn sequences<'a>(&self, batch: &'a PairBatch) -> &'a Sequences {
        batch.pairs.sequences()
    }

    fn group(&self) -> usize {
        2
    }

    fn select(&self, batch: &PairBatch, responses: &[usize]) -> Result<PairBatch> {
        let pairs: Vec<usize> = responses.iter().step_by(2).map(|r| r / 2).collect();
        Ok(batch.part(&pairs))
    }

    fn loss(&self, outputs: &Outputs, batch: &PairBatch) -> Result<Loss> {
        let scores = outputs.scores.as_ref().ok_or_else(no_scores)?.values();
        let pairs = batch.pairs.len();
        let columns = scores.reshape((pairs, 2))?;
        let (chosen, rejected) = (columns.narrow(1, 0, 1)?, columns.narrow(1, 1, 1)?);
        let margins = Tensor::from_slice(&batch.margins, (pairs, 1), &Device::Cpu)?;
        let difference = (&chosen - &rejected)?;
        let mut losses = log_sigmoid(&(&difference - &margins)?)?.neg()?;
        if batch.labels.iter().any(|&label| label != 1.0) {
            let labels = Tensor::from_slice(&batch.labels, (pairs, 1), &Device::Cpu)?;
            let swapped = log_sigmoid(&(difference.neg()? - &margins)?)?.neg()?;
            losses = ((&losses * &labels)? + (swapped * labels.affine(-1.0, 1.0)?)?)?;
        }
        let sums = (&chosen + &rejected)?;
        let losses = (losses + (sums.sqr()? * self.centring)?)?;
        let losses_of_pairs: Vec<f32> = losses.flatten_all()?.to_vec1()?;
        let stats = statistics(&losses_of_pairs, &scores.to_vec1()?, &batch.labels);
        let value = (losses.sum_all()? * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

fn no_scores() -> Error {
    Error::Unsupported("the loss needs a reward model: this network has no scores".into())
}

/// Means over the pairs, in expectation over the labels. `confidence` is the probability that the model
/// gives to its own prediction of the preferred response; for a calibrated model it equals the accuracy.
fn statistics(losses: &[f32], scores: &[f32], labels: &[f32]) -> Stats {
    let pairs = losses.len() as f64;
    let mut stats = Stats::new();
    let mut mean = |name, of: &mut dyn Iterator<Item = f64>| stats.mean(name, of.sum(), pairs);
    let wide = |x: f32| f64::from(x);
    // The expected score of the preferred response of a pair, and of the other one.
    let chosen = |pair: usize| {
        let p = wide(labels[pair]);
        p * wide(scores[2 * pair]) + (1.0 - p) * wide(scores[2 * pair + 1])
    };
    let rejected = |pair: usize| wide(scores[2 * pair]) + wide(scores[2 * pair + 1]) - chosen(pair);
    let margin = |pair: usize| wide(scores[2 * pair]) - wide(scores[2 * pair + 1]);
    let all = || 0..labels.len();
    mean("loss", &mut losses.iter().map(|&x| wide(x)));
    mean(
        "rewards/margins",
        &mut all().map(|pair| (2.0 * wide(labels[pair]) - 1.0) * margin(pair)),
    );
    let accuracy = |pair: usize| accuracy_of(margin(pair), wide(labels[pair]));
    mean("rewards/accuracies", &mut all().map(accuracy));
    let confidence = |margin: f64| 1.0 / (1.0 + (-margin.abs()).exp());
    mean(
        "confidence",
        &mut all().map(|pair| confidence(margin(pair))),
    );
    mean("rewards/chosen", &mut all().map(chosen));
    mean("rewards/rejected", &mut all().map(rejected));
    stats
}

/// The probability that the prediction of this margin is correct if the first response is preferred with
/// probability `label`. A tie is correct with probability ½.
pub(crate) fn accuracy_of(margin: f64, label: f64) -> f64 {
    match margin {
        margin if margin > 0.0 => label,
        margin if margin < 0.0 => 1.0 - label,
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    fn pairs(margins: &[Option<f64>]) -> Pairs {
        let prompt = |(i, margin): (usize, &Option<f64>)| {
            let mut prompt = Prompt::from_ids(vec![1; i + 1]);
            if let Some(margin) = margin {
                prompt.fields.insert("margin".into(), (*margin).into());
            }
            prompt
        };
        let prompts = margins.iter().enumerate().map(prompt).collect();
        let answer = |i| Response::new(i / 2, vec![2; i % 3 + 1], Finish::Eos);
        let answers = (0..2 * margins.len()).map(answer).collect();
        Pairs::new(Sequences::new(prompts, answers).unwrap()).unwrap()
    }

    fn config(margin: f64, centring: f64) -> BradleyTerryConfig {
        BradleyTerryConfig { margin, centring }
    }

    fn outputs_of(batch: &PairBatch, scores: &[f32]) -> Outputs {
        Outputs::scored(batch.pairs.sequences(), scores.to_vec()).unwrap()
    }

    #[test]
    fn values_and_gradients_match_the_formula() {
        let config = config(0.5, 0.03);
        let learner = BradleyTerry::new(&config).unwrap();
        let batch = PairBatch::new(pairs(&[None, Some(2.0), None]), &config).unwrap();
        let scores = [0.3f32, -0.4, 1.0, 1.5, 0.0, 0.0];
        let outputs = outputs_of(&batch, &scores);
        let loss = learner.loss(&outputs, &batch).unwrap();
        let gradients = outputs.gradients(&loss.value).unwrap();
        assert!(gradients.values.is_none() && gradients.log_probs.is_none());
        let got = gradients.scores.unwrap();
        let mut expected = 0.0;
        for (pair, margin) in [0.5, 2.0, 0.5].into_iter().enumerate() {
            let (c, r) = (f64::from(scores[2 * pair]), f64::from(scores[2 * pair + 1]));
            let lost = 1.0 / (1.0 + f64::exp(c - r - margin));
            expected += (-(1.0 - lost).ln() + 0.03 * (c + r).powi(2)) / 3.0;
            let pull = 0.06 * (c + r);
            for (got, slope) in got[2 * pair..].iter().zip([pull - lost, pull + lost]) {
                assert!((f64::from(*got) - slope / 3.0).abs() < 1e-6);
            }
        }
        let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        let stat = |name| loss.stats.get(name).unwrap();
        assert!((stat("loss") - expected).abs() < 1e-6);
        assert!((stat("rewards/margins") - 0.2 / 3.0).abs() < 1e-6);
        assert!((stat("rewards/accuracies") - 0.5).abs() < 1e-12);
        let confidence = |margin: f64| 1.0 / (1.0 + (-margin).exp());
        let confidence = (confidence(0.7) + confidence(0.5) + 0.5) / 3.0;
        assert!((stat("confidence") - confidence).abs() < 1e-6);
    }

    /// −p·log σ(d − m) − (1 − p)·log σ(−d − m) + c·(sum)²: a label of 0 is the swapped pair, and a label of
    /// one half pulls the two scores together.
    #[test]
    fn labels_weight_both_orders_of_a_pair() {
        let config = config(0.25, 0.02);
        let learner = BradleyTerry::new(&config).unwrap();
        let labelled = |labels: &[f64]| {
            let mut prompts = Vec::new();
            for label in labels {
                let mut prompt = Prompt::from_ids(vec![1]);
                prompt.fields.insert("label".into(), (*label).into());
                prompts.push(prompt);
            }
            let answer = |i| Response::new(i / 2, vec![2; i % 2 + 1], Finish::Eos);
            let answers = (0..2 * labels.len()).map(answer).collect();
            let pairs = Pairs::new(Sequences::new(prompts, answers).unwrap()).unwrap();
            PairBatch::new(pairs, &config)
        };
        let labels = [1.0, 0.0, 0.3, 0.5];
        let scores = [0.3f32, -0.4, 1.0, 1.5, -0.2, 0.7, 0.9, 0.1];
        let batch = labelled(&labels).unwrap();
        let outputs = outputs_of(&batch, &scores);
        let loss = learner.loss(&outputs, &batch).unwrap();
        let gradients = outputs.gradients(&loss.value).unwrap().scores.unwrap();
        let log_sigmoid = |x: f64| -(1.0 + (-x).exp()).ln();
        let of = |scores: &[f64]| {
            let pairs = labels.iter().zip(scores.chunks_exact(2));
            let losses = pairs.map(|(p, pair)| {
                let (d, sum) = (pair[0] - pair[1], pair[0] + pair[1]);
                -p * log_sigmoid(d - 0.25) - (1.0 - p) * log_sigmoid(-d - 0.25) + 0.02 * sum * sum
            });
            losses.sum::<f64>() / 4.0
        };
        let wide: Vec<f64> = scores.iter().map(|&x| f64::from(x)).collect();
        let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
        assert!((value - of(&wide)).abs() < 1e-6);
        for (index, gradient) in gradients.iter().enumerate() {
            let mut moved = [wide.clone(), wide.clone()];
            moved[0][index] += 1e-4;
            moved[1][index] -= 1e-4;
            let slope = (of(&moved[0]) - of(&moved[1])) / 2e-4;
            assert!((f64::from(*gradient) - slope).abs() < 1e-6, "{index}");
        }
        let stat = |name| loss.stats.get(name).unwrap();
        // Margins 0.7, −0.5 (label 0, so correct), −0.9 (label 0.3) and 0.8 (label 0.5).
        let accuracy = (1.0 + 1.0 + 0.7 + 0.5) / 4.0;
        assert!((stat("rewards/accuracies") - accuracy).abs() < 1e-6);
        assert!((stat("rewards/margins") - (0.7 + 0.5 + 0.4 * 0.9) / 4.0).abs() < 1e-6);
        let bad = labelled(&[1.0, 1.5]).unwrap_err().to_string();
        assert!(
            bad.contains("pair 1: its label is 1.5, which must be a probability"),
            "{bad}"
        );
    }

    /// Five pairs in batches of two: the weight of the remaining pair is one half, like that of the others.
    #[test]
    fn pairs_of_the_last_batch_have_the_weight_of_the_others() {
        let config = config(0.0, 0.0);
        let learner = BradleyTerry::new(&config).unwrap();
        let five = Box::new(pairs(&[None; 5]));
        let mut source = PairSource::new(five, &config, 2, 1, 1).unwrap();
        assert_eq!(source.steps(), 3);
        for (step, scores) in [
            &[1.0, 0.0, 0.3, 0.7][..],
            &[0.0, 0.0, 0.5, 0.1],
            &[0.2, 0.9],
        ]
        .into_iter()
        .enumerate()
        {
            let batch = source.batch(step).unwrap();
            let outputs = outputs_of(&batch, scores);
            let loss = learner.loss(&outputs, &batch).unwrap();
            let gradients = outputs.gradients(&loss.value).unwrap().scores.unwrap();
            let mut sum = 0.0;
            for (pair, both) in scores.chunks(2).enumerate() {
                let margin = f64::from(both[0]) - f64::from(both[1]);
                let lost = 1.0 / (1.0 + margin.exp());
                sum -= (1.0 - lost).ln();
                assert!((f64::from(gradients[2 * pair]) + lost / 2.0).abs() < 1e-7);
            }
            let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
            assert!((value - sum / 2.0).abs() < 1e-6, "step {step}");
            // Statistics are means over pairs and do not depend on the weight.
            let mean = sum / (scores.len() / 2) as f64;
            assert!((loss.stats.get("loss").unwrap() - mean).abs() < 1e-6);
        }
    }

    #[test]
    fn losses_and_gradients_of_micro_batches_add_up() {
        let config = config(0.1, 0.01);
        let learner = BradleyTerry::new(&config).unwrap();
        let batch = PairBatch::new(pairs(&[None, Some(1.0), Some(0.0), None]), &config).unwrap();
        let scores: Vec<f32> = (0..8).map(|i| (i * 5 % 7) as f32 / 2.0 - 1.0).collect();
        let whole = outputs_of(&batch, &scores);
        let loss = learner.loss(&whole, &batch).unwrap();
        let gradients = whole.gradients(&loss.value).unwrap().scores.unwrap();
        let (mut value, mut found, mut stats) = (0.0, vec![], Stats::new());
        for responses in [&[0, 1][..], &[2, 3, 4, 5, 6, 7]] {
            let part = learner.select(&batch, responses).unwrap();
            let outputs = outputs_of(&part, &scores[responses[0]..][..responses.len()]);
            let loss = learner.loss(&outputs, &part).unwrap();
            value += loss.value.to_scalar::<f32>().unwrap();
            found.extend(outputs.gradients(&loss.value).unwrap().scores.unwrap());
            stats.absorb(&loss.stats);
        }
        assert!((value - loss.value.to_scalar::<f32>().unwrap()).abs() < 1e-6);
        found
            .iter()
            .zip(&gradients)
            .for_each(|(a, b)| assert!((a - b).abs() < 1e-7));
        for (name, number) in loss.stats.iter() {
            assert!((stats.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn invalid_settings_and_batches_are_errors() {
        let error = |config| BradleyTerry::new(&config).unwrap_err().to_string();
        assert!(error(config(-1.0, 0.0)).contains("margin = -1"));
        assert!(error(config(0.0, f64::NAN)).contains("centring = NaN"));
        let config = config(0.0, 0.0);
        let bad = PairBatch::new(pairs(&[None, Some(-2.0)]), &config).unwrap_err();
        assert!(bad.to_string().contains("pair 1"), "{bad}");
        assert!(PairBatch::new(pairs(&[]), &config).is_err());
        let batch = PairBatch::new(pairs(&[None]), &config).unwrap();
        let source = |of: &[Option<f64>], batch_size| {
            PairSource::new(Box::new(pairs(of)), &config, batch_size, 1, 1)
        };
        assert!(source(&[None], 0).is_err() && source(&[], 1).is_err());
        let zeros = vec![0.0; batch.pairs.sequences().tokens()];
        let none = Outputs::new(batch.pairs.sequences(), zeros, None, None).unwrap();
        let learner = BradleyTerry::new(&config).unwrap();
        assert!(learner.loss(&none, &batch).is_err());
    }
}
