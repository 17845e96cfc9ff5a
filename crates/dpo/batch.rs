//! A batch of preference pairs with their labels and weights.

use rlhf_objective::{Error, Pairs, PairsWithPrior, Result};
use serde_json::Value;

/// Preference pairs, each with its label and its weight in the loss.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) pairs: PairsWithPrior,
    /// The probability that the first response of a pair is the preferred one: \[pairs\].
    pub(crate) labels: Vec<f32>,
    /// The weight of each pair in the loss: \[pairs\]; those of the whole dataset sum to 1.
    pub(crate) weights: Vec<f64>,
    /// For AOT: the prior's margin of the same rank in the batch as the policy's margin of this pair,
    /// \[pairs\], nats.
    pub(crate) matched_prior_margins: Option<Vec<f32>>,
}

impl Batch {
    /// Takes labels and weights from the rows. The label of a pair is the field `label` of its
    /// prompt's row: a probability, true or false; 1 where the row has none. Its weight is
    /// proportional to the row's field `weight`: a positive number; 1 where the row has none.
    ///
    /// # Errors
    /// As [`with_labels`](Self::with_labels), or if a field has another type; the message names
    /// the pair.
    pub fn new(pairs: PairsWithPrior) -> Result<Self> {
        let labels = row_values(&pairs.pairs, "label")?;
        let weights = row_values(&pairs.pairs, "weight")?;
        Self::with_labels(pairs, &labels, &weights)
    }

    /// Uses these labels and weights, one per pair, and ignores the rows' fields. With the
    /// probabilities of a preference model as labels and those of a sampler as weights, the loss is
    /// the expectation under both.
    ///
    /// # Errors
    /// If there are no pairs, or not one label and weight per pair; if a label is not in \[0, 1\],
    /// or a weight not a positive number; if β is not positive, or the prior gives a response
    /// probability 0, because the implicit reward is then undefined.
    pub fn with_labels(pairs: PairsWithPrior, labels: &[f64], weights: &[f64]) -> Result<Self> {
        let expected = pairs.pairs.len();
        if expected == 0 {
            return Err(Error::Empty("there are no preference pairs".into()));
        }
        for (what, values) in [("labels", labels), ("weights of pairs", weights)] {
            let got = values.len();
            if got != expected {
                return Err(Error::Size {
                    what,
                    expected,
                    got,
                });
            }
        }
        let in_range = |label: &f64| (0.0..=1.0).contains(label);
        check_each("label", labels, in_range, "a probability in [0, 1]")?;
        let positive = |weight: &f64| weight.is_finite() && *weight > 0.0;
        check_each("weight", weights, positive, "a positive number")?;
        check_implicit_rewards(&pairs)?;
        let total: f64 = weights.iter().sum();
        Ok(Self {
            pairs,
            labels: labels.iter().map(|&label| label as f32).collect(),
            weights: weights.iter().map(|weight| weight / total).collect(),
            matched_prior_margins: None,
        })
    }

    /// The pairs.
    #[must_use]
    pub fn pairs(&self) -> &PairsWithPrior {
        &self.pairs
    }

    /// A subset of the pairs, with their weights unchanged.
    pub(crate) fn subset(&self, pairs: &[usize]) -> Result<Self> {
        Ok(Self {
            pairs: self.pairs.select(pairs)?,
            labels: pairs.iter().map(|&pair| self.labels[pair]).collect(),
            weights: pairs.iter().map(|&pair| self.weights[pair]).collect(),
            matched_prior_margins: self
                .matched_prior_margins
                .as_ref()
                .map(|of| pairs.iter().map(|&pair| of[pair]).collect()),
        })
    }

    /// Checks that all labels are 1 and all weights equal.
    ///
    /// # Errors
    /// If not; the message names the loss.
    pub(crate) fn check_hard_labels(&self, loss: &str) -> Result<()> {
        let hard = self.labels.iter().all(|&label| label == 1.0);
        let equal = self.weights.windows(2).all(|pair| pair[0] == pair[1]);
        if hard && equal {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "labels below 1 and weights are not supported by `{loss}`, which matches the margins of \
            a whole batch by rank. Remove the fields `label` and `weight`, or use another method.loss"
        )))
    }
}

