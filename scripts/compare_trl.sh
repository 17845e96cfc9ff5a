#!/usr/bin/env bash
# Whole programs beside TRL's, and parts of them beside torch and transformers, on this machine, taking
# turns: ours, theirs, ours, theirs.
#
#   scripts/compare_trl.sh OUT SIZE [WORKLOAD…]     generate, train, dpo, ppo (critic as head and separate)
#                                                   train-lora, dpo-lora: the same with adapters
#
# SIZE is tiny, small, gpt2, or the folder of a checkpoint, whose name the table has. Without workloads the first
# four are compared. It writes OUT.json and OUT.md; lines gather in OUT.jsonl, so several sizes go into one table:
# delete it to begin anew. It needs
#   TRL_PYTHON       a Python with torch, transformers, trl and peft (all but ppo)
#   TRL_PPO_PYTHON   one with trl 1.12, the last that has PPO
# and takes RLHF (target/release/rlhf), ROUNDS (2), REPEATS (2), THREADS (2), RANK (16) of adapters and WAIT, a
# command to run each program under, such as one that waits until the machine is idle.
set -euo pipefail
out=${1:?a name for the table} size=${2:?tiny, small, gpt2 or a folder}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
rlhf=${RLHF:-$here/../target/release/rlhf}
rounds=${ROUNDS:-2} repeats=${REPEATS:-2} rank=${RANK:-16}
export THREADS=${THREADS:-2}
if [ $# -eq 0 ]; then set -- generate train dpo ppo; fi

# Real weights end texts where they like; without an end of text both programs do the same work.
name=$(basename "$size")
if [ -d "$size" ]; then
    python3 "$here/peer/without_end.py" "$size" "$out.model/$name"
    size=$out.model/$name
fi

# Adds one program's line of JSON to the table, with its name, and the workload's and the network's as the table has them.
line() {
    local who=$1
    shift
    # shellcheck disable=SC2086 # WAIT is a command with its arguments
    ${WAIT:-} "$@" 2> "$out.log" | tail -1 |
        python3 -c 'import json, sys
names = dict(zip(("who", "workload", "size"), sys.argv[1:]))
print(json.dumps(json.load(sys.stdin) | names))' "$who" "$workload" "$name" >> "$out.jsonl" || {
        cat "$out.log" >&2
        return 1
    }
}

# In f32, and in bf16 throughout: products, and what prior and reward models are held in.
ours() {
    local bench=("$rlhf" bench --size "$size" --threads "$THREADS" --repeats "$repeats" --json "${@:2}")
    line "$1" "${bench[@]}"
    line "$1, bf16" "${bench[@]}" --dtype bf16 --frozen-dtype bf16
}

# glibc's malloc gives memory back after each tensor; torch is faster where it is told to keep it.
theirs() {
    local python=$2 script=$here/peer/$3
    local keep=(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=99999999999 MALLOC_TOP_PAD_=268435456)
    line "$1" "$python" "$script" "$size" "$repeats"
    line "$1, tuned malloc" env "${keep[@]}" "$python" "$script" "$size" "$repeats"
    line "$1, tuned malloc, bf16" env "${keep[@]}" DTYPE=bf16 "$python" "$script" "$size" "$repeats"
}

for _ in $(seq "$rounds"); do
    for workload in "$@"; do
        case $workload in
        generate | train)
            ours "rlhf" --workload "$workload"
            theirs torch "${TRL_PYTHON:?a Python with torch and transformers}" "$workload.py"
            ;;
        dpo)
            ours "rlhf" --workload dpo
            theirs TRL "${TRL_PYTHON:?a Python with trl}" dpo.py
            ;;
        train-lora)
            ours "rlhf" --workload train --lora "$rank"
            LORA=$rank theirs PEFT "${TRL_PYTHON:?a Python with torch, transformers and peft}" train.py
            ;;
        dpo-lora)
            ours "rlhf" --workload dpo --lora "$rank"
            LORA=$rank theirs TRL "${TRL_PYTHON:?a Python with trl and peft}" dpo.py
            ;;
        ppo)
            ours "rlhf, critic as head" --workload ppo --critic head
            ours "rlhf, separate critic" --workload ppo --critic separate
            theirs TRL "${TRL_PPO_PYTHON:?a Python with trl 1.12}" ppo.py
            ;;
        *)
            echo "no workload is called $workload: generate, train, train-lora, dpo, dpo-lora and ppo are" >&2
            exit 2
            ;;
        esac
    done
done
python3 "$here/peer/table.py" "$out.jsonl" "$out"
