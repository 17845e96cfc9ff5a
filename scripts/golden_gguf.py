#!/usr/bin/env python3
"""Writes tests/golden/gguf: a GGUF file with tensors of each type that is read, and what the gguf package makes of it.

    python scripts/golden_gguf.py            writes the files
    python scripts/golden_gguf.py --check    makes them anew and compares the bytes

Needs gguf 0.19, numpy and safetensors. The same seed gives the same files:

  types.gguf         metadata of every kind of value, and two tensors a type: NAME.rounded holds random numbers as the
                     package quantizes them (types that it can quantize), NAME.bytes random bytes with sane scales
  types.safetensors  dequantized.TENSOR, f32 as the package dequantizes each tensor; source.NAME.rounded, the numbers
                     before they were quantized, so that a writer can be held to the same bytes
  types.json         metadata as the package reads it, and each tensor's type, shape (rows first) and bytes
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parent.parent / "tests/golden/gguf"
TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q4_K, Type.Q5_K, Type.Q6_K]
# What the package cannot quantize.
ONLY_READ = [Type.Q4_K, Type.Q5_K, Type.Q6_K]
# Where a block holds its scales, as numbers of 16 bits.
SCALES = {
    Type.Q8_0: [0],
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
ROWS = 5
# Neither a multiple of a block nor of a vector.
ODD_WIDTH = 37


def width(kind):
    """Two blocks a row, and of unblocked types an odd width."""
    block = GGML_QUANT_SIZES[kind][0]
    return ODD_WIDTH if block == 1 else 256 if block == 256 else 2 * block


def source(kind, rng):
    """Numbers of all sizes: rows at different scales, one of zeros, one with a single large value."""
    x = rng.standard_normal((ROWS, width(kind))) * 10.0 ** np.arange(-4, ROWS - 4)[:, None]
    x[1] = 0.0
    x[2, 5] = -300.0
    x[3, ::3] *= -1e-3
    if kind in (Type.F32, Type.F16, Type.BF16):
        # Ties between neighbours of bf16 and f16, a subnormal of f16, and the two zeros.
        x[4, :8] = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, 2**-24, -(2**-16), 0.0, -0.0]
    return x.astype(np.float32)


def random_bytes(kind, rng):
    """Bytes of every pattern, the scales aside, which are numbers of either sign, one of them subnormal in f16."""
    block, size = GGML_QUANT_SIZES[kind]
    if kind in (Type.F32, Type.F16, Type.BF16):
        # Numbers, so that none is NaN; the least, the largest and infinity of each type among them.
        special = {
            Type.F32: np.array([1e-45, 3.4028235e38, -np.inf], np.float32),
            Type.F16: np.array([6e-8, 65504.0, -np.inf], np.float16),
            Type.BF16: np.array([0x0001, 0x7F7F, 0xFF80], np.uint16),
        }[kind]
        x = rng.standard_normal((ROWS, ODD_WIDTH)).astype(np.float32)
        x = x.view(np.uint32).astype(np.uint64) >> 16 if kind == Type.BF16 else x
        x = np.ascontiguousarray(x.astype(special.dtype))
        x[0, :3] = special
        return x.view(np.uint8)
    blocks = rng.integers(0, 256, (ROWS * width(kind) // block, size), dtype=np.uint8)
    for place in SCALES[kind]:
        scale = (rng.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        scale[0], scale[1] = np.float16(3e-7), np.float16(-0.5)
        blocks[:, place : place + 2] = scale[:, None].view(np.uint8)
    return blocks.reshape(ROWS, -1)


def add_metadata(writer):
    writer.add_name("types")
    for kind, low, high in [("uint8", 0, 255), ("int8", -128, 127), ("uint16", 0, 65535), ("int16", -32768, 32767),
                            ("uint32", 0, 2**32 - 1), ("int32", -(2**31), 2**31 - 1), ("uint64", 0, 2**64 - 1),
                            ("int64", -(2**63), 2**63 - 1)]:
        for name, value in (("least", low), ("most", high)):
            getattr(writer, f"add_{kind}")(f"test.{kind}.{name}", value)
    writer.add_float32("test.float32", 0.1)
    writer.add_float64("test.float64", 0.1)
    writer.add_bool("test.true", True)
    writer.add_bool("test.false", False)
    writer.add_string("test.text", "é\n{% if x %}“q”{% endif %}")
    writer.add_array("test.integers", [3, 1, -4])
    writer.add_array("test.floats", [0.5, -1.25])
    writer.add_array("test.truths", [True, False])
    writer.add_array("test.texts", ["Ġthe", "", "<|im_end|>"])


def tensors(rng):
    """Each tensor's name, type and bytes, and the numbers that it was quantized from if it was."""
    for kind in TYPES:
        name = kind.name.lower()
        if kind not in ONLY_READ:
            x = source(kind, rng)
            yield f"{name}.rounded", kind, quants.quantize(x, kind).view(np.uint8), x
        yield f"{name}.bytes", kind, random_bytes(kind, rng), None


def contents(field):
    """A value of metadata with its kind, and of an array the kind of its elements."""
    return {"kind": [kind.name for kind in field.types], "value": field.contents()}


def write(out):
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    writer = GGUFWriter(out / "types.gguf", "llama")
    add_metadata(writer)
    sources = {}
    for name, kind, data, x in tensors(rng):
        writer.add_tensor(name, data, raw_dtype=kind)
        if x is not None:
            sources[f"source.{name}"] = x
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    reader = GGUFReader(out / "types.gguf")
    numbers = {t.name: quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    assert all(not np.isnan(x).any() for x in numbers.values())
    dequantized = {f"dequantized.{name}": np.ascontiguousarray(x) for name, x in numbers.items()}
    save_file(dequantized | sources, out / "types.safetensors")
    metadata = {name: contents(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    kept = {t.name: {"type": t.tensor_type.name, "shape": list(numbers[t.name].shape), "bytes": int(t.n_bytes)} for t in reader.tensors}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in {**metadata, "tensors": kept}.items()]
    (out / "types.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    if not parser.parse_args().check:
        write(OUT)
        return
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        files = sorted(Path(made).iterdir())
        faults = [f.name for f in files if not (OUT / f.name).exists() or f.read_bytes() != (OUT / f.name).read_bytes()]
    print(f"{len(files)} files, differing: {faults}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
