#!/usr/bin/env python3
"""Writes tests/golden/architectures: tiny random checkpoints of every architecture, and what transformers computes.

    python scripts/golden_models.py [CASE…]        writes the cases, or those that are named
    python scripts/golden_models.py --check        computes everything anew and compares

Needs torch 2.15, transformers 5.23 and safetensors. golden_cases.py lists the checkpoints. transformers reads each
folder as it lies there, in float64 (its norms, softmax and rotary angles go through float32), eager attention, one
sequence at a time without padding. The same seed gives the same files.

batch.json holds prompts, responses and the settings of AdamW for all of them. Each folder has config.json,
model.safetensors and golden.json, with

  log_probs          log p of each response token given what is before it, one response after the other, in nats
  masked_log_probs   where ids have no text: the same with the logits of these ids at minus infinity
  gradients          of the mean negative log-prob over these tokens, for every parameter: see `summary`
  losses             this mean before each of ten steps of AdamW, and after the last; weight decay on the matrices
                     of linear layers only, so neither on embeddings, tied or not, nor on norms and biases
  log_probs_after    log_probs after the ten steps
  greedy             for each prompt the ids of highest logit one after the other, the end of text ignored, their
                     log-probs, and by how many nats each leads
  scores, weights    of reward models instead of all these: one score a prompt with its response; gradients are those
                     of the sum of scores times weights

A gradient's sum and scalar product may cancel to nothing: hold them to a tolerance relative to the norm, not to themselves.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "CUDA_VISIBLE_DEVICES": ""}

import torch  # noqa: E402  (the environment first)
from safetensors.torch import save_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    logging,
)
from transformers.pytorch_utils import Conv1D  # noqa: E402

from golden_cases import CASES, EOS, PAD  # noqa: E402

torch.set_num_threads(1)
logging.disable_progress_bar()

# The third prompt begins as the first does, and so do two of its responses. The longest sequence has 40 tokens; one
# response has a single token. EOS and PAD stand at ends only.
FIRST = [3, 1, 4, 1, 5, 9, 2, 6, 53, 58, 9, 7, 9, 32, 38, 46, 26, 43]
PROMPTS = [FIRST, [5], FIRST[:6] + [27, 18, 28]]
LONG = [14, 15, 35, 8, 31, 41, 33, 0, 22, 17, 25, 35, 9, 40, 8, 12, 44, 11, 17, 45, 2, EOS]
RESPONSES = [
    (0, LONG),
    (0, LONG[:3] + [30, 8]),
    (0, [18]),
    (1, [2, 3, 55, 8, 4, 6, 50, 51, 29, 36, EOS, EOS]),
    (2, [10, 20, 13, 16, 49, 47, 19, 56, 52, 24, 23, 21, 34, 33, 37, 39, 42, 48, 54, PAD]),
]
ADAMW = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
STEPS, GREEDY = 10, 8
# Entries of a gradient that are kept, and the step between their places.
ENTRIES, STRIDE = 12, 7919
OUT = Path(__file__).resolve().parent.parent / "tests/golden/architectures"


def of_scores(config):
    return config["architectures"][0].endswith("ForSequenceClassification")


def read(folder):
    """The network of a folder in float64, and nothing of it missing or left over."""
    config = json.loads((folder / "config.json").read_text())
    kind = AutoModelForSequenceClassification if of_scores(config) else AutoModelForCausalLM
    model, info = kind.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    problems = {key: value for key, value in info.items() if value}
    assert not problems, f"{folder}: {problems}"
    return model.eval()


def linear_matrices(model):
    """The ids of the matrices of linear layers that are not embeddings too."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    linear = {id(m.weight) for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D))}
    return linear - embeddings


@torch.no_grad()
def fill(model, scale, generator):
    """Draws numbers large enough that every part shows in what the network computes: matrices, embeddings and biases
    around 0, the weights of norms around what they start from, which is 1 and, of Gemma, 0."""
    starts_at_one = model.config.model_type != "gemma3_text"
    linear = linear_matrices(model)
    for name, parameter in model.named_parameters():
        of_norm = parameter.dim() == 1 and name.endswith("weight")
        center = 1.0 if of_norm and starts_at_one else 0.0
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(center + noise * (scale if id(parameter) in linear else 0.3))


