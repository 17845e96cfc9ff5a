//! The segments of a batch: which rows attend to which.

use std::ops::Range;

/// Query rows in a block.
const BLOCK: usize = 64;

/// Segments of n rows, each of which may continue another one.
#[derive(Debug, Clone)]
pub struct Segments {
    /// For each segment the rows of its path: its ancestors from the root on, and itself.
    pub(crate) keys: Vec<Vec<Range<usize>>>,
    /// The segments of each tree, in order.
    pub(crate) trees: Vec<Vec<usize>>,
    pub(crate) blocks: Vec<Block>,
    rows: usize,
}

/// Some consecutive rows of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) segment: usize,
    pub(crate) rows: Range<usize>,
}

impl Segments {
    /// From each segment's rows and parent. Segments follow each other from row 0 on, parents before children.
    ///
    /// # Panics
    /// If they do not.
    #[must_use]
    pub fn new(segments: impl IntoIterator<Item = (Range<usize>, Option<usize>)>) -> Self {
        let mut all = Self {
            keys: Vec::new(),
            trees: Vec::new(),
            blocks: Vec::new(),
            rows: 0,
        };
        let mut tree_of: Vec<usize> = Vec::new();
        for (index, (range, parent)) in segments.into_iter().enumerate() {
            assert!(
                range.start == all.rows && range.end > range.start,
                "segments in order"
            );
            let mut keys = parent.map_or_else(Vec::new, |parent| all.keys[parent].clone());
            keys.push(range.clone());
            all.keys.push(keys);
            let tree = parent.map_or(all.trees.len(), |parent| tree_of[parent]);
            if tree == all.trees.len() {
                all.trees.push(Vec::new());
            }
            all.trees[tree].push(index);
            tree_of.push(tree);
            for start in range.clone().step_by(BLOCK) {
                let rows = start..(start + BLOCK).min(range.end);
                all.blocks.push(Block {
                    segment: index,
                    rows,
                });
            }
            all.rows = range.end;
        }
        all
    }

    /// n, the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The keys that the rows of a block attend to, each row to at most `window`.
    pub(crate) fn keys(&self, block: &Block, window: Option<usize>) -> Keys {
        let path = &self.keys[block.segment];
        let before: usize = path[..path.len() - 1].iter().map(Range::len).sum();
        let own = path[path.len() - 1].start;
        // The tokens on the path before the block's first row, and how many of them no row attends to.
        let depth = before + block.rows.start - own;
        let skipped = window.map_or(0, |window| (depth + 1).saturating_sub(window));
        let mut ranges = Vec::with_capacity(2);
        let (mut place, mut columns) = (0, 0);
        for range in path {
            // Ancestors are entirely before the block, so only the segment itself is cut at its end.
            let end = range.end.min(block.rows.end);
            let start = range.start + skipped.saturating_sub(place).min(range.len());
            place += range.len();
            if start < end {
                ranges.push((start..end, columns));
                columns += end - start;
            }
        }
        Keys {
            ranges,
            columns,
            rows: block.rows.len(),
            window,
        }
    }
}

/// The keys of a block: the columns of its scores.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Ranges of rows, each with its first column.
    pub(crate) ranges: Vec<(Range<usize>, usize)>,
    /// The number of columns.
    pub(crate) columns: usize,
    /// The number of query rows, whose own keys are the last columns.
    rows: usize,
    window: Option<usize>,
}

impl Keys {
    /// The columns that row `row` of the block attends to.
    #[inline]
    pub(crate) fn visible(&self, row: usize) -> Range<usize> {
        let end = self.columns - (self.rows - 1 - row);
        let start = self.window.map_or(0, |window| end.saturating_sub(window));
        start..end
    }
}
