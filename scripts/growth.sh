#!/usr/bin/env bash
# How tokens a second and memory grow, drawn into scripts/growth.svg: two minutes on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --bin rlhf -- bench --growth scripts/growth.svg --repeats 2 --json
