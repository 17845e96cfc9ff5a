#!/usr/bin/env python3
"""Makes scripts/optimum.svg: where each method ends on the golden tree, against the exact frontier.

    cargo build --release && scripts/optimum.py

Trains through `rlhf oracle` and draws with crates/report. With --tree, only writes the problem.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RLHF = os.environ.get("RLHF", ROOT / "target/release/rlhf")
TOKENS = {0: 1.0, 1: -0.5, 2: 0.75}
EOS, HORIZON = 2, 3
METHODS = ["ppo-kl", "rloo", "reinforce", "vargrad", "dpo"]


def betas(index):
    """Each method at prices of its own, so that their points do not cover each other."""
    return [2.0 * 0.5 ** (k + index / len(METHODS)) for k in range(3)]


def gold_tree(beta):
    """The problem of crates/oracle/reference_values.rs as JSON."""
    prior, reward, prefixes = {}, {}, [()]
    for prefix in prefixes:
        h = 1
        for token in prefix:
            h = 3 * h + token
        weights = [1 + (7 * h + 3 * token) % 5 for token in TOKENS]
        prior[" ".join(map(str, prefix))] = [w / sum(weights) for w in weights]
        for token in TOKENS:
            response = (*prefix, token)
            if token == EOS or len(response) == HORIZON:
                reward[" ".join(map(str, response))] = sum(TOKENS[t] for t in response)
            else:
                prefixes.append(response)
    return {"vocab": 3, "eos": EOS, "horizon": HORIZON, "beta": beta, "gamma": 1.0,
            "prior": prior, "reward": reward}


def oracle(beta, *arguments):
    path = pathlib.Path("/tmp/rlhf_gold_tree.json")
    path.write_text(json.dumps(gold_tree(beta)))
    command = [RLHF, "oracle", path, "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def point(label, kind, kl, reward, samples):
    exact = lambda value: {"value": value, "low": value, "high": value}
    return {"label": label, **kind, "kl": exact(kl), "reward": exact(reward),
            "kl_k1": None, "kl_k1_error": None, "prompts": 1, "samples": samples}


def points():
    for at in oracle(0.5)["frontier"]:
        kind = {"kind": "optimal", "beta": at["beta"]}
        yield point("exact frontier of the golden tree", kind, at["kl"], at["reward"], 0)
    for index, method in enumerate(METHODS):
        for step, beta in enumerate(betas(index)):
            run = oracle(beta, "--method", method)
            end = run["path"][-1]
            kind = {"kind": "checkpoint", "step": step}
            yield point(method, kind, end["kl"], end["reward"], run["samples"])
            print(f"{method}, beta {beta}: KL to the optimum {run['kl_to_optimum']:.1e} nats",
                  file=sys.stderr)


def main():
    if "--tree" in sys.argv:
        print(json.dumps(gold_tree(0.5)))
        return
    lines = "\n".join(json.dumps(p) for p in points())
    draw = ["cargo", "run", "--quiet", "--release", "-p", "rlhf-report", "--example", "kl_reward"]
    svg = subprocess.run(draw, input=lines, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    # Each point is a run of its own at a price of its own, so no line joins them.
    svg = re.sub(r'<polyline class="line s\d" points="[^"]*"/>\n', "", svg)
    (ROOT / "scripts/optimum.svg").write_text(svg)


if __name__ == "__main__":
    main()
