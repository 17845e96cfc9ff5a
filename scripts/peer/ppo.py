#!/usr/bin/env python3
"""Iterations of TRL's PPOTrainer (1.12 is the last that has one): ppo.py SIZE REPEATS, after a first
iteration that does not count (it does with 0). Its critic is a separate network."""

import contextlib
import importlib
import io
import random
import sys
import tempfile
import time

from shapes import DTYPE, FIRST, PROMPT, RESPONSE, ROWS, network, report, scored, tokenizer, vocabulary

import trl
from datasets import Dataset
from trl.experimental.ppo import PPOConfig, PPOTrainer

size, repeats = sys.argv[1], int(sys.argv[2])
rng = random.Random(0)
iterations = repeats + 1
vocab = vocabulary(size)


def prompt():
    return {"input_ids": [rng.randrange(FIRST, vocab) for _ in range(PROMPT)]}


# What marks the phases of an iteration: it samples, scores, and whitens advantages before it updates.
events = []
module = importlib.import_module(PPOTrainer.__module__)


def mark(name):
    function = getattr(module, name)

    def marked(*arguments, **more):
        events.append((name, time.perf_counter()))
        result = function(*arguments, **more)
        events.append((name + " done", time.perf_counter()))
        return result

    setattr(module, name, marked)


mark("batch_generation")
mark("masked_whiten")
arguments = PPOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=ROWS,
    local_rollout_forward_batch_size=ROWS,
    gradient_accumulation_steps=1,
    num_mini_batches=1,
    num_ppo_epochs=4,
    response_length=RESPONSE,
    total_episodes=ROWS * iterations,
    num_sample_generations=0,
    temperature=1.0,
    kl_coef=0.05,
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
prompts = Dataset.from_list([prompt() for _ in range(ROWS * iterations)])
trainer = PPOTrainer(
    args=arguments,
    processing_class=tokenizer(size),
    model=network(size),
    ref_model=network(size),
    reward_model=scored(size),
    value_model=scored(size),
    train_dataset=prompts,
    eval_dataset=prompts.select(range(ROWS)),
)
with contextlib.redirect_stdout(io.StringIO()):
    trainer.train()
end = time.perf_counter()

at = {name: [when for event, when in events if event == name] for name, _ in events}
edges = [*at["batch_generation"], end]
spans = list(zip(edges, at["batch_generation done"], at["masked_whiten done"], edges[1:]))
spans = spans[1:] or spans
phases = {
    "sample": [sampled - start for start, sampled, _, _ in spans],
    "score": [scored - sampled for _, sampled, scored, _ in spans],
    "update": [stop - scored for _, _, scored, stop in spans],
}
report(
    "ppo",
    [stop - start for start, _, _, stop in spans],
    trl=trl.__version__,
    critic="separate",
    phases={name: {"seconds": sum(times) / len(times)} for name, times in phases.items()},
)