def write_checkpoint(folder, case):
    """config.json, model.safetensors in the type that it names, and other files."""
    folder.mkdir(parents=True)
    for file, content in {"config.json": case.config, **case.files}.items():
        (folder / file).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    config = AutoConfig.from_pretrained(folder)
    kind = AutoModelForSequenceClassification if of_scores(case.config) else AutoModelForCausalLM
    model = kind.from_config(config, dtype=torch.float32)
    fill(model, case.scale, torch.Generator().manual_seed(zlib.crc32(folder.name.encode())))
    dtype = getattr(torch, case.config.get("dtype") or case.config["torch_dtype"])
    # Tied matrices are one parameter and appear once.
    tensors = {name: x.detach().to(dtype).contiguous() for name, x in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def rows(model):
    """Log-probs over the whole vocabulary of what predicts each response token, and these tokens: [N, V], [N]."""
    parts, taken = [], []
    for prompt, response in RESPONSES:
        ids = PROMPTS[prompt] + response
        logits = model(torch.tensor([ids[:-1]])).logits[0]
        parts.append(logits[len(PROMPTS[prompt]) - 1 :])
        taken += response
    return torch.cat(parts), torch.tensor(taken)


def log_probs(model, ids_with_text=None):
    """log p of each response token: [N]."""
    logits, taken = rows(model)
    return logits[:, :ids_with_text].log_softmax(-1).gather(1, taken[:, None])[:, 0]


def scores(model):
    """One score a prompt with its response, each read alone: [B]."""
    texts = [PROMPTS[prompt] + response for prompt, response in RESPONSES]
    return torch.cat([model(torch.tensor([text])).logits[0] for text in texts])


def places(size):
    """Where the kept entries of a flat tensor are: all of at most 12, else (7919·i) mod size for i in 0..12."""
    return list(range(size)) if size <= ENTRIES else [STRIDE * i % size for i in range(ENTRIES)]


def summary(x):
    """What is kept of a tensor, flat as it lies in the file: its Euclidean norm, its sum, its scalar product with
    cos(0), cos(1), cos(2), …, its largest absolute value, and the entries at `places`."""
    x = x.detach().flatten()
    wave = torch.arange(len(x), dtype=torch.float64).cos()
    numbers = {"norm": x.norm(), "sum": x.sum(), "cosines": x @ wave, "largest": x.abs().max()}
    return {name: value.item() for name, value in numbers.items()} | {"entries": x[places(len(x))].tolist()}


def gradients(parameters):
    """A summary of each parameter's gradient. A bias on all keys of a head changes no attention unless keys are
    rotated: where its gradient is rounding alone it is written as 0."""
    kept = {}
    for name, parameter in parameters.items():
        gradient = parameter.grad
        if gradient.abs().max() < 1e-7:
            assert name.endswith("k_proj.bias"), f"{name} has no gradient"
            gradient = torch.zeros_like(gradient)
        kept[name] = summary(gradient)
    return kept


def adamw(model, parameters):
    """The mean negative log-prob before each of ten AdamW steps on `parameters`, and after the last."""
    linear = linear_matrices(model)
    decayed = [p for p in parameters.values() if id(p) in linear]
    others = [p for p in parameters.values() if id(p) not in linear]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], **ADAMW)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = -log_probs(model).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses + [-log_probs(model).mean().item()]


@torch.no_grad()
def greedy(model):
    """Ids of the highest logit after each prompt, and how far each is above the second, in nats."""
    answers = []
    for prompt in PROMPTS:
        ids, taken, leads = list(prompt), [], []
        for _ in range(GREEDY):
            top = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).topk(2)
            ids.append(top.indices[0].item())
            taken.append(top.values[0].item())
            leads.append((top.values[0] - top.values[1]).item())
        assert min(leads) > 1e-4, f"too close to tell: {leads}"
        answers.append({"ids": ids[len(prompt) :], "log_probs": taken, "leads": leads})
    return answers


