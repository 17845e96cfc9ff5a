//! Cases that users reported, one test each, named by the case: the whole program on realistic input, with
//! the right number or message as the expected result.

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
