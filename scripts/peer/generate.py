#!/usr/bin/env python3
"""Responses sampled by transformers' generate, from a cache: generate.py SIZE REPEATS, after one that does
not count. With DTYPE=bf16 the weights are bf16."""

import sys
import time

from shapes import DTYPE, FIRST, PAD, PROMPT, RESPONSE, ROWS, network, report

import torch

size, repeats = sys.argv[1], int(sys.argv[2])
model = network(size).eval()
if DTYPE == "bf16":
    model = model.to(torch.bfloat16)
prompts = torch.randint(FIRST, model.config.vocab_size, (ROWS, PROMPT))
lengths = {"min_new_tokens": RESPONSE, "max_new_tokens": RESPONSE, "pad_token_id": PAD}
seconds = []
for _ in range(repeats + 1):
    since = time.perf_counter()
    with torch.inference_mode():
        drawn = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            top_k=0,
            top_p=1.0,
            use_cache=True,
            **lengths,
        )
    seconds.append(time.perf_counter() - since)
    assert drawn.shape == (ROWS, PROMPT + RESPONSE)
report("generate", seconds[1:])
