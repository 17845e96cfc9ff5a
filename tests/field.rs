//! What users did, one short case a kind, each named by it: the whole program on input of the sort that
//! people bring, with the right number or the right words as the expected result.

#[path = "field/batches.rs"]
mod batches;
#[path = "field/measures.rs"]
mod measures;
mod program;
#[path = "field/record.rs"]
mod record;
#[path = "field/rows.rs"]
mod rows;
#[path = "field/runs.rs"]
mod runs;
#[path = "field/tokens.rs"]
mod tokens;
