#!/usr/bin/env bash
# Measures rows per second and peak memory of `rlhf data check` on a JSONL of 1,000,000 rows of 200 bytes.
# Required: at least 50,000 rows per second with less than 300 MB. Usage: scripts/check_a_million_rows.sh [target/release/rlhf]
set -euo pipefail
rlhf=${1:-target/release/rlhf}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 - "$rlhf" "$folder/rows.jsonl" <<'PYTHON'
import json, resource, subprocess, sys, time

rlhf, path = sys.argv[1:]
rows = 1_000_000
with open(path, "w") as file:
    for i in range(rows):
        row = {"prompt": f"what is the {i}th thing that one may ask", "completion": ""}
        room = 199 - len(json.dumps(row))
        row["completion"] = (f"word{i % 997} " * 30)[:room]
        file.write(json.dumps(row) + "\n")
start = time.time()
subprocess.run([rlhf, "data", "check", path, "--no-preview"], check=True)
seconds = time.time() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{rows / seconds:.0f} rows a second, {peak:.0f} MiB at the peak")
sys.exit(rows / seconds < 50_000 or peak > 300)
PYTHON
