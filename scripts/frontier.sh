#!/usr/bin/env bash
# Makes the picture in README.md: PPO-KL and DPO on the small world, on the same axes, judged by the gold
# score that neither has seen, beside best-of-n and the best that any policy can do.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
rlhf() { cargo run --release --quiet -- "$@"; }
rlhf train --out "$folder/ppo-kl"
rlhf train --objective dpo --out "$folder/dpo"
rlhf eval "$folder/ppo-kl" "$folder/dpo" --reward "lexicon:$folder/ppo-kl/world/lexicon.txt" --out "$folder/both"
cp "$folder/both/kl_reward.svg" scripts/kl_reward.svg
