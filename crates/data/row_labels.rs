//! Reads the labels of rows, and checks the fields that a reward requires.

use crate::item::Item;
use crate::shapes::ParsedRow;
use crate::{Error, Fields, Labels, Notes, Result, Row};
use serde_json::{Map, Value};
use std::fmt::Debug;

/// The field of a pair's prompt with the probability that its first response is the better one, if
/// that is not 1. The name does not depend on the column's.
const LABEL: &str = "label";

/// Numeric fields of a pair's prompt, which are strings in a table.
const NUMBERS: [&str; 2] = ["margin", "weight"];

/// A requirement on each row, such as a field that the reward reads.
pub trait RowRequirement: Debug + Send + Sync {
    /// Checks a row.
    ///
    /// # Errors
    /// If the row does not meet it: what is missing and what requires it. The caller adds the row's
    /// place.
    fn check(&self, fields: &Map<String, Value>) -> std::result::Result<(), String>;

    /// The field that it concerns.
    fn field(&self) -> &str;
}

/// Reads the labels of rows.
pub(crate) struct LabelReader<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) fields: &'a Fields,
}

/// The label of a pair.
pub(crate) struct PairLabel {
    /// The probability that the first response is better.
    first: f64,
    /// Margin and weight.
    numbers: Vec<(&'static str, Option<f64>)>,
}

impl LabelReader<'_> {
    /// Whether the completion of a row is desirable; none for a label that is a tie.
    pub(crate) fn read_desirable(&self, row: &Row) -> Result<Option<bool>> {
        let name = &self.fields.label;
        let labels = Labels {
            soft: crate::SoftLabels::Refused,
            ..self.labels.clone()
        };
        match labels.probability(row, name)? {
            None if name.is_empty() => Err(row.error(self.fields.nameless())),
            None => Err(row.error(format!("no field `{name}` (true or false)"))),
            Some(0.5) => Ok(None),
            Some(yes) => Ok(Some(yes > 0.5)),
        }
    }

    /// The label of a row's pair, or of the pairs made from its scores; none for a tie where ties
    /// are refused. Counts the rows with and without a label.
    pub(crate) fn read_pair(
        &self,
        row: &Row,
        parsed: &ParsedRow,
        notes: &mut Notes,
    ) -> Result<Option<PairLabel>> {
        let name = &self.fields.label;
        let scored = !parsed.scores.is_empty();
        let first = self.labels.probability(row, name)?;
        if first.is_some() && scored {
            let scores = &self.fields.scores;
            return Err(row.error(format!(
                "has `{scores}` and a label, `{name}`: only one of the two may say which response \
                 is better. Remove the label, or set data.fields.label = \"\""
            )));
        }
        match first {
            Some(_) => notes.labelled += 1,
            None if scored => {}
            None if self.labels.is_required() && !name.is_empty() => {
                return Err(self.unlabelled(row));
            }
            None => notes.unlabelled += 1,
        }
        let first = first.unwrap_or(1.0);
        if first == 0.5 && self.labels.soft == crate::SoftLabels::Refused {
            notes.neutral_labels += 1;
            return Ok(None);
        }
        notes.tied_labels += usize::from(first == 0.5);
        let mut numbers = Vec::new();
        for name in NUMBERS.into_iter().filter(|name| row.get(name).is_some()) {
            numbers.push((name, row.number(name, "a number")?));
        }
        if let Some((_, Some(weight))) = numbers.iter().find(|(name, _)| *name == "weight")
            && *weight <= 0.0
        {
            return Err(row.wrong_type("weight", "a positive number", &row.fields["weight"]));
        }
        Ok(Some(PairLabel { first, numbers }))
    }

    /// The error of a pair without a label where the settings require one.
    fn unlabelled(&self, row: &Row) -> Error {
        let name = &self.fields.label;
        let what = match row.fields.get(name) {
            None => format!("no field `{name}`"),
            Some(Value::Null) => format!("field `{name}` is null"),
            Some(_) => format!("field `{name}` is empty"),
        };
        row.error(format!(
            "{what}, which says which answer is better ({}): give the row a label, or skip it \
             (data.on_bad_row = \"skip\"); data.fields.label = \"\" takes the chosen answer of \
             every row as the better one",
            self.labels.setting()
        ))
    }
}

impl PairLabel {
    /// Puts the better response of an item first, and stores the label's probability.
    pub(crate) fn apply(&self, item: &mut Item) {
        let mut first = self.first;
        if first < 0.5 {
            item.responses.swap(0, 1);
            first = 1.0 - first;
        }
        let fields = &mut item.prompt.fields;
        fields.remove(LABEL);
        if first < 1.0 {
            fields.insert(LABEL.into(), first.into());
        }
        for (name, number) in &self.numbers {
            match number {
                Some(number) => fields.insert((*name).into(), (*number).into()),
                None => fields.remove(*name),
            };
        }
    }
}
