//! Drawing from a table.

use super::{Rows, Table};
use rlhf_objective::{Decoder, Error, LogDist, Result, Start, check_gather};

/// Live rows by the state each is in.
pub(super) struct TableDecoder<'a> {
    table: &'a Table,
    states: Vec<usize>,
    rows: Rows,
    scores: Vec<f32>,
}

impl<'a> TableDecoder<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self {
            table,
            states: Vec::new(),
            rows: Rows::default(),
            scores: Vec::new(),
        }
    }

    fn expect(&self, what: &'static str, got: usize) -> Result<()> {
        let expected = self.states.len();
        match got == expected {
            true => Ok(()),
            false => Err(Error::Size {
                what,
                expected,
                got,
            }),
        }
    }

    fn look(&mut self) {
        self.scores.clear();
        for &state in &self.states {
            self.scores
                .extend_from_slice(self.rows.get(self.table, state));
        }
    }
}

impl Decoder for TableDecoder<'_> {
    fn vocab(&self) -> usize {
        rlhf_objective::Network::vocab(self.table)
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        for start in prompts {
            let state = self.table.start(start.prompt)?;
            self.states
                .extend(std::iter::repeat_n(state, start.samples));
        }
        self.look();
        Ok(())
    }

    fn rows(&self) -> usize {
        self.states.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_log_probs(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        self.expect("tokens of a step", tokens.len())?;
        let pairs = self.states.iter().zip(tokens);
        let next = pairs.map(|(&state, &token)| {
            self.table
                .step(state, token)?
                .ok_or_else(|| Error::Unsupported("a complete response was to be continued".into()))
        });
        self.states = next.collect::<Result<_>>()?;
        self.look();
        Ok(())
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.states.len())?;
        self.states = rows.iter().map(|&row| self.states[row]).collect();
        self.look();
        Ok(())
    }
}
