"""The networks and shapes of `rlhf bench`, for the libraries it is compared with.

SIZE is tiny, small or gpt2, of random weights, or the folder of a checkpoint. The environment says THREADS, DTYPE (f32 or
bf16) and, to train an adapter in place of the network, LORA, its rank.
"""

import json
import os
import resource
import sys
import warnings
from pathlib import Path
from statistics import median

THREADS = int(os.environ.get("THREADS", "2"))
DTYPE = os.environ.get("DTYPE", "f32")
LORA = int(os.environ.get("LORA", "0"))
os.environ.update(
    OMP_NUM_THREADS=str(THREADS),
    CUDA_VISIBLE_DEVICES="",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_VERBOSITY="error",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TRL_EXPERIMENTAL_SILENCE="1",
)
warnings.filterwarnings("ignore")

import torch  # noqa: E402  (the environment first)
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(THREADS)

# Layers, width, heads, vocabulary.
SIZES = {
    "tiny": (4, 128, 4, 4096),
    "small": (6, 384, 6, 50257),
    "gpt2": (12, 768, 12, 50257),
}
PROMPT, RESPONSE, ROWS, PAIRS = 32, 64, 16, 8
# The ids below are special: no text has them.
BOS, EOS, PAD, FIRST = 0, 1, 2, 3


def config(size, **changes):
    """Of a checkpoint as it is, its special tokens aside; else of a GPT-2 without dropout."""
    changes |= {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    if size not in SIZES:
        return AutoConfig.from_pretrained(size, **changes)
    layers, width, heads, vocab = SIZES[size]
    shape = {"n_layer": layers, "n_embd": width, "n_head": heads, "vocab_size": vocab}
    return GPT2Config(**shape, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **changes)


def vocabulary(size):
    return config(size).vocab_size


def documents(size):
    """How many documents a training step reads, and their tokens."""
    return (8, 128) if config(size).hidden_size >= 768 else (16, 96)


def network(size, kind=AutoModelForCausalLM, seed=0, **changes):
    """A network in float32, its weights random where `size` names no checkpoint."""
    torch.manual_seed(seed)
    if size in SIZES:
        return kind.from_config(config(size, **changes), dtype=torch.float32)
    return kind.from_pretrained(size, config=config(size, **changes), dtype=torch.float32)


def scored(size, seed=1):
    """The same with one score in place of logits, of a random head."""
    return network(size, AutoModelForSequenceClassification, seed=seed, num_labels=1)


def adapter():
    """The adapter that LORA asks for, on all linear layers but the head; None without."""
    if not LORA:
        return None
    from peft import LoraConfig

    return LoraConfig(r=LORA, lora_alpha=2 * LORA, target_modules="all-linear", task_type="CAUSAL_LM")


def tokenizer(size):
    """One word an id, so that a text has as many tokens as words."""
    words = {"<bos>": BOS, "<eos>": EOS, "<pad>": PAD}
    words.update({f"w{i}": i for i in range(FIRST, vocabulary(size))})
    library = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=library,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<pad>",
        padding_side="left",
    )


def report(workload, seconds, **more):
    """One line of JSON, in the words of `rlhf bench`."""
    line = {
        "workload": workload,
        "size": Path(sys.argv[1]).name,
        "dtype": DTYPE,
        "lora": LORA or None,
        "threads": THREADS,
        "repeats": len(seconds),
        "seconds": {
            "median": median(seconds),
            "least": min(seconds),
            "most": max(seconds),
        },
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(line | more), flush=True)
