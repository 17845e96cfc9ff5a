#!/usr/bin/env python3
"""Compares a GGUF file, as llama.cpp runs it, with the Hugging Face folder that it was exported from.

    python scripts/check_gguf.py F.gguf DIR [--type f32|f16|bf16|q8_0] [--texts F.txt] [--tolerance NATS]
                                            [--runtime llama-cpp-python|cyllama]

The Python needs gguf, torch, transformers, and llama.cpp: llama-cpp-python, which pip builds from source, or cyllama, which
has wheels. The first that is installed is taken. Either can have an environment of its own beside that of the others,
with a .pth file that names theirs:

    python3 -m venv LLAMA && LLAMA/bin/pip install cyllama
    CMAKE_ARGS=-DLLAVA_BUILD=OFF LLAMA/bin/pip install llama-cpp-python
    echo THEIRS/lib/python3.11/site-packages > LLAMA/lib/python3.11/site-packages/others.pth

Compared are the chat template, the ends of text, whether a text begins with a BOS, the tokens of texts and of
conversations, and at every position of these and of what transformers answers greedily, in f32 and with the whole context:
the log-prob of the token that is there, and the token of highest logit. What must hold depends on the type of the matrices:

    f32           the same token of highest logit wherever the first two are more than 0.01 nats apart, and mean |Δ| < 1e-3
    f16, bf16     mean |Δ log-prob| < 5e-3
    q8_0          mean |Δ log-prob| < 5e-2

A folder without tokenizer is compared on random ids. Prints one line of JSON, and what is wrong; fails if anything is.
"""

import argparse
import collections
import importlib.util
import json
import os
import random
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np  # noqa: E402  (the environment first)
import torch  # noqa: E402
from gguf import GGUFReader  # noqa: E402
from gguf_runtimes import CONTEXT, RUNTIMES  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

TOLERANCES = {"F32": 1e-3, "F16": 5e-3, "BF16": 5e-3, "Q8_0": 5e-2}
# The first two that are closer than this may change places.
TOO_CLOSE = 0.01
ANSWER = 24
TEXTS = [
    "The capital of France is Paris, and that of Italy is Rome.",
    "fn main() {\n    println!(\"{}\", 1_000 + 23);\n}\n",
    "  Two  blanks,\ttabs\n\n\nand 12345 numbers; it's they'll WE'VE.",
    "Émile naïvely paid 30 € for 東京 🗼 & «ça».",
]
QUESTIONS = [
    ["What is the capital of France?"],
    ["Write one sentence about the sea.", "The sea is wide and blue.", "And one about 7 mountains, please!"],
]


def matrices_of(reader):
    """The type of most matrices."""
    types = collections.Counter(t.tensor_type.name for t in reader.tensors if len(t.shape) > 1)
    return types.most_common(1)[0][0]


def value(reader, key):
    field = reader.fields.get(key)
    return None if field is None else field.contents()


class Report:
    """What was measured, and what is wrong."""

    def __init__(self):
        self.measured, self.faults = {}, []

    def equal(self, what, in_gguf, in_folder):
        if in_gguf != in_folder:
            self.faults.append(f"{what}: {in_gguf!r} in the file, {in_folder!r} in the folder")