/// The value of `field` in each pair's row: true is 1, false is 0, a missing field is 1.
fn row_values(pairs: &Pairs, field: &str) -> Result<Vec<f64>> {
    let value = |pair: usize| match pairs.sequences().prompt_of(2 * pair).fields.get(field) {
        None | Some(Value::Null) => Ok(1.0),
        Some(Value::Bool(yes)) => Ok(f64::from(u8::from(*yes))),
        Some(value) => value.as_f64().ok_or_else(|| {
            Error::Unsupported(format!("pair {pair}: its {field} is {value}, not a number"))
        }),
    };
    (0..pairs.len()).map(value).collect()
}

fn check_each(
    what: &str,
    values: &[f64],
    valid: impl Fn(&f64) -> bool,
    expected: &str,
) -> Result<()> {
    match values.iter().position(|value| !valid(value)) {
        None => Ok(()),
        Some(pair) => Err(Error::Unsupported(format!(
            "pair {pair}: its {what} is {}, which must be {expected}",
            values[pair]
        ))),
    }
}

fn check_implicit_rewards(pairs: &PairsWithPrior) -> Result<()> {
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
            fix: "remove the pair, or use a prior that gives it a positive probability",
        });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rlhf_objective::{Finish, PerSeq, Prompt, Response, Sequences};
    use serde_json::json;

    /// Pairs of responses of these lengths, each pair with its own prompt.
    pub(crate) fn pairs(lengths: &[(usize, usize)], prior: Vec<f32>, beta: f64) -> PairsWithPrior {
        pairs_with_fields(lengths, &vec![Value::Null; lengths.len()], prior, beta)
    }

    /// The same, with these fields in the prompts' rows.
    fn pairs_with_fields(
        lengths: &[(usize, usize)],
        fields: &[Value],
        prior: Vec<f32>,
        beta: f64,
    ) -> PairsWithPrior {
        let prompts = fields.iter().enumerate().map(|(n, fields)| Prompt {
            fields: fields.as_object().cloned().unwrap_or_default(),
            ..Prompt::from_ids(vec![1; n + 1])
        });
        let response = |prompt, n| Response::new(prompt, vec![2; n], Finish::Eos);
        let responses = lengths
            .iter()
            .enumerate()
            .flat_map(|(i, &(chosen, rejected))| [response(i, chosen), response(i, rejected)]);
        let sequences = Sequences::new(prompts.collect(), responses.collect()).unwrap();
        PairsWithPrior {
            pairs: Pairs::new(sequences).unwrap(),
            prior_log_probs: PerSeq::from_vec(prior).unwrap(),
            beta,
        }
    }

    #[test]
    fn pairs_without_an_implicit_reward_are_rejected() {
        let error = |prior: Vec<f32>, beta: f64| {
            let batch = Batch::new(pairs(&[(1, 2)], prior, beta));
            batch.unwrap_err().to_string()
        };
        assert!(error(vec![-1., -2.], 0.0).contains("beta = 0"));
        assert!(error(vec![-1., f32::NEG_INFINITY], 0.1).contains("sequence 1"));
        assert!(Batch::new(pairs(&[], vec![], 0.1)).is_err());
    }

    pub(crate) fn batch_with_fields(fields: &[Value]) -> Result<Batch> {
        let lengths = vec![(1, 2); fields.len()];
        Batch::new(pairs_with_fields(
            &lengths,
            fields,
            vec![-1.0; 2 * fields.len()],
            0.1,
        ))
    }

    #[test]
    fn labels_and_weights_come_from_the_rows() {
        let fields = [
            json!({"label": 0.75, "weight": 3}),
            json!({"label": false}),
            json!({"label": null, "weight": 1.0}),
            json!({"label": true}),
        ];
        let mut batch = batch_with_fields(&fields).unwrap();
        assert_eq!(batch.labels, [0.75, 0.0, 1.0, 1.0]);
        let sixth = 1.0 / 6.0;
        assert_eq!(batch.weights, [0.5, sixth, sixth, sixth]);
        batch = batch.subset(&[2, 0]).unwrap();
        assert_eq!(
            (batch.labels, batch.weights),
            (vec![1.0, 0.75], vec![sixth, 0.5])
        );
    }

    #[test]
    fn invalid_labels_and_weights_are_errors_that_name_the_pair() {
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
            let error = batch_with_fields(&[json!({}), fields])
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
        let two = || pairs(&[(1, 1), (1, 1)], vec![-1.0; 4], 0.1);
        assert!(Batch::with_labels(two(), &[1.0], &[1.0, 1.0]).is_err());
        assert!(Batch::with_labels(two(), &[1.0, f64::NAN], &[1.0, 1.0]).is_err());
    }
}
