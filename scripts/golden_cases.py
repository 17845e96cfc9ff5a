"""The tiny checkpoints of golden_models.py: what config.json holds of each, and what its switch changes.

A case has one switch more than the case that it is compared with, and is named after it.
"""

from dataclasses import dataclass, field

VOCAB, EOS, PAD = 61, 60, 59


@dataclass
class Case:
    """A checkpoint: `config` is config.json as it is written, and `files` what lies beside it."""

    config: dict
    # Changes to config.json that turn the switch off, None removing a field. Log-probs must differ
    # without it, or where `neutral` is set must not.
    without: dict = field(default_factory=dict)
    neutral: bool = False
    # The standard deviation of matrices.
    scale: float = 0.2
    files: dict = field(default_factory=dict)
    # Ids from here on have no text; None if the tokenizer has as many ids as the embedding has rows.
    ids_with_text: int | None = None


def new_names(dtype="bfloat16", **rope):
    """Rope and type of numbers as transformers 5 writes them."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0} | rope, "dtype": dtype}


def old_names(dtype="bfloat16", theta=10000.0, **scaling):
    """The same as transformers 4 wrote them, and most files of the hub have them."""
    return {"rope_theta": theta, "rope_scaling": scaling or None, "torch_dtype": dtype}


def causal(kind, **fields):
    """The fields that every architecture has."""
    ends = {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": None}
    return {"architectures": [f"{kind}ForCausalLM"], "vocab_size": VOCAB, "use_cache": True} | ends | fields


def score(config, pad):
    """The same network with one score a text instead of logits, read at the last token that is not `pad`."""
    kind = config["architectures"][0].removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    if config["model_type"] == "gemma3_text":
        kind = "Gemma3Text"
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return config | labels | {"architectures": [f"{kind}ForSequenceClassification"], "pad_token_id": pad}


def rope_width(heads, kv_heads, **fields):
    """Width 24 and heads of width 8, or width 32: small, and with four angles a head."""
    sizes = {"hidden_size": 8 * heads, "intermediate_size": 20, "num_hidden_layers": 2}
    return sizes | {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 64} | fields


def llama(names, heads=3, kv_heads=1, **changes):
    fields = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
              "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02}
    return causal("Llama", **fields | rope_width(heads, kv_heads) | names | changes)


def qwen2(names, heads=3, kv_heads=1, **changes):
    fields = {"model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
              "attention_dropout": 0.0, "initializer_range": 0.02, "use_sliding_window": False,
              "sliding_window": None, "max_window_layers": 2}
    return causal("Qwen2", **fields | rope_width(heads, kv_heads) | names | changes)


def qwen3(names, **changes):
    fields = {"model_type": "qwen3", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
              "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02,
              "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2, "head_dim": 8}
    # Four heads of width 8 in a network of width 24.
    return causal("Qwen3", **fields | rope_width(4, 2, hidden_size=24) | names | changes)


LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
UNSCALED = {"rope_scaling": None}


def unscaled(names):
    """Turns rope scaling off under either name."""
    if "rope_scaling" in names:
        return UNSCALED
    return {"rope_parameters": {"rope_type": "default", "rope_theta": names["rope_parameters"]["rope_theta"]}}


def scaled(names, **changes):
    return Case(llama(names, **changes), without=unscaled(names))


def llamas():
    """Llama-3.2, SmolLM2, TinyLlama."""
    stops = {"generation_config.json": {"eos_token_id": [EOS, 57], "do_sample": False}}
    window_free = {"head_dim": 8, "hidden_size": 24}
    yarn_options = YARN | {"beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}
    return {
        "llama": Case(llama(new_names("float32"), kv_heads=3, tie_word_embeddings=False)),
        "llama-grouped": Case(llama(old_names(), heads=4, kv_heads=2, eos_token_id=[EOS, 58]), files=stops),
        "llama-biases": Case(llama(new_names(), attention_bias=True, mlp_bias=True),
                             without={"attention_bias": False, "mlp_bias": False}),
        "llama-head-dim": Case(llama(new_names(), heads=4, kv_heads=2, **window_free)),
        "llama-gelu": Case(llama(new_names(), hidden_act="gelu"), without={"hidden_act": "silu"}),
        "llama-rope-theta": Case(llama(old_names(theta=500.0)), without={"rope_theta": 10000.0}),
        "llama-rope-linear": scaled(old_names(type="linear", factor=4.0)),
        "llama-rope-llama3": scaled(new_names(**LLAMA3)),
        "llama-rope-llama3-old": scaled(old_names(theta=500.0, **LLAMA3)),
        "llama-rope-yarn": scaled(new_names(**YARN)),
        "llama-rope-yarn-options": scaled(old_names(**yarn_options)),
        # Up to the original length, which the longest sequence fills, it changes nothing.
        "llama-rope-dynamic": Case(llama(old_names(type="dynamic", factor=4.0), max_position_embeddings=40),
                                   without=UNSCALED, neutral=True),
        "llama-padded": Case(llama(new_names(), vocab_size=64), ids_with_text=VOCAB,
                             files={"tokenizer.json": letters()}),
        "llama-score": Case(score(llama(new_names()), PAD)),
        "llama-score-pad-is-eos": Case(score(llama(old_names(), kv_heads=3), EOS)),
    }


def qwens():
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    return {
        "qwen2": Case(qwen2(new_names("float32"))),
        "qwen2-window": Case(qwen2(new_names(), **window), without={"use_sliding_window": False}),
        # The hub's files give a window that is off.
        "qwen2-window-off": Case(qwen2(old_names(theta=1e6), kv_heads=3, **window | {"use_sliding_window": False}),
                                 without={"sliding_window": None}, neutral=True),
        "qwen2-untied": Case(qwen2(old_names(), tie_word_embeddings=False)),
        "qwen2-score": Case(score(qwen2(new_names()), None)),
        "qwen3": Case(qwen3(new_names("float32"))),
        "qwen3-biases": Case(qwen3(old_names(theta=1e6), attention_bias=True, tie_word_embeddings=False),
                             without={"attention_bias": False}),
        "qwen3-score": Case(score(qwen3(new_names()), PAD)),
    }


def letters():
    """A byte-level BPE without merges of `VOCAB` ids, the last of them an end of text."""
    characters = [chr(c) for c in range(ord("!"), ord("!") + VOCAB - 2)] + ["Ġ"]
    vocab = {c: i for i, c in enumerate(characters)} | {"<|endoftext|>": EOS}
    end = {"id": EOS, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
             "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocab, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}


CASES = llamas() | qwens()
