#!/usr/bin/env python3
"""table.py LINES.jsonl OUT: what compare_trl.sh measured, as OUT.json and OUT.md."""

import collections
import json
import sys
from pathlib import Path
from statistics import median

WHO = ["rlhf, critic as head", "rlhf, separate critic", "rlhf, prior known", "rlhf", "torch", "PEFT", "TRL"]


def order(who):
    """Ours first, each in f32 before what it is in bf16."""
    name = next(name for name in WHO if who.startswith(name))
    return WHO.index(name), len(who)


def prior_known(row):
    """A step of DPO after the first epoch, in which the prior has read every pair; TRL has it read them each time."""
    prior = row.get("phases", {}).get("prior")
    if row["workload"] not in ("dpo", "dpo-lora") or prior is None:
        return []
    who = row["who"].replace("rlhf", "rlhf, prior known", 1)
    seconds = {name: number - prior["seconds"] for name, number in row["seconds"].items()}
    return [row | {"who": who, "seconds": seconds}]


def main(lines, out):
    """Groups the lines by program, and compares the groups of a workload and a size."""
    lines = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    rows = [row for line in lines for row in [line, *prior_known(line)]]
    machine = next(row["machine"] for row in rows if "machine" in row)
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["workload"], row["size"], row["who"]].append(row)
    table = []
    for (workload, size, who), runs in sorted(groups.items(), key=lambda group: (*group[0][:2], order(group[0][2]))):
        table.append(
            {
                "workload": workload,
                "size": size,
                "who": who,
                # The median of the runs' medians, and the least and the most of all repetitions.
                "seconds": median([run["seconds"]["median"] for run in runs]),
                "least": min(run["seconds"]["least"] for run in runs),
                "most": max(run["seconds"]["most"] for run in runs),
                "peak_memory_mb": max(run["peak_memory_mb"] for run in runs),
                "runs": len(runs),
                "repeats": sum(run["repeats"] for run in runs),
            }
        )
    for row in table:
        if not row["who"].startswith("rlhf"):
            continue
        theirs = [other for other in table if not other["who"].startswith("rlhf") and all(other[key] == row[key] for key in ("workload", "size"))]
        of = {other["who"].partition(", ")[2]: other for other in theirs}
        if "" in of:
            row["times_faster"] = of[""]["seconds"] / row["seconds"]
            row["share_of_memory"] = row["peak_memory_mb"] / of[""]["peak_memory_mb"]
        same = ["tuned malloc, bf16"] if row["who"].endswith("bf16") else ["", "tuned malloc"]
        same = [of[name]["seconds"] for name in same if name in of]
        if same:
            row["times_faster_than_tuned"] = min(same) / row["seconds"]
    Path(out + ".json").write_text(json.dumps({"machine": machine, "rows": table, "runs": lines}, indent=1) + "\n")
    names = f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['features'])}; rlhf {machine['commit'][:8]}; {machine['date']}"
    text = [names, "", "| | | seconds | of all runs | peak memory, MB | faster than theirs in f32 | than their fastest of the same dtype | share of its memory |"]
    text.append("|---|---|---|---|---|---|---|---|")
    for row in table:
        ratios = ["{:.1f} ×".format(row[key]) if key in row else "" for key in ("times_faster", "times_faster_than_tuned")]
        share = "{:.2f}".format(row["share_of_memory"]) if "share_of_memory" in row else ""
        cells = [f"{row['workload']}, {row['size']}", row["who"], f"{row['seconds']:.3g}", f"{row['least']:.3g} to {row['most']:.3g}", f"{row['peak_memory_mb']:.0f}", *ratios, share]
        text.append("| " + " | ".join(cells) + " |")
    Path(out + ".md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


main(*sys.argv[1:])