def ends(folder):
    """Every id that ends a text, of generation_config.json and config.json."""
    found = set()
    for file in ("generation_config.json", "config.json"):
        path = folder / file
        ids = json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
        found |= set(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return found


def compare_words(report, reader, llama, folder, tokenizer):
    """Chat template, ends of text, BOS, and the tokens of texts."""
    report.equal("chat template", value(reader, "tokenizer.chat_template"), tokenizer.chat_template)
    report.equal("eos_token_id", value(reader, "tokenizer.ggml.eos_token_id"), tokenizer.eos_token_id)
    report.equal("bos_token_id", value(reader, "tokenizer.ggml.bos_token_id"), tokenizer.bos_token_id)
    stops = {i for i in range(llama.size) if llama.ends_text(i)}
    report.measured["ends"] = sorted(stops)
    missing = ends(folder) - stops
    if missing:
        report.faults.append(f"llama.cpp does not stop at {sorted(missing)}, at which the folder stops")
    with_bos = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    report.equal("add_bos", llama.adds_bos(), with_bos)


def conversations(tokenizer):
    """The questions as the chat template writes them; none without a template."""
    if not tokenizer.chat_template:
        return []
    roles = ["user", "assistant"]
    chats = [[{"role": roles[i % 2], "content": text} for i, text in enumerate(chat)] for chat in QUESTIONS]
    return [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]


def prompts(report, llama, tokenizer, texts):
    """The ids of each text by transformers, which llama.cpp's must equal; random ids without a tokenizer."""
    if tokenizer is None:
        draw = random.Random(0)
        return [[draw.randrange(llama.size) for _ in range(count)] for count in (3, 17, 30)]
    found = []
    for text in texts + conversations(tokenizer):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        report.equal(f"tokens of {text!r}", llama.tokenize(text), ids)
        found.append(ids)
    return found


@torch.no_grad()
def by_transformers(model, prompt):
    """The prompt with a greedy answer, and all rows of log-probs: [T], [T, V]."""
    longest = min(CONTEXT, model.config.max_position_embeddings)
    ids, new, past = list(prompt), prompt, None
    for _ in range(min(ANSWER, longest - len(prompt))):
        out = model(torch.tensor([new]), past_key_values=past, use_cache=True)
        new, past = [out.logits[0, -1].argmax().item()], out.past_key_values
        ids += new
    return ids, model(torch.tensor([ids])).logits[0].log_softmax(-1).numpy()


def compare_rows(report, llama, model, all_ids, kind, tolerance):
    off, positions, others = [], 0, []
    for prompt in all_ids:
        ids, expected = by_transformers(model, prompt)
        got = torch.from_numpy(llama.logits(ids)).log_softmax(-1).numpy()
        places, taken = np.arange(len(ids) - 1), np.array(ids[1:])
        off.append(np.abs(got[places, taken] - expected[places, taken]))
        first = np.sort(expected, -1)
        clear = first[:, -1] - first[:, -2] > TOO_CLOSE
        differ = (got.argmax(-1) != expected.argmax(-1)) & clear
        positions += int(clear.sum())
        others += [f"position {i} of {ids[: i + 1]}" for i in np.flatnonzero(differ)]
    off = np.concatenate(off)
    assert np.isfinite(off).all()
    report.measured |= {
        "tokens": len(off),
        "mean_difference": float(off.mean()),
        "largest_difference": float(off.max()),
        "clear_positions": positions,
        "other_greedy_tokens": len(others),
    }
    if not off.mean() < tolerance:
        report.faults.append(f"log-probs differ by {off.mean():.2e} nats on average, more than {tolerance:g} of {kind}")
    if kind == "F32" and others:
        report.faults += [f"another greedy token at {place}" for place in others[:5]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", help="what the matrices must be of")
    parser.add_argument("--texts", type=Path, help="texts, a line each, besides those of this script")
    parser.add_argument("--tolerance", type=float, help="mean |Δ log-prob|, for types without one of their own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", choices=list(RUNTIMES), help="the first that is installed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    reader = GGUFReader(arguments.gguf)
    kind = matrices_of(reader)
    tolerance = arguments.tolerance or TOLERANCES.get(kind)
    if tolerance is None:
        sys.exit(f"{arguments.gguf}: matrices of {kind}, for which --tolerance is needed")
    report = Report()
    if arguments.type:
        report.equal("type", kind, arguments.type.upper())
    installed = [name for name, (module, _) in RUNTIMES.items() if importlib.util.find_spec(module)]
    runtime = arguments.runtime or next(iter(installed), None)
    if runtime not in installed:
        sys.exit(f"this Python has not {runtime or ' or '.join(RUNTIMES)}: install it")
    llama = RUNTIMES[runtime][1](arguments.gguf, arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    words = any((arguments.folder / file).exists() for file in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder) if words else None
    if tokenizer is not None:
        compare_words(report, reader, llama, arguments.folder, tokenizer)
    texts = TEXTS + (arguments.texts.read_text().splitlines() if arguments.texts else [])
    compare_rows(report, llama, model, prompts(report, llama, tokenizer, texts), kind, tolerance)
    print(json.dumps({"file": str(arguments.gguf), "type": kind, "runtime": runtime} | report.measured | {"faults": len(report.faults)}))
    if report.faults:
        sys.exit("\n".join(report.faults))


if __name__ == "__main__":
    main()
