//! Who attends to whom: rows in segments that may continue one another.

use std::ops::Range;

/// Query rows worked on together.
const BLOCK: usize = 64;

/// Who attends to whom among n rows.
#[derive(Debug, Clone)]
pub struct Segments {
    /// For each segment the ranges of rows it may read, ancestors first, itself last.
    pub(crate) keys: Vec<Vec<Range<usize>>>,
    /// Segments of one root each, in order.
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
    /// From each segment's rows and parent. The segments lie one behind the other from row 0, a
    /// parent before its children.
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

    /// n.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What the rows of a block see, where each attends to `window` tokens at most.
    pub(crate) fn keys(&self, block: &Block, window: Option<usize>) -> Keys {
        let path = &self.keys[block.segment];
        let before: usize = path[..path.len() - 1].iter().map(Range::len).sum();
        let own = path[path.len() - 1].start;
        // The tokens on the path before the block's first row, and those of them that nobody sees.
        let depth = before + block.rows.start - own;
        let skipped = window.map_or(0, |window| (depth + 1).saturating_sub(window));
        let mut ranges = Vec::with_capacity(2);
        let (mut place, mut columns) = (0, 0);
        for range in path {
            // An ancestor lies wholly before the block, so only the own range ends with it.
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

/// The keys that a block of rows sees: the columns of its scores.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Rows of keys, each range with its first column.
    pub(crate) ranges: Vec<(Range<usize>, usize)>,
    /// How many columns there are.
    pub(crate) columns: usize,
    /// How many rows the block has: the last columns are their own keys.
    rows: usize,
    window: Option<usize>,
}

impl Keys {
    /// The columns that row `row` of the block sees.
    #[inline]
    pub(crate) fn visible(&self, row: usize) -> Range<usize> {
        let end = self.columns - (self.rows - 1 - row);
        let start = self.window.map_or(0, |window| end.saturating_sub(window));
        start..end
    }
}
