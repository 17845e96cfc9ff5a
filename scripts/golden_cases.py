"""The tiny checkpoints of golden_models.py: what config.json holds of each, and what its switch changes.

A case has one switch more than the case that it is compared with, and is named after it.
"""

from dataclasses import dataclass, field

VOCAB, EOS, PAD = 61, 60, 59


@dataclass
class Case:
    """A checkpoint: `config` is config.json as it is written, and `files` what lies beside it."""

    config: dict
    # Changes to config.json, each of which turns a switch off, None removing a field. Log-probs must differ
    # without it, or where `neutral` is set must not.
    without: list = field(default_factory=list)
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
    kind = "Gemma3Text" if kind == "Gemma3" else kind
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return config | labels | {"architectures": [f"{kind}ForSequenceClassification"], "pad_token_id": pad}


def rope_width(heads, kv_heads, **fields):
    """Width 24 and heads of width 8, or another number of heads: small, and with four angles a head."""
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


def scaled(names):
    return Case(llama(names, heads=2), without=[unscaled(names)])


def llamas():
    """Llama-3.2, SmolLM2, TinyLlama."""
    stops = {"generation_config.json": {"eos_token_id": [EOS, 57], "do_sample": False}}
    window_free = {"head_dim": 8, "hidden_size": 24}
    yarn_options = YARN | {"beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3}
    return {
        "llama": Case(llama(new_names("float32"), kv_heads=3, tie_word_embeddings=False)),
        "llama-grouped": Case(llama(old_names(), heads=4, kv_heads=2, eos_token_id=[EOS, 58]), files=stops),
        "llama-biases": Case(llama(new_names(), attention_bias=True, mlp_bias=True),
                             without=[{"attention_bias": False, "mlp_bias": False}]),
        "llama-head-dim": Case(llama(new_names(), heads=4, kv_heads=2, **window_free)),
        "llama-gelu": Case(llama(new_names(), hidden_act="gelu"), without=[{"hidden_act": "silu"}]),
        "llama-rope-linear": scaled(old_names(type="linear", factor=4.0)),
        "llama-rope-llama3": scaled(new_names(**LLAMA3)),
        "llama-rope-llama3-old": scaled(old_names(theta=500.0, **LLAMA3)),
        "llama-rope-yarn": scaled(new_names(**YARN)),
        "llama-rope-yarn-options": scaled(old_names(**yarn_options)),
        # Up to the original length, which the longest sequence fills, it changes nothing.
        "llama-rope-dynamic": Case(llama(old_names(type="dynamic", factor=4.0), heads=2, max_position_embeddings=40),
                                   without=[UNSCALED], neutral=True),
        "llama-padded": Case(llama(new_names(), vocab_size=64), ids_with_text=VOCAB,
                             files={"tokenizer.json": letters()}),
        "llama-score": Case(score(llama(new_names()), PAD)),
        "llama-score-pad-is-eos": Case(score(llama(old_names(), kv_heads=3), EOS)),
    }


def qwens():
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    off = {"use_sliding_window": False}
    return {
        "qwen2": Case(qwen2(new_names())),
        "qwen2-window": Case(qwen2(new_names(), **window), without=[{"use_sliding_window": False}]),
        # The hub's files give a window that is off.
        "qwen2-window-off": Case(qwen2(old_names(theta=1e6), tie_word_embeddings=False, **window | off),
                                 without=[{"sliding_window": None}], neutral=True),
        "qwen2-score": Case(score(qwen2(new_names()), None)),
        "qwen3": Case(qwen3(new_names())),
        "qwen3-biases": Case(qwen3(old_names(theta=1e6), attention_bias=True, tie_word_embeddings=False),
                             without=[{"attention_bias": False}]),
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


def gpt_neox(rope, **changes):
    """Two heads of width 16, so that a quarter of it has two angles."""
    fields = {"model_type": "gpt_neox", "hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 2,
              "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "max_position_embeddings": 64,
              "use_parallel_residual": True, "tie_word_embeddings": False, "attention_bias": True,
              "attention_dropout": 0.0, "hidden_dropout": 0.0, "initializer_range": 0.02}
    return causal("GPTNeoX", **fields | rope | changes)


def pythias():
    old = {"rotary_pct": 0.25, "rotary_emb_base": 10000, "torch_dtype": "bfloat16"}
    new = new_names(partial_rotary_factor=0.25, rope_theta=500.0)
    serial = {"use_parallel_residual": False}
    return {
        "gpt_neox": Case(gpt_neox(old), without=[{"use_parallel_residual": False}, {"rotary_pct": 1.0}]),
        "gpt_neox-serial": Case(gpt_neox(new, **serial), without=[{"use_parallel_residual": True}]),
        "gpt_neox-tied": Case(gpt_neox(old | {"rotary_pct": 1.0}, tie_word_embeddings=True, attention_bias=False)),
        "gpt_neox-score": Case(score(gpt_neox(new), PAD)),
    }


def gemma3(names, **changes):
    """Three layers, four heads of width 8 in a network of width 24, and one head of keys and values."""
    fields = {"model_type": "gemma3_text", "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
              "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 20,
              "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "max_position_embeddings": 64,
              "sliding_window": 8, "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02,
              "final_logit_softcapping": None, "attn_logit_softcapping": None}
    return causal("Gemma3", **fields | names | changes)


def gemmas():
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    bases = {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
             "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
    new = {"rope_parameters": bases, "layer_types": layers, "dtype": "bfloat16", "use_bidirectional_attention": False}
    # The layers 2, 4, 6, … are full.
    old = {"rope_theta": 1e3, "rope_local_base_freq": 100.0, "rope_scaling": None, "sliding_window_pattern": 2,
           "torch_dtype": "bfloat16"}
    linear = {"rope_type": "linear", "factor": 8.0}
    return {
        "gemma3_text": Case(gemma3(new), without=[{"sliding_window": 64}, {"query_pre_attn_scalar": 8}]),
        # As the larger ones have it, in full layers only; and biases.
        "gemma3_text-linear": Case(
            gemma3(old, rope_scaling=linear, attention_bias=True),
            without=[UNSCALED, {"sliding_window_pattern": 3}, {"rope_local_base_freq": 1e6}, {"attention_bias": False}],
        ),
        "gemma3_text-score": Case(score(gemma3(new), PAD)),
    }


def olmo2(names, **changes):
    fields = {"model_type": "olmo2", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
              "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02}
    return causal("Olmo2", **fields | rope_width(3, 3) | names | changes)


def olmos():
    return {
        "olmo2": Case(olmo2(old_names(theta=5e5))),
        "olmo2-grouped": Case(olmo2(new_names(), num_key_value_heads=1, tie_word_embeddings=True, attention_bias=True),
                              without=[{"attention_bias": False}]),
        "olmo2-score": Case(score(olmo2(new_names()), PAD)),
    }


def gpt_neo(**changes):
    fields = {"model_type": "gpt_neo", "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": None,
              "attention_types": [[["global", "local"], 1]], "window_size": 8, "max_position_embeddings": 40,
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
              "attention_dropout": 0.0, "embed_dropout": 0.0, "resid_dropout": 0.0, "classifier_dropout": 0.0,
              "initializer_range": 0.02, "torch_dtype": "bfloat16"}
    return causal("GPTNeo", **fields | changes)


def gpt_neos():
    return {
        "gpt_neo": Case(gpt_neo(), without=[{"window_size": 40}, {"attention_types": [[["global"], 2]]}]),
        "gpt_neo-inner": Case(gpt_neo(intermediate_size=20, activation_function="relu"),
                              without=[{"activation_function": "gelu_new"}]),
        "gpt_neo-score": Case(score(gpt_neo(intermediate_size=20), PAD)),
    }


def opt(**changes):
    fields = {"model_type": "opt", "hidden_size": 24, "word_embed_proj_dim": 24, "num_hidden_layers": 2,
              "num_attention_heads": 3, "ffn_dim": 20, "max_position_embeddings": 40, "do_layer_norm_before": True,
              "_remove_final_layer_norm": False, "activation_function": "relu", "enable_bias": True,
              "layer_norm_elementwise_affine": True, "dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0,
              "init_std": 0.02, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    return causal("OPT", **fields | changes)


def opts():
    # As OPT-350m has it.
    after = {"do_layer_norm_before": False, "word_embed_proj_dim": 16}
    bare = {"enable_bias": False, "layer_norm_elementwise_affine": False, "activation_function": "gelu"}
    return {
        "opt": Case(opt()),
        "opt-after": Case(opt(**after)),
        # As Galactica has it.
        "opt-bare": Case(opt(**bare)),
        "opt-score": Case(score(opt(**after), PAD)),
    }


def gpt2(**changes):
    fields = {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_inner": 20, "n_positions": 40,
              "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
              "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False, "attn_pdrop": 0.0,
              "embd_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.02, "tie_word_embeddings": True,
              "torch_dtype": "bfloat16"}
    config = causal("GPT2", **fields | changes)
    return config | {"architectures": ["GPT2LMHeadModel"]}


def gpt2s():
    """What golden.py has no long sequence for."""
    switches = {"scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}
    return {
        "gpt2-by-layer": Case(gpt2(**switches), without=[{"scale_attn_by_inverse_layer_idx": False}]),
    }


CASES = llamas() | qwens() | pythias() | gemmas() | olmos() | gpt_neos() | opts() | gpt2s()
