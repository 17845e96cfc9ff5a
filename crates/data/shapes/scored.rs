//! Parses several responses with scores.

use super::{FieldValue, ParsedRow, RowParser};
use crate::{Result, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which pairs are made from several scored responses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairsOf {
    /// The best and the worst, one pair per prompt.
    BestWorst,
    /// Every two responses.
    All,
}

impl PairsOf {
    /// The pairs (better, worse) whose scores differ by more than `margin`. Of equal scores the
    /// first counts as the best and as the worst.
    pub(crate) fn choose(self, scores: &[f64], margin: f64) -> Vec<(usize, usize)> {
        let far = |&(a, b): &(usize, usize)| scores[a] - scores[b] > margin;
        let indices = 0..scores.len();
        match self {
            Self::All => indices
                .clone()
                .flat_map(|a| indices.clone().map(move |b| (a, b)))
                .filter(far)
                .collect(),
            Self::BestWorst => {
                let best = indices
                    .clone()
                    .rev()
                    .max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
                let worst = indices.min_by(|a, b| scores[*a].total_cmp(&scores[*b]));
                best.zip(worst).into_iter().filter(far).collect()
            }
        }
    }
}

impl RowParser {
    /// A prompt, its responses and their scores.
    pub(crate) fn scored(&self, row: &Row) -> Result<ParsedRow> {
        let fields = &self.fields;
        let responses = self.items(row, &fields.responses)?;
        let scores = self.items(row, &fields.scores)?;
        if responses.len() < 2 || responses.len() != scores.len() {
            return Err(row.error(format!(
                "`{}` has {} items and `{}` has {}: they must have the same number of items, at \
                 least two",
                fields.responses,
                responses.len(),
                fields.scores,
                scores.len()
            )));
        }
        let mut numbers = Vec::with_capacity(scores.len());
        for score in scores {
            match score.as_f64() {
                Some(number) => numbers.push(number),
                None => return Err(row.wrong_type(&fields.scores, "numbers", score)),
            }
        }
        let mut answers = Vec::with_capacity(responses.len());
        for response in responses {
            let name = &fields.responses;
            let one = Row {
                fields: Map::from_iter([(name.clone(), response.clone())]),
                ..row.clone()
            };
            let value = FieldValue::of(&one, name)?;
            answers
                .push(value.ok_or_else(|| row.error(format!("a response in `{name}` is null")))?);
        }
        let parsed = self.join(row, self.prompt_of(row)?, answers)?;
        Ok(ParsedRow {
            scores: numbers,
            ..parsed
        })
    }

    fn items<'a>(&self, row: &'a Row, name: &str) -> Result<&'a Vec<Value>> {
        match row.get(name) {
            Some(Value::Array(items)) => Ok(items),
            None if name.is_empty() => Err(row.error(self.fields.nameless())),
            None => Err(row.missing_fields(&[name])),
            Some(other) => Err(row.wrong_type(name, "an array", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_differ_by_more_than_the_margin() {
        let scores = [1.0, 4.0, 4.0, 0.5];
        assert_eq!(PairsOf::BestWorst.choose(&scores, 0.0), [(1, 3)]);
        assert_eq!(PairsOf::BestWorst.choose(&scores, 3.5), []);
        let all = [(0, 3), (1, 0), (1, 3), (2, 0), (2, 3)];
        assert_eq!(PairsOf::All.choose(&scores, 0.0), all);
        assert_eq!(PairsOf::All.choose(&scores, 3.0), [(1, 3), (2, 3)]);
        assert_eq!(PairsOf::All.choose(&[2.0, 2.0], 0.0), []);
    }
}
