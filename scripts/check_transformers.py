#!/usr/bin/env python3
"""Checks that transformers reads a checkpoint folder, and computes what `rlhf score` computes.

    rlhf score --model DIR --input F.jsonl > scores.jsonl        (--reward DIR of a reward model)
    python scripts/check_transformers.py DIR [--input F.jsonl --scores scores.jsonl]

F.jsonl has lines {"prompt_ids": [...], "completion_ids": [...]}; the scores are per token, in nats,
or of a reward model one a line. Without it only loading is checked: no tensor missing, left over or
newly made. The folder may be one that transformers wrote, or an adapter in PEFT's layout, which PEFT reads on its base.
"""

import argparse
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification


def load(folder):
    """The network of a folder in f32, whatever its file holds."""
    adapter = pathlib.Path(folder, "adapter_config.json")
    if adapter.exists():
        return adapted(load(json.loads(adapter.read_text())["base_model_name_or_path"]), folder)
    of_rewards = "Classification" in AutoConfig.from_pretrained(folder).architectures[0]
    kind = AutoModelForSequenceClassification if of_rewards else AutoModelForCausalLM
    model, info = kind.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    problems = {key: list(value) for key, value in info.items() if value}
    if problems:
        sys.exit(f"{folder}: {problems}")
    return model.eval()


def adapted(base, folder):
    """A base with an adapter of PEFT's, every tensor of whose file is taken, and no other made."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, folder, is_trainable=True)
    with safe_open(pathlib.Path(folder, "adapter_model.safetensors"), "pt") as file:
        kept = set(file.keys())
    names = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    made = {name.replace(".default", "").replace(".modules_to_save", "") for name in names}
    if made != kept:
        sys.exit(f"{folder}: only in the file {sorted(kept - made)}, only in the network {sorted(made - kept)}")
    return model.eval()


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def reward(model, row, folder):
    """As `reward.json` scales it; a completion ends with the EOS, once."""
    ids, eos = row["prompt_ids"] + row["completion_ids"], model.config.eos_token_id
    ids += [eos] * (eos is not None and ids[-1] != eos)
    with torch.no_grad():
        raw = model(torch.tensor([ids])).logits[0, 0].item()
    file = pathlib.Path(folder, "reward.json")
    scale = json.loads(file.read_text()) if file.exists() else {"gain": 1.0, "bias": 0.0}
    return [scale["gain"] * raw + scale["bias"]]


def log_probs(model, row):
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion[:-1]])).logits[0, len(prompt) - 1 :]
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--input")
    parser.add_argument("--scores")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="nats a token, or units of the reward")
    arguments = parser.parse_args()
    model = load(arguments.folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.folder}: {parameters} parameters, none missing")
    if not arguments.input:
        return
    rows, scores = lines(arguments.input), lines(arguments.scores)
    if not rows or len(rows) != len(scores):
        sys.exit(f"{len(rows)} inputs, {len(scores)} scores")
    worst = 0.0
    for row, score in zip(rows, scores):
        if "score" in score:
            expected, got = reward(model, row, arguments.folder), [score["score"]]
        else:
            expected, got = log_probs(model, row), score["log_probs"]
        if len(expected) != len(got):
            sys.exit(f"{len(got)} log-probs for {len(expected)} tokens")
        worst = max(worst, *(abs(a - b) for a, b in zip(expected, got)))
    print(f"{len(rows)} sequences, largest difference {worst:.2e}")
    if worst > arguments.tolerance:
        sys.exit("they differ")


if __name__ == "__main__":
    main()
