#!/usr/bin/env python3
"""Steps of TRL's DPOTrainer: dpo.py SIZE REPEATS, after a first step that does not count (it does with 0).
The reference model is asked in every step, as it does by default. With LORA=RANK an adapter of PEFT's is trained, and the
reference is the model without it."""

import contextlib
import io
import random
import sys
import tempfile
import time

from shapes import DTYPE, FIRST, PAIRS, PROMPT, RESPONSE, adapter, network, report, tokenizer, vocabulary

import trl
from datasets import Dataset
from transformers import TrainerCallback

size, repeats = sys.argv[1], int(sys.argv[2])
rng = random.Random(0)
vocab = vocabulary(size)


def words(count):
    return " ".join(f"w{rng.randrange(FIRST, vocab)}" for _ in range(count))


def pair():
    # The trainer appends an EOS to each.
    chosen, rejected = (" " + words(RESPONSE - 1) for _ in range(2))
    return {"prompt": words(PROMPT), "chosen": chosen, "rejected": rejected}


class Starts(TrainerCallback):
    """When each step begins, and when the last ends."""

    def __init__(self):
        self.times = []

    def on_step_begin(self, *_, **__):
        self.times.append(time.perf_counter())

    def on_step_end(self, *_, **__):
        self.end = time.perf_counter()


steps = repeats + 1
watch = Starts()
arguments = trl.DPOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=PAIRS,
    max_steps=steps,
    max_length=None,
    beta=0.1,
    learning_rate=1e-5,
    bf16=DTYPE == "bf16",
    fp16=False,
    gradient_checkpointing=False,
    use_cpu=True,
    save_strategy="no",
    logging_steps=1,
    report_to=[],
    disable_tqdm=True,
)
trainer = trl.DPOTrainer(
    model=network(size),
    ref_model=None if adapter() else network(size),
    peft_config=adapter(),
    args=arguments,
    train_dataset=Dataset.from_list([pair() for _ in range(PAIRS * steps)]),
    processing_class=tokenizer(size),
    callbacks=[watch],
)
with contextlib.redirect_stdout(io.StringIO()):
    trainer.train()
edges = [*watch.times, watch.end]
seconds = [after - before for before, after in zip(edges, edges[1:])]
report("dpo", seconds[1:] or seconds, trl=trl.__version__)
