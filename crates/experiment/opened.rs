//! Data that are gone through once: where their rows are, and what is to be said of them.

use crate::config::{Config, DataSection};
use crate::method::{Methods, objectives};
use crate::notes::note;
use anyhow::Result;
use rlhf_data::{
    ItemKind, NamedColumns, OnBadRow, PromptKeys, Reader, Row, RowStore, SharedRowStore, Source,
};
use rlhf_train::RowField;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The rows of a source, which of them share a prompt, and the kind of item that they hold.
pub(crate) struct Opened {
    pub(crate) store: SharedRowStore,
    pub(crate) keys: PromptKeys,
    pub(crate) kind: ItemKind,
    first: Option<Row>,
}

/// Goes through the rows of `path` once. The first row decides the kind of all.
pub(crate) fn open(
    source: &Source,
    path: &Path,
    (data, kind_of): (&DataSection, &dyn Fn(&Row) -> ItemKind),
    reader: &mut Reader,
) -> Result<Opened> {
    let mut keys = PromptKeys::default();
    let mut first: Option<(Row, ItemKind, NamedColumns)> = None;
    let mut bad = |error| match data.on_bad_row {
        OnBadRow::Error => Err(error),
        OnBadRow::Skip => {
            reader.skip(&error);
            Ok(())
        }
    };
    let mut visit = |row: &Row| {
        keys.push(row, &data.fields);
        let (_, _, columns) = first.get_or_insert_with(|| {
            let kind = kind_of(row);
            let columns = NamedColumns::new(&data.fields, kind, row);
            (row.clone(), kind, columns)
        });
        columns.visit(row);
    };
    let store = RowStore::open(source, &mut bad, &mut visit)?;
    for remark in store.remarks(&data.fields) {
        note(remark);
    }
    if let Some((.., columns)) = &first {
        columns.check(path)?;
    }
    let kind = first
        .as_ref()
        .map_or(ItemKind::Prompts, |(_, kind, _)| *kind);
    Ok(Opened {
        store: Arc::new(Mutex::new(store)),
        keys,
        kind,
        first: first.map(|(row, ..)| row),
    })
}

impl Opened {
    /// Says which fields of the rows mean something to another objective and nothing to this one.
    pub(crate) fn say_unused(&self, config: &Config, methods: &Methods, path: &Path) {
        let facts = config.method.facts();
        // What a reward of samples reads is its own affair.
        if facts.online() {
            return;
        }
        let label = config.data.fields.label.as_str();
        for (name, field) in [
            ("weight", RowField::Weight),
            ("margin", RowField::Margin),
            (label, RowField::Label),
        ] {
            let here = self
                .first
                .as_ref()
                .is_some_and(|row| row.get(name).is_some());
            if here && !facts.row_fields.contains(&field) {
                let users = methods
                    .facts()
                    .filter(|facts| facts.row_fields.contains(&field));
                note(format_args!(
                    "{}: the field `{name}` is not used by {}: it means something to {} alone",
                    path.display(),
                    config.objective,
                    objectives(users)
                ));
            }
        }
    }
}
