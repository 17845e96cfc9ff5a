#!/usr/bin/env bash
# Plots how tokens per second and memory grow, to scripts/growth.svg; takes two minutes on an idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --bin rlhf -- bench --growth scripts/growth.svg --repeats 2 --json
