//! Which tokens a text becomes.
