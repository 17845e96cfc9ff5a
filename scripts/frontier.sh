#!/usr/bin/env bash
# Makes the picture in README.md: PPO-KL on the small world, measured on held-out prompts.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo run --release -- train --out "$folder/ppo-kl"
cp "$folder/ppo-kl/kl_reward.svg" scripts/kl_reward.svg
