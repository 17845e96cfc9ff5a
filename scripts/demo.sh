#!/usr/bin/env bash
# Makes the files of crates/demo from its grammar, with the program's own commands: texts, a model trained on
# them, pairs of its samples labelled by the true score, and a reward model trained on the pairs.
#
#   scripts/demo.sh [FOLDER]    writes the files to FOLDER [default: crates/demo/world]
#
# The same program on the same kind of processor writes the same bytes. On another processor the weights differ
# in their last digits, so samples may differ.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-crates/demo/world}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --quiet
rlhf=target/release/rlhf
world() { cargo run --release --quiet --package rlhf-demo --example world -- "$@"; }

world texts "$work"
"$rlhf" model init "$work/config.json" "$work/init" --seed 1
"$rlhf" train --objective sft --model "$work/init" --data "$work/reviews.jsonl" --out "$work/sft" --seed 1 \
  --set train.epochs=6 --set train.checkpoints=1 --set optim.learning_rate=3e-3 --set optim.warmup=0.05
model=$work/sft/final

samples() { "$rlhf" generate --model "$model" --prompts "$work/$1" --max-new-tokens 24 --json "${@:2}"; }
samples held_out_pair_prompts.jsonl -n 2 --seed 1 | world pairs 0 >"$work/held_out_pairs.jsonl"
# Seven pairs per prompt: the first are part of the demo, and the reward model is trained on all.
for part in 1 2 3 4 5 6 7; do
  samples pair_prompts.jsonl -n 2 --seed "$part" | world pairs "$part" >"$work/pairs-$part.jsonl"
done
cat "$work"/pairs-?.jsonl >"$work/all_pairs.jsonl"
mv "$work/pairs-1.jsonl" "$work/pairs.jsonl"
# The last prompts of the pairs, so that no demonstration answers a prompt of prompts.jsonl.
tail -n 600 "$work/pair_prompts.jsonl" >"$work/shown.jsonl"
samples shown.jsonl -n 16 --seed 8 | world demonstrations >"$work/demonstrations.jsonl"

"$rlhf" train --objective reward --model "$model" --data "$work/all_pairs.jsonl" --out "$work/reward" --seed 1 \
  --set data.held_out="$work/held_out_pairs.jsonl" --set train.epochs=3 --set train.batch_size=32 \
  --set train.checkpoints=1 --set optim.learning_rate=1e-3 --set sampling.max_new_tokens=24

mkdir -p "$out/model" "$out/reward"
head -n 800 "$work/reviews.jsonl" >"$out/reviews.jsonl"
cp "$work"/{prompts,held_out,pairs,held_out_pairs,demonstrations}.jsonl "$work/lexicon.txt" "$out"
cp "$model"/{config.json,model.safetensors,tokenizer.json} "$out/model"
cp "$work"/reward/final/{config.json,model.safetensors,tokenizer.json,reward.json} "$out/reward"
du -sh "$out"
