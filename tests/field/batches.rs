//! How many responses, pairs and rows a step learns from.
