//! Runs that are stopped, resumed, locked, or whose reward fails.
