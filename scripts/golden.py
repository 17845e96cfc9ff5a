#!/usr/bin/env python3
"""Writes the golden numbers of tests/golden: what PyTorch, transformers and TRL compute.

    python scripts/golden.py model --out tests/golden

Parts: model; reward; dpo and preferences, with TRL 1.16; ppo, with TRL 1.12 (1.16 has no PPO). Needs
torch, transformers and safetensors, and trl for the losses. Everything is computed in float64 from numbers that float32 holds,
so a difference is the error of the code under test. The same seed gives the same files.
"""

import argparse
import json
import shutil
from pathlib import Path

import golden_losses
import golden_preferences
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

# What each model changes of SMALL: together, every field that changes the forward pass.
SMALL = dict(vocab_size=19, n_positions=12, n_embd=12, n_layer=2, n_head=3)
MODELS = {
    "gelu-new": dict(),
    "relu-untied": dict(activation_function="relu", tie_word_embeddings=False),
    "silu-inner": dict(activation_function="silu", n_inner=20),
    "gelu-by-layer": dict(activation_function="gelu", scale_attn_by_inverse_layer_idx=True),
    "unscaled-epsilon": dict(scale_attn_weights=False, layer_norm_epsilon=1e-2, n_head=2),
}
# Prompts, and responses with the prompt each answers: ragged, one prompt shared, one response of
# one token, one that fills the context.
PROMPTS = [[3, 1, 4, 1], [5], [9, 2, 6, 5, 3, 5, 8]]
RESPONSES = [(0, [7, 9, 3]), (1, [2, 3, 8, 4, 6]), (0, [18]), (2, [0, 10, 11, 12, 13, 14])]
ADAMW = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
STEPS = 10
# What reward models are read at: EOS at the end, in between, alone, and after the last of a prompt.
EOS = 18
REWARD_PROMPTS = [[3, 1, 4, 1], [5], [9, 2, 18]]
REWARD_RESPONSES = [(0, [7, 9, 3, 18]), (1, [2, 18, 8]), (0, [18]), (2, [0, 10, 18, 18]), (2, [18])]
# The pad token of each reward model.
REWARD_MODELS = {"no-pad": None, "pad-is-eos": EOS, "pad-apart": 17}


