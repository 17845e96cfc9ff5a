//! The possible values of options, from the tables that define them.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use rlhf_bench::Workload;
use rlhf_experiment::tabular::TabularMethod;
use rlhf_experiment::{BackendName, Critic, DtypeName, Registry};

/// The built-in objectives.
pub(crate) fn objectives() -> PossibleValuesParser {
    let objectives = Registry::default()
        .catalog()
        .methods
        .objectives()
        .into_iter();
    let value = |preset: rlhf_train::Preset| PossibleValue::new(preset.name).help(preset.about);
    PossibleValuesParser::new(objectives.map(|objective| value(objective.preset)))
}

/// Number formats.
pub(crate) fn dtypes() -> impl TypedValueParser<Value = DtypeName> {
    table(&DtypeName::ALL)
}

/// Implementations of networks.
pub(crate) fn backends() -> impl TypedValueParser<Value = BackendName> {
    table(&BackendName::ALL)
}

/// Where the critic's values come from.
pub(crate) fn critics() -> impl TypedValueParser<Value = Critic> {
    table(&Critic::ALL)
}

/// Workloads of `bench`.
pub(crate) fn workloads() -> impl TypedValueParser<Value = Workload> {
    table(&Workload::ALL)
}

/// Methods that can be trained on tabular problems.
pub(crate) fn tabular_methods() -> impl TypedValueParser<Value = TabularMethod> {
    table(&TabularMethod::ALL)
}

/// A parser for a table of names, values and descriptions.
fn table<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let values = all
        .iter()
        .map(|(name, _, about)| PossibleValue::new(*name).help(*about));
    PossibleValuesParser::new(values).try_map(|typed| {
        let found = all.iter().find(|(name, ..)| *name == typed);
        found.map(|(_, value, _)| *value).ok_or("no such name")
    })
}
