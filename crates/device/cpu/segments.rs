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

    /// The key ranges of a block (the last cut where its last row stops seeing), each with its
    /// first column among them, and the number of columns.
    pub(crate) fn columns(&self, block: &Block) -> (Vec<(Range<usize>, usize)>, usize) {
        let mut columns = 0;
        let mut found = Vec::with_capacity(2);
        for range in &self.keys[block.segment] {
            // An ancestor lies wholly before the block, so only the own range is ever cut.
            let range = range.start..range.end.min(block.rows.end);
            found.push((range.clone(), columns));
            columns += range.len();
        }
        (found, columns)
    }
}