def of_language(model, ids_with_text=None):
    """What golden.json holds of a language model, whose trainable parameters are left ten steps further."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    golden = {"log_probs": log_probs(model)}
    if ids_with_text is not None:
        golden["masked_log_probs"] = log_probs(model, ids_with_text).tolist()
    golden["greedy"] = greedy(model)
    (-golden["log_probs"].mean()).backward()
    golden["log_probs"] = golden["log_probs"].tolist()
    golden["gradients"] = gradients(parameters)
    golden["losses"] = adamw(model, parameters)
    golden["log_probs_after"] = log_probs(model).tolist()
    return golden


def of_rewards(model):
    """What golden.json holds of a reward model."""
    golden = {"scores": scores(model)}
    weights = torch.tensor([1.0, -0.5, 0.75, 1.25, -2.0], dtype=torch.float64)
    (golden["scores"] * weights).sum().backward()
    return {
        "scores": golden["scores"].tolist(),
        "weights": weights.tolist(),
        "gradients": gradients({name: p for name, p in model.named_parameters() if p.requires_grad}),
    }


def changed(folder, changes):
    """The network of a folder with other fields in config.json, fields that are None removed."""
    with tempfile.TemporaryDirectory() as other:
        other = Path(other)
        config = json.loads((folder / "config.json").read_text()) | changes
        config = {name: value for name, value in config.items() if changes.get(name, 0) is not None}
        (other / "config.json").write_text(json.dumps(config))
        shutil.copy(folder / "model.safetensors", other)
        kind = AutoModelForCausalLM
        return kind.from_pretrained(other, dtype=torch.float64, attn_implementation="eager").eval()


@torch.no_grad()
def check_switches(name, folder, case):
    """The switches of a case show in its log-probs, or do not where they are meant not to."""
    for changes in case.without:
        off = (log_probs(read(folder)) - log_probs(changed(folder, changes))).abs().max().item()
        assert (off == 0) if case.neutral else (off > 0.02), f"{name} without {changes}: {off} nats"


def golden(folder, case):
    model = read(folder)
    return of_rewards(model) if of_scores(case.config) else of_language(model, case.ids_with_text)


def dumps(value, indent=""):
    """JSON with a line for each short value and seven digits for each number."""
    if isinstance(value, float):
        assert math.isfinite(value)
        return f"{value:.7g}"
    if isinstance(value, list) and not any(isinstance(x, dict) for x in value):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, list):
        return "[" + ",\n ".join(map(dumps, value)) + "]"
    if isinstance(value, dict):
        inner = [f"{json.dumps(key)}:{dumps(x, indent + ' ')}" for key, x in value.items()]
        deep = any(isinstance(x, dict) for x in value.values()) or not indent
        return "{\n" + ",\n".join(inner) + "\n}" if deep else "{" + ",".join(inner) + "}"
    return json.dumps(value)


def batch():
    return {
        "prompts": PROMPTS,
        "responses": [{"prompt": prompt, "ids": ids} for prompt, ids in RESPONSES],
        "adamw": {
            "learning_rate": ADAMW["lr"],
            "beta1": ADAMW["betas"][0],
            "beta2": ADAMW["betas"][1],
            "epsilon": ADAMW["eps"],
            "weight_decay": ADAMW["weight_decay"],
            "steps": STEPS,
        },
        "entries": {"count": ENTRIES, "stride": STRIDE},
    }


def write(out, names):
    out.mkdir(parents=True, exist_ok=True)
    (out / "batch.json").write_text(dumps(batch()) + "\n")
    for name, case in CASES.items():
        if names and name not in names:
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        write_checkpoint(folder, case)
        check_switches(name, folder, case)
        (folder / "golden.json").write_text(dumps(golden(folder, case)) + "\n")
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        print(name, sizes, flush=True)


def differences(path, got, expected):
    """Lines that say where two JSON values differ: numbers by more than 1e-6 of themselves or 1e-7."""
    if isinstance(expected, float):
        same = isinstance(got, (float, int)) and math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-7)
        return [] if same else [f"{path}: {got}, expected {expected}"]
    if isinstance(expected, dict) and isinstance(got, dict) and got.keys() == expected.keys():
        pairs = [(f"{path}/{key}", got[key], expected[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(got, list) and len(got) == len(expected):
        pairs = [(f"{path}[{i}]", *both) for i, both in enumerate(zip(got, expected))]
    else:
        return [] if got == expected else [f"{path}: {str(got)[:60]}, expected {str(expected)[:60]}"]
    return [line for pair in pairs for line in differences(*pair)]


def compare(made, kept):
    """Faults of the committed files beside those that were made just now."""
    there = {str(f.relative_to(kept)) for f in kept.rglob("*") if f.is_file()}
    here = {str(f.relative_to(made)) for f in made.rglob("*") if f.is_file()}
    faults = [f"{file} is made only now" for file in sorted(here - there)]
    faults += [f"{file} is not made any more" for file in sorted(there - here)]
    for file in sorted(here & there):
        if file.endswith(".json"):
            faults += differences(file, *(json.loads((at / file).read_text()) for at in (made, kept)))
        elif (made / file).read_bytes() != (kept / file).read_bytes():
            faults.append(f"{file} has other bytes")
    return faults


def main(write=write, out=OUT):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.out, arguments.cases)
        return
    with tempfile.TemporaryDirectory() as made:
        write(Path(made), [])
        faults = compare(Path(made), arguments.out)
    print("\n".join(faults[:50]), end="\n" if faults else "")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
