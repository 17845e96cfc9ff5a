//! Pairs as batches.

use rlhf_objective::{Error, Pairs, PairsWithPrior, Result};
use serde_json::Value;

/// Pairs with the label of each, and the weight each has in the loss.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) pairs: PairsWithPrior,
    /// The probability that the first response of a pair is the preferred one: \[pairs\].
    pub(crate) labels: Vec<f32>,
    /// What a pair weighs in the loss: \[pairs\], of sum 1 over all pairs.
    pub(crate) weights: Vec<f64>,
    /// The prior's margin of the rank of each pair in the whole batch, where a loss compares ranks:
    /// \[pairs\], nats.
    pub(crate) matched: Option<Vec<f32>>,
}

impl Batch {
    /// A whole batch. The label of a pair is the field `label` of its prompt's row, a probability
    /// or true or false, and 1 where the row has none; its weight is to those of the others as the
    /// row's field `weight`, a positive number, and 1 where the row has none.
    ///
    /// # Errors
    /// As [`labelled`](Self::labelled), or if a field is something else; the message names the
    /// pair.
    pub fn new(pairs: PairsWithPrior) -> Result<Self> {
        let labels = numbers(&pairs.pairs, "label")?;
        let weights = numbers(&pairs.pairs, "weight")?;
        Self::labelled(pairs, &labels, &weights)
    }

    /// A whole batch with these labels and weights, one a pair, whatever its rows say: with the
    /// probabilities of a preference model as labels and those of a sampler as weights, the loss is
    /// its expectation under both.
    ///
    /// # Errors
    /// If there is no pair, or not one label and weight a pair; if a label is not in \[0, 1\], or a
    /// weight not a positive number; if β is not positive, or the prior gives a response
    /// probability 0, for then there is no implicit reward.
    pub fn labelled(pairs: PairsWithPrior, labels: &[f64], weights: &[f64]) -> Result<Self> {
        let expected = pairs.pairs.len();
        if expected == 0 {
            return Err(Error::Empty("there are no preference pairs".into()));
        }
        for (what, numbers) in [("labels", labels), ("weights of pairs", weights)] {
            let got = numbers.len();
            if got != expected {
                return Err(Error::Size {
                    what,
                    expected,
                    got,
                });
            }
        }
        let in_range = |label: &f64| (0.0..=1.0).contains(label);
        refuse("label", labels, in_range, "a probability in [0, 1]")?;
        let positive = |weight: &f64| weight.is_finite() && *weight > 0.0;
        refuse("weight", weights, positive, "a positive number")?;
        has_implicit_rewards(&pairs)?;
        let total: f64 = weights.iter().sum();
        Ok(Self {
            pairs,
            labels: labels.iter().map(|&label| label as f32).collect(),
            weights: weights.iter().map(|weight| weight / total).collect(),
            matched: None,
        })
    }

    /// The pairs.
    #[must_use]
    pub fn pairs(&self) -> &PairsWithPrior {
        &self.pairs
    }

    /// Some of the pairs, at the weights they have here.
    pub(crate) fn part(&self, pairs: &[usize]) -> Result<Self> {
        Ok(Self {
            pairs: self.pairs.select(pairs)?,
            labels: pairs.iter().map(|&pair| self.labels[pair]).collect(),
            weights: pairs.iter().map(|&pair| self.weights[pair]).collect(),
            matched: self
                .matched
                .as_ref()
                .map(|of| pairs.iter().map(|&pair| of[pair]).collect()),
        })
    }

    /// Refuses labels that leave a doubt and pairs that do not weigh alike.
    ///
    /// # Errors
    /// If there are any; the message names the loss.
    pub(crate) fn check_certain(&self, loss: &str) -> Result<()> {
        let certain = self.labels.iter().all(|&label| label == 1.0);
        let alike = self.weights.windows(2).all(|pair| pair[0] == pair[1]);
        if certain && alike {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "{loss} compares the margins of a whole batch by rank: it takes neither labels below 1 \
             nor weights"
        )))
    }
}

/// A field of each pair's row: a number, true for 1 and false for 0, or nothing for 1.
fn numbers(pairs: &Pairs, field: &str) -> Result<Vec<f64>> {
    let number = |pair: usize| match pairs.sequences().prompt_of(2 * pair).fields.get(field) {
        None | Some(Value::Null) => Ok(1.0),
        Some(Value::Bool(yes)) => Ok(f64::from(u8::from(*yes))),
        Some(value) => value.as_f64().ok_or_else(|| {
            Error::Unsupported(format!("pair {pair}: its {field} is {value}, not a number"))
        }),
    };
    (0..pairs.len()).map(number).collect()
}

