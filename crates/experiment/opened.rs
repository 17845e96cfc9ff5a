//! Makes the first pass over a data set: indexes its rows and groups them by prompt.

use crate::config::{Config, DataSection};
use crate::method::{Methods, objectives};
use crate::notes::Remarks;
use anyhow::Result;
use rlhf_data::{
    ItemKind, NamedColumns, OnBadRow, PromptKeys, Reader, Row, RowStore, SharedRowStore, Source,
};
use rlhf_train::RowField;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The indexed rows of a source, their prompt keys, and the shape that they are read as.
pub(crate) struct Opened {
    pub(crate) store: SharedRowStore,
    pub(crate) keys: PromptKeys,
    pub(crate) kind: ItemKind,
    first: Option<Row>,
}

/// Reads the rows of `path` once. The first row determines the shape of all.
pub(crate) fn open(
    source: &Source,
    path: &Path,
    (data, kind_of): (&DataSection, &dyn Fn(&Row) -> ItemKind),
    (reader, remarks): (&mut Reader, Remarks<'_>),
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
    store.remarks(&data.fields).into_iter().for_each(remarks);
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
    /// Remarks on fields of the rows that other objectives use and this one does not.
    pub(crate) fn remark_unused_fields(
        &self,
        config: &Config,
        methods: &Methods,
        path: &Path,
        remarks: Remarks<'_>,
    ) {
        let facts = config.method.facts();
        // The reward of an online method may read any field.
        if facts.online() {
            return;
        }
        let label = config.data.fields.label.as_str();
        for (name, field) in [
            ("weight", RowField::Weight),
            ("margin", RowField::Margin),
            (label, RowField::Label),
        ] {
            let present = self
                .first
                .as_ref()
                .is_some_and(|row| row.get(name).is_some());
            if present && !facts.row_fields.contains(&field) {
                let users = methods
                    .facts()
                    .filter(|facts| facts.row_fields.contains(&field));
                remarks(format!(
                    "{}: the field `{name}` is not used by {}, only by {}",
                    path.display(),
                    config.objective,
                    objectives(users)
                ));
            }
        }
    }
}
