#!/usr/bin/env python3
"""Writes tests/golden/lora: adapters in PEFT's layout on checkpoints of tests/golden/architectures, and what PEFT computes.

    python scripts/golden_lora.py [CASE…]        writes the cases, or those that are named
    python scripts/golden_lora.py --check        computes everything anew and compares

Needs peft 0.21 and what golden_models.py needs, which says what golden.json and batch.json hold; here `gradients` are
those of the adapter alone, under the names of its file, ten steps of AdamW train the adapter alone (A and B decay, as
matrices of linear layers do), and there is besides

  base       the checkpoint's folder beside tests/golden/architectures; adapter_config.json names it from the root
  targets    what was asked for, which PEFT may have written as a list of names
  merged     of each matrix that the adapter changes, a summary as of gradients, after merging

Of a reward model the head is trained and saved too. B is not zero, so that A has gradients.
"""

import json
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import golden_models
import torch
from golden_models import of_language, of_rewards, read, scores, log_probs, summary
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
BASES = "tests/golden/architectures"


@dataclass
class Case:
    base: str
    targets: object
    rslora: bool = False
    # The layer's weights lie [in, out], as those of GPT-2 do.
    transposed: bool = False


GPT2 = {"base": "gpt2-by-layer", "transposed": True}
CASES = {
    "llama": Case("llama-grouped", ["q_proj", "v_proj"]),
    "llama-rslora": Case("llama-grouped", ["q_proj", "v_proj"], rslora=True),
    "llama-all-linear": Case("llama-grouped", "all-linear"),
    "llama-regex": Case("llama-grouped", r"model\.layers\.1\.(self_attn\.k|self_attn\.o|mlp\.(gate|down))_proj"),
    "gpt2": Case(targets=["c_attn"], **GPT2),
    "gpt2-all-linear": Case(targets="all-linear", **GPT2),
    "llama-score": Case("llama-score", ["q_proj", "v_proj"]),
}


def of_scores(case):
    return case.base.endswith("-score")


def base(case):
    return read(ROOT / BASES / case.base)


def write_adapter(folder, case):
    """adapter_config.json and adapter_model.safetensors as PEFT saves them, its lists sorted and numbers in f32."""
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=case.targets,
        use_rslora=case.rslora,
        fan_in_fan_out=case.transposed,
        task_type="SEQ_CLS" if of_scores(case) else "CAUSAL_LM",
    )
    model = get_peft_model(base(case), config)
    generator = torch.Generator().manual_seed(zlib.crc32(folder.name.encode()))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: x.float() for name, x in tensors.items()}, folder / "adapter_model.safetensors", {"format": "pt"})
    saved = json.loads((folder / "adapter_config.json").read_text())
    saved = {name: sorted(x) if isinstance(x, list) else x for name, x in saved.items()}
    saved |= {"base_model_name_or_path": f"{BASES}/{case.base}"}
    (folder / "adapter_config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")


def with_adapter(folder, case):
    """The base with the adapter of a folder, in float64, every tensor of the file taken."""
    model = PeftModel.from_pretrained(base(case), folder, is_trainable=True, autocast_adapter_dtype=False)
    model = model.double().eval()
    trained = {in_file(name) for name, p in model.named_parameters() if p.requires_grad}
    kept = load_file(folder / "adapter_model.safetensors")
    assert trained == set(kept), trained ^ set(kept)
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or torch.equal(parameter.float(), kept[in_file(name)])
    return model


def in_file(name):
    """A parameter's name in adapter_model.safetensors."""
    return name.replace(".default", "").replace(".modules_to_save", "")


@torch.no_grad()
def merged(folder, case, answer):
    """Summaries of the matrices that the adapter changes, after it was merged into them."""
    before = dict(base(case).named_parameters())
    model = with_adapter(folder, case)
    expected = answer(model)
    with model.disable_adapter():
        plain = answer(model)
    assert (expected - plain).abs().max() > 0.05
    assert of_scores(case) or torch.equal(plain, answer(base(case)))
    model = model.merge_and_unload()
    assert torch.allclose(answer(model), expected, rtol=0, atol=1e-6)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    return {name: summary(x) for name, x in after.items() if not torch.equal(x, before[name])}


def golden(folder, case):
    model = with_adapter(folder, case)
    parts = of_rewards(model) if of_scores(case) else of_language(model)
    parts["gradients"] = {in_file(name): kept for name, kept in parts["gradients"].items()}
    parts["merged"] = merged(folder, case, scores if of_scores(case) else log_probs)
    return {"base": case.base, "targets": case.targets} | parts


def write(out, names):
    # adapter_config.json names the base from here.
    os.chdir(ROOT)
    out.mkdir(parents=True, exist_ok=True)
    (out / "batch.json").write_text(golden_models.dumps(golden_models.batch()) + "\n")
    for name, case in CASES.items():
        if names and name not in names:
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        write_adapter(folder, case)
        (folder / "golden.json").write_text(golden_models.dumps(golden(folder, case)) + "\n")
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        print(name, sizes, flush=True)


if __name__ == "__main__":
    golden_models.main(write, ROOT / "tests/golden/lora")