def random_model(changes, generator, kind=GPT2LMHeadModel):
    """A GPT-2 with weights large enough that every part of it shows in what it answers."""
    config = GPT2Config(
        **SMALL | dict(bos_token_id=None, eos_token_id=None) | changes,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation="eager",
    )
    model = kind(config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            # Rounded to what the file holds, before anything is computed.
            parameter.copy_((noise + (".ln_" in name and name.endswith("weight"))).float())
    return model


def log_probs(model):
    """log p of each response token, one after the other: [N]."""
    parts = []
    for prompt, response in RESPONSES:
        prompt = PROMPTS[prompt]
        logits = model(torch.tensor([prompt + response[:-1]])).logits[0]
        rows = logits.log_softmax(-1)[len(prompt) - 1 :]
        parts.append(rows.gather(1, torch.tensor(response)[:, None])[:, 0])
    return torch.cat(parts)


def ten_steps(model):
    """The mean negative log-prob before each AdamW step, and after the last."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        linear = any(part in name for part in ("c_attn", "c_proj", "c_fc", "lm_head"))
        (decayed if linear and name.endswith("weight") else others).append(parameter)
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = -log_probs(model).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    losses.append(-log_probs(model).mean().item())
    return losses


def write_checkpoint(folder, model):
    """The folder as save_pretrained writes it, in fewer files; returns the parameters by name."""
    folder.mkdir(parents=True)
    model.config.dtype = torch.float32
    fields = model.config.to_diff_dict()
    fields |= {"model_type": "gpt2", "architectures": [type(model).__name__]}
    for name in ("transformers_version", "dtype", "torch_dtype", "attn_implementation"):
        fields.pop(name, None)
    (folder / "config.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
    parameters = dict(model.named_parameters())
    save_file(numbers(parameters), folder / "model.safetensors", {"format": "pt"})
    return parameters


def write_model(folder, changes, seed):
    generator = torch.Generator().manual_seed(seed)
    model = random_model(changes, generator)
    parameters = write_checkpoint(folder, model)

    golden = {}
    for index, (prompt, response) in enumerate(RESPONSES):
        tokens = torch.tensor([PROMPTS[prompt] + response[:-1]])
        golden[f"logits.{index}"] = model(tokens).logits[0]
    weights = torch.randn(sum(len(ids) for _, ids in RESPONSES), generator=generator).float()
    golden["weights"] = weights
    golden["log_probs"] = log_probs(model)
    (weights.double() * golden["log_probs"]).sum().backward()
    golden |= {f"gradient.{name}": parameter.grad for name, parameter in parameters.items()}
    golden = numbers(golden)
    losses = ten_steps(model)
    golden |= numbers({f"after.{name}": parameter for name, parameter in parameters.items()})
    save_file(golden, folder / "golden.safetensors")
    return losses


def numbers(tensors):
    return {name: x.detach().float().contiguous().clone() for name, x in tensors.items()}


def model(out):
    """Logits, gradients and ten optimizer steps of small random GPT-2s."""
    folder = out / "model"
    shutil.rmtree(folder, ignore_errors=True)
    losses = {
        name: write_model(folder / name, changes, seed)
        for seed, (name, changes) in enumerate(MODELS.items())
    }
    batch = {
        "prompts": PROMPTS,
        "responses": [{"prompt": prompt, "ids": ids} for prompt, ids in RESPONSES],
        "adamw": {
            "learning_rate": ADAMW["lr"],
            "beta1": ADAMW["betas"][0],
            "beta2": ADAMW["betas"][1],
            "epsilon": ADAMW["eps"],
            "weight_decay": ADAMW["weight_decay"],
        },
        "losses": losses,
    }
    (folder / "batch.json").write_text(json.dumps(batch, indent=1) + "\n")


def scores(model, pad):
    """r of each response: one by one without a pad token, else in one batch filled up with it."""
    rows = [REWARD_PROMPTS[prompt] + response for prompt, response in REWARD_RESPONSES]
    if pad is None:
        return torch.cat([model(torch.tensor([row])).logits[0] for row in rows])
    longest = max(map(len, rows))
    padded = [row + [pad] * (longest - len(row)) for row in rows]
    return model(torch.tensor(padded)).logits[:, 0]


def reward(out):
    """Scores of small random reward models, and the gradients of a weighted sum of them."""
    folder = out / "reward"
    shutil.rmtree(folder, ignore_errors=True)
    for seed, (name, pad) in enumerate(REWARD_MODELS.items()):
        generator = torch.Generator().manual_seed(seed)
        changes = dict(num_labels=1, eos_token_id=EOS, pad_token_id=pad)
        model = random_model(changes, generator, GPT2ForSequenceClassification)
        parameters = write_checkpoint(folder / name, model)
        golden = {"scores": scores(model, pad)}
        golden["weights"] = torch.randn(len(REWARD_RESPONSES), generator=generator).float()
        (golden["weights"].double() * golden["scores"]).sum().backward()
        golden |= {f"gradient.{name}": parameter.grad for name, parameter in parameters.items()}
        save_file(numbers(golden), folder / name / "golden.safetensors")
    batch = {
        "prompts": REWARD_PROMPTS,
        "responses": [{"prompt": prompt, "ids": ids} for prompt, ids in REWARD_RESPONSES],
    }
    (folder / "batch.json").write_text(json.dumps(batch, indent=1) + "\n")


PARTS = {
    "model": model,
    "reward": reward,
    "dpo": golden_losses.dpo,
    "preferences": golden_preferences.preferences,
    "ppo": golden_losses.ppo,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments.out)


if __name__ == "__main__":
    main()
