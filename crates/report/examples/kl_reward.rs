//! Reads points of reward and KL from stdin, one JSON object per line, and writes their plot to stdout.

#![forbid(unsafe_code)]

use rlhf_journal::FrontierPoint;
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let lines = io::stdin().lock().lines();
    let read = |line: io::Result<String>| -> io::Result<FrontierPoint> {
        Ok(serde_json::from_str(&line?)?)
    };
    let points: Vec<FrontierPoint> = lines.map(read).collect::<io::Result<_>>()?;
    io::stdout().write_all(rlhf_report::kl_reward_svg(&points).as_bytes())
}
