#!/usr/bin/env bash
# Makes the plot in README.md: PPO-KL and DPO on the demo, measured with the true score, which neither was
# trained on, with best-of-n and the optimal frontier.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
rlhf() { cargo run --release --quiet -- "$@"; }
rlhf train --out "$folder/ppo-kl"
rlhf train --objective dpo --out "$folder/dpo"
rlhf eval "$folder/ppo-kl" "$folder/dpo" --reward "lexicon:$folder/ppo-kl/world/lexicon.txt" --out "$folder/both"
cp "$folder/both/kl_reward.svg" scripts/kl_reward.svg
