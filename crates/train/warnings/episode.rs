//! Limits a warning to one per episode, a range of steps in which its condition holds.

/// A condition must not hold for this many steps in a row before its warning is given again.
pub(super) const STEPS_BETWEEN: usize = 10;

/// The state of a condition over the last steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Episode {
    /// For how many steps in a row it has held.
    held: usize,
    /// For how many steps in a row it has not held.
    not_held: usize,
    /// Whether the warning of this episode was given.
    warned: bool,
}

impl Episode {
    /// Whether to warn now: the condition has held for `steps` steps in a row, and this episode has had no
    /// warning.
    pub(super) fn step(&mut self, holds: bool, steps: usize) -> bool {
        if holds {
            (self.held, self.not_held) = (self.held + 1, 0);
        } else {
            (self.held, self.not_held) = (0, self.not_held + 1);
            self.warned &= self.not_held < STEPS_BETWEEN;
        }
        let now = self.held >= steps && !self.warned;
        self.warned |= now;
        now
    }
}
