//! Names that clap offers, taken from the tables that own them.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use rlhf_bench::Workload;
use rlhf_experiment::tabular::TabularMethod;
use rlhf_experiment::{BackendName, Critic, DtypeName, Registry};

/// The objectives that are built in.
pub(crate) fn objectives() -> PossibleValuesParser {
    let objectives = Registry::default()
        .catalog()
        .methods
        .objectives()
        .into_iter();
    let value = |preset: rlhf_train::Preset| PossibleValue::new(preset.name).help(preset.about);
    PossibleValuesParser::new(objectives.map(|objective| value(objective.preset)))
}

/// Types of numbers.
pub(crate) fn dtypes() -> impl TypedValueParser<Value = DtypeName> {
    table(&DtypeName::ALL)
}

/// Implementations of networks.
pub(crate) fn backends() -> impl TypedValueParser<Value = BackendName> {
    table(&BackendName::ALL)
}

/// Where values come from.
pub(crate) fn critics() -> impl TypedValueParser<Value = Critic> {
    table(&Critic::ALL)
}

/// What the speed of is measured.
pub(crate) fn workloads() -> impl TypedValueParser<Value = Workload> {
    table(&Workload::ALL)
}

/// Methods that are trained on problems that can be enumerated.
pub(crate) fn tabular_methods() -> impl TypedValueParser<Value = TabularMethod> {
    table(&TabularMethod::ALL)
}

/// The values of a table of names, values and help.
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