fn refuse(what: &str, numbers: &[f64], good: impl Fn(&f64) -> bool, need: &str) -> Result<()> {
    match numbers.iter().position(|number| !good(number)) {
        None => Ok(()),
        Some(pair) => Err(Error::Unsupported(format!(
            "pair {pair}: its {what} is {}, which must be {need}",
            numbers[pair]
        ))),
    }
}

fn has_implicit_rewards(pairs: &PairsWithPrior) -> Result<()> {
    if pairs.beta <= 0.0 || !pairs.beta.is_finite() {
        return Err(Error::Unsupported(format!(
            "beta = {}: dpo needs a positive beta, because its implicit reward is \
             beta * log(policy / prior)",
            pairs.beta
        )));
    }
    let prior = pairs.prior_log_probs.to_vec()?;
    if let Some(sequence) = prior.iter().position(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: "the prior's log-probability",
            sequence,
            value: f64::from(prior[sequence]),
            fix: "drop the pair, or take a prior that can say it",
        });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rlhf_objective::{Finish, PerSeq, Prompt, Response, Sequences};
    use serde_json::json;

    /// Pairs of responses of these lengths, each pair to its own prompt.
    pub(crate) fn pairs(lengths: &[(usize, usize)], prior: Vec<f32>, beta: f64) -> PairsWithPrior {
        rows(lengths, &vec![Value::Null; lengths.len()], prior, beta)
    }

    /// As `pairs`, from rows with these fields.
    fn rows(
        lengths: &[(usize, usize)],
        fields: &[Value],
        prior: Vec<f32>,
        beta: f64,
    ) -> PairsWithPrior {
        let prompts = fields.iter().enumerate().map(|(n, fields)| Prompt {
            fields: fields.as_object().cloned().unwrap_or_default(),
            ..Prompt::from_ids(vec![1; n + 1])
        });
        let answer = |prompt, n| Response::new(prompt, vec![2; n], Finish::Eos);
        let responses = lengths
            .iter()
            .enumerate()
            .flat_map(|(i, &(chosen, rejected))| [answer(i, chosen), answer(i, rejected)]);
        let sequences = Sequences::new(prompts.collect(), responses.collect()).unwrap();
        PairsWithPrior {
            pairs: Pairs::new(sequences).unwrap(),
            prior_log_probs: PerSeq::from_vec(prior).unwrap(),
            beta,
        }
    }

    #[test]
    fn refuses_what_has_no_implicit_reward() {
        let error = |prior: Vec<f32>, beta: f64| {
            let made = Batch::new(pairs(&[(1, 2)], prior, beta));
            made.unwrap_err().to_string()
        };
        assert!(error(vec![-1., -2.], 0.0).contains("beta = 0"));
        assert!(error(vec![-1., f32::NEG_INFINITY], 0.1).contains("sequence 1"));
        assert!(Batch::new(pairs(&[], vec![], 0.1)).is_err());
    }

    pub(crate) fn labelled(fields: &[Value]) -> Result<Batch> {
        let lengths = vec![(1, 2); fields.len()];
        Batch::new(rows(&lengths, fields, vec![-1.0; 2 * fields.len()], 0.1))
    }

    #[test]
    fn rows_say_how_sure_a_label_is_and_what_it_weighs() {
        let fields = [
            json!({"label": 0.75, "weight": 3}),
            json!({"label": false}),
            json!({"label": null, "weight": 1.0}),
            json!({"label": true}),
        ];
        let mut batch = labelled(&fields).unwrap();
        assert_eq!(batch.labels, [0.75, 0.0, 1.0, 1.0]);
        let sixth = 1.0 / 6.0;
        assert_eq!(batch.weights, [0.5, sixth, sixth, sixth]);
        batch = batch.part(&[2, 0]).unwrap();
        assert_eq!(
            (batch.labels, batch.weights),
            (vec![1.0, 0.75], vec![sixth, 0.5])
        );
    }

    #[test]
    fn bad_labels_and_weights_are_named() {
        for (fields, expected) in [
            (
                json!({"label": 1.5}),
                "pair 1: its label is 1.5, which must be a probability",
            ),
            (
                json!({"label": "yes"}),
                "pair 1: its label is \"yes\", not a number",
            ),
            (
                json!({"weight": 0}),
                "pair 1: its weight is 0, which must be a positive number",
            ),
            (
                json!({"weight": [1]}),
                "pair 1: its weight is [1], not a number",
            ),
        ] {
            let error = labelled(&[json!({}), fields]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let two = || pairs(&[(1, 1), (1, 1)], vec![-1.0; 4], 0.1);
        assert!(Batch::labelled(two(), &[1.0], &[1.0, 1.0]).is_err());
        assert!(Batch::labelled(two(), &[1.0, f64::NAN], &[1.0, 1.0]).is_err());
    }
}
