//! What rows say of their answers, and what those who use a row need of it.

use crate::item::Item;
use crate::shapes::Written;
use crate::{Error, Fields, Labels, Notes, Result, Row};
use serde_json::{Map, Value};
use std::fmt::Debug;

/// The field of a pair's prompt that holds the probability that its first response is the better one,
/// where that is not 1, whatever the column is called.
const LABEL: &str = "label";

/// Fields of a pair's prompt that are numbers, or texts of numbers in a table.
const NUMBERS: [&str; 2] = ["margin", "weight"];

/// Something that a row must have for somebody who uses it, such as a reward that compares with it.
pub trait RowRequirement: Debug + Send + Sync {
    /// Whether a row has it.
    ///
    /// # Errors
    /// If not: what is missing and who needs it. The row's place is added to it.
    fn check(&self, fields: &Map<String, Value>) -> std::result::Result<(), String>;

    /// The field that it is about.
    fn field(&self) -> &str;
}

/// How the opinions of rows are read.
pub(crate) struct Judged<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) fields: &'a Fields,
}

/// What a row says of its pairs.
pub(crate) struct Judgement {
    /// The probability that the first response is better.
    first: f64,
    /// Its other numbers.
    numbers: Vec<(&'static str, Option<f64>)>,
}

impl Judged<'_> {
    /// Whether the completion of a row was liked; none where its label says neither.
    pub(crate) fn liked(&self, row: &Row) -> Result<Option<bool>> {
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

    /// What a row says of its pair, or of the pairs that its scores make; none where it says of neither
    /// answer that it is better and has to. Counts the rows that have a label, and those that have none.
    pub(crate) fn of_pair(
        &self,
        row: &Row,
        written: &Written,
        notes: &mut Notes,
    ) -> Result<Option<Judgement>> {
        let name = &self.fields.label;
        let scored = !written.scores.is_empty();
        let first = self.labels.probability(row, name)?;
        if first.is_some() && scored {
            let scores = &self.fields.scores;
            return Err(row.error(format!(
                "has `{scores}` and a label, `{name}`: one of the two must say which response is better; \
                 take the label out, or set data.fields.label = \"\""
            )));
        }
        match first {
            Some(_) => notes.labelled += 1,
            None if scored => {}
            None if self.labels.must_be_there() && !name.is_empty() => {
                return Err(self.unlabelled(row));
            }
            None => notes.unlabelled += 1,
        }
        let first = first.unwrap_or(1.0);
        if first == 0.5 && self.labels.soft == crate::SoftLabels::Refused {
            notes.undecided += 1;
            return Ok(None);
        }
        notes.level_labels += usize::from(first == 0.5);
        let mut numbers = Vec::new();
        for name in NUMBERS.into_iter().filter(|name| row.get(name).is_some()) {
            numbers.push((name, row.number(name, "a number")?));
        }
        if let Some((_, Some(weight))) = numbers.iter().find(|(name, _)| *name == "weight")
            && *weight <= 0.0
        {
            return Err(row.wrong("weight", "a positive number", &row.fields["weight"]));
        }
        Ok(Some(Judgement { first, numbers }))
    }

    /// That nothing says which answer of a pair is better, where the settings say what would.
    fn unlabelled(&self, row: &Row) -> Error {
        let name = &self.fields.label;
        let what = match row.fields.get(name) {
            None => format!("no field `{name}`"),
            Some(Value::Null) => format!("field `{name}` is null"),
            Some(_) => format!("field `{name}` is empty"),
        };
        row.error(format!(
            "{what}, which says what answer is better ({}): give the row a label, or leave it out \
             (data.on_bad_row = \"skip\"); data.fields.label = \"\" takes the chosen answer of every row as \
             the better one",
            self.labels.setting()
        ))
    }
}

impl Judgement {
    /// Makes the better response of an item the first, and writes down how sure that is.
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
