#!/usr/bin/env python3
"""Steps of language modelling with torch's AdamW: train.py SIZE REPEATS, after one that does not count.
With DTYPE=bf16 under autocast; with LORA=RANK of an adapter of PEFT's."""

import sys
import time

from shapes import DTYPE, FIRST, adapter, documents, network, report

import torch

size, repeats = sys.argv[1], int(sys.argv[2])
model = network(size)
if adapter():
    import peft

    model = peft.get_peft_model(model, adapter())
model.train()
texts = torch.randint(FIRST, model.config.vocab_size, documents(size))
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4)
seconds = []
for _ in range(repeats + 1):
    since = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE == "bf16"):
        loss = model(input_ids=texts, labels=texts, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds.append(time.perf_counter() - since)
report("train", seconds[1:])
