#!/usr/bin/env bash
# Whole programs beside TRL's, and parts of them beside torch and transformers, on this machine, taking
# turns: ours, theirs, ours, theirs.
#
#   scripts/compare_trl.sh OUT SIZE [WORKLOAD…]     generate, train, dpo, ppo (critic as head and separate)
#
# writes OUT.json and OUT.md; lines gather in OUT.jsonl, so several sizes go into one table: delete
# it to begin anew. It needs
#   TRL_PYTHON       a Python with torch, transformers and trl (all but ppo)
#   TRL_PPO_PYTHON   one with trl 1.12, the last that has PPO
# and takes RLHF (target/release/rlhf), ROUNDS (2), REPEATS (2), THREADS (2) and WAIT, a command to run
# each program under, such as one that waits until the machine is idle.
set -euo pipefail
out=${1:?a name for the table} size=${2:?tiny, small or gpt2}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
rlhf=${RLHF:-$here/../target/release/rlhf}
rounds=${ROUNDS:-2} repeats=${REPEATS:-2}
export THREADS=${THREADS:-2}
if [ $# -eq 0 ]; then set -- generate train dpo ppo; fi

# Adds one program's line of JSON to the table, with its name.
line() {
    local who=$1
    shift
    # shellcheck disable=SC2086 # WAIT is a command with its arguments
    ${WAIT:-} "$@" 2> "$out.log" | tail -1 |
        python3 -c 'import json, sys; print(json.dumps({"who": sys.argv[1]} | json.load(sys.stdin)))' "$who" >> "$out.jsonl" || {
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
        ppo)
            ours "rlhf, critic as head" --workload ppo --critic head
            ours "rlhf, separate critic" --workload ppo --critic separate
            theirs TRL "${TRL_PPO_PYTHON:?a Python with trl 1.12}" ppo.py
            ;;
        *)
            echo "no workload is called $workload: generate, train, dpo and ppo are" >&2
            exit 2
            ;;
        esac
    done
done
python3 "$here/peer/table.py" "$out.jsonl" "$out"
