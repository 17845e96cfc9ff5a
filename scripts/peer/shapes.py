"""The networks and shapes of `rlhf bench`, for the libraries it is compared with."""

import json
import os
import resource
import sys
import warnings
from statistics import median

THREADS = int(os.environ.get("THREADS", "2"))
DTYPE = os.environ.get("DTYPE", "f32")
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
    GPT2Config,
    GPT2LMHeadModel,
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
# Documents of a training step, and their tokens.
DOCUMENTS = {"tiny": (16, 96), "small": (16, 96), "gpt2": (8, 128)}
# The ids below are special: no text has them.
BOS, EOS, PAD, FIRST = 0, 1, 2, 3


def vocabulary(size):
    return SIZES[size][3]


def network(size, kind=GPT2LMHeadModel, seed=0, **changes):
    """A network of random weights without dropout."""
    layers, width, heads, vocab = SIZES[size]
    torch.manual_seed(seed)
    return kind(
        GPT2Config(
            n_layer=layers,
            n_embd=width,
            n_head=heads,
            vocab_size=vocab,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **changes,
        )
    )


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
        "size": sys.argv[1],
        "dtype": DTYPE,
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
