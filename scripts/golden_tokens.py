#!/usr/bin/env python3
"""Writes tests/golden/tokens/tokens.json: what transformers makes of texts and conversations.

A table of settings beside a tokenizer (tokenizer_config.json and its like, beside tokenizer.json and
beside vocab.json with merges.txt) against token ids, and one of chat shapes. The tokenizer is a
byte-level BPE of eleven merges, made here.

    pip install transformers==5.24.0 jinja2
    python scripts/golden_tokens.py
"""

import json
import os
import pathlib
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

MERGES = "H e|l l|He ll|Hell o|Ġ t|h e|Ġt he|Ġ He|ĠHe ll|ĠHell o|Ċ Ċ".split("|")
TEXTS = ["Hello there", " Hello", "<|endoftext|>Hello the", "a<x> b", "a <y> b", "é<|im_end|>\n\n", ""]
CHATML = (
    "{% for m in messages %}\n{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}\n"
    "{% endfor %}\n{% if add_generation_prompt %}\n{{ '<|im_start|>assistant\\n' -}}\n{% endif %}\n"
)
MARKED = (
    "{{ bos_token }}{%- for m in messages %}\n  {%- if m.role == 'assistant' %}\n<|im_start|>assistant\n"
    "    {% generation %}\n{{ m.content }}<|im_end|>\n    {% endgeneration %}\n  {%- else %}\n"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n  {%- endif %}\n{%- endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = (
    "{{ tools is defined }}{% if tools %}{{ tools | tojson }}{% for t in tools %}[{{ t.function.name }}]"
    "{% endfor %}{% endif %}{% if thinking is defined and not thinking %}!{% endif %}" + CHATML
)


def vocabulary():
    vocab = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
    for merge in MERGES:
        vocab.setdefault(merge.replace(" ", ""), len(vocab))
    vocab["<|endoftext|>"] = len(vocab)
    return vocab


VOCAB = vocabulary()
END = VOCAB["<|endoftext|>"]


def added(id, content, **flags):
    token = {"content": content, "lstrip": False, "normalized": False, "rstrip": False,
             "single_word": False, "special": True}
    return token | flags | ({"id": id} if id is not None else {})


def whole(prefix_space):
    byte_level = {"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [added(END, "<|endoftext|>")],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": byte_level | {"trim_offsets": False},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": VOCAB, "merges": MERGES},
    }


def files(layout, config, prefix_space=False, others=None):
    made = {"config.json": {"model_type": "gpt2", "vocab_size": END + 20, "n_embd": 4, "n_head": 1, "n_layer": 1}}
    if layout == "tokenizer.json":
        made["tokenizer.json"] = whole(prefix_space)
    else:
        made["vocab.json"] = VOCAB
        made["merges.txt"] = "#version: 0.2\n" + "".join(merge + "\n" for merge in MERGES)
    if config is not None:
        made["tokenizer_config.json"] = config
    return made | (others or {})


def tokenizer(made):
    folder = pathlib.Path(tempfile.mkdtemp())
    for name, content in made.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return AutoTokenizer.from_pretrained(folder)


def tables():
    """Settings, each with the name of its case: a configuration, and what else stands beside it."""
    gpt2 = {"tokenizer_class": "GPT2Tokenizer"}
    decoder = lambda id, content, **flags: {"added_tokens_decoder": {str(id): added(None, content, **flags)}}
    chat = {"eos_token": "<|im_end|>", "additional_special_tokens": ["<x>", "<y>"]}
    return {
        "nothing": (None, {}),
        "a blank before texts": (gpt2 | {"add_prefix_space": True}, {}),
        "no blank before texts": (gpt2 | {"add_prefix_space": False}, {"prefix_space": True}),
        "a blank that only tokenizer.json asks for": (gpt2, {"prefix_space": True}),
        "the blank of another class": ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"prefix_space": True}),
        "bos": (gpt2 | {"add_bos_token": True}, {}),
        "another bos": (gpt2 | {"add_bos_token": True, "bos_token": "<x>"}, {}),
        "an added token": (gpt2 | decoder(END + 1, "<x>"), {}),
        "an added token that is not special": (gpt2 | decoder(END + 1, "<x>", special=False), {}),
        "an added token that eats blanks": (gpt2 | decoder(END + 1, "<y>", lstrip=True, rstrip=True), {}),
        "an added token with a gap before its id": (gpt2 | decoder(END + 5, "<x>"), {}),
        "an added token of the vocabulary": (gpt2 | decoder(VOCAB["He"], "He"), {}),
        "further special tokens": (gpt2 | chat, {}),
        "special tokens of both versions": (gpt2 | {"additional_special_tokens": ["<x>"],
                                                    "extra_special_tokens": ["<y>"]}, {}),
        "special tokens of both versions, the newer empty": (gpt2 | {"additional_special_tokens": ["<x>"],
                                                                     "extra_special_tokens": []}, {}),
        "special tokens of both versions, the newer named": (gpt2 | {
            "additional_special_tokens": ["<x>"], "extra_special_tokens": {"image_token": "<y>"}}, {}),
        "special tokens of version 5": (gpt2 | {"extra_special_tokens": ["<x>", "<|im_end|>"]}, {}),
        "an eos that is an object": (gpt2 | {"eos_token": {"__type": "AddedToken"} | added(None, "<|im_end|>", rstrip=True)}, {}),
        "an eos of the vocabulary": (gpt2 | {"eos_token": "He"}, {}),
        "an unknown pad and unk": (gpt2 | {"pad_token": "<x>", "unk_token": "<y>"}, {}),
        "no named tokens": (gpt2 | {"eos_token": None, "bos_token": None, "unk_token": None}, {}),
        "the older files": (gpt2 | {"eos_token": "<x>"}, {"others": {
            "special_tokens_map.json": {"eos_token": "<|im_end|>"}, "added_tokens.json": {"<y>": END + 1}}}),
        "the older files, overruled": (gpt2 | decoder(END + 1, "<x>") | {"eos_token": "<x>"}, {"others": {
            "special_tokens_map.json": {"eos_token": "<|im_end|>"}, "added_tokens.json": {"<y>": END + 2}}}),
        "special tokens in texts are characters": (gpt2 | chat | {"split_special_tokens": True}, {}),
        "what decides no tokens": (gpt2 | {"legacy": False, "errors": "ignore", "do_lower_case": True,
                                           "clean_up_tokenization_spaces": True, "model_max_length": 3}, {}),
    }


def texts():
    rows = []
    for name, (config, more) in tables().items():
        for layout in ["tokenizer.json", "vocab.json"]:
            if layout == "vocab.json" and (more.get("prefix_space") or "PreTrained" in str(config)):
                continue
            made = files(layout, config, **more)
            known = tokenizer(made)
            encode = lambda text, special: known(text, add_special_tokens=special)["input_ids"]
            rows.append({
                "name": name, "layout": layout, "config": config, "prefix_space": more.get("prefix_space", False),
                "others": more.get("others", {}), "eos": known.eos_token, "bos": known.bos_token,
                "texts": [[text, encode(text, False)] for text in TEXTS],
                "start": encode("a", True)[: len(encode("a", True)) - len(encode("a", False))],
            })
    return rows


def say(role, content):
    return {"role": role, "content": content}


def chats():
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "bos_token": "<|endoftext|>",
              "additional_special_tokens": ["<|im_start|>"]}
    user, reply, again = say("user", " Hello"), say("assistant", "Hello there "), say("user", "the\n")
    system, done = say("system", "the"), say("assistant", "He ll")
    tool = [{"type": "function", "function": {"name": "f", "parameters": {"é": [1, 2.5, None, True]}}}]
    shapes = {
        "one turn": (CHATML, {}, [user], [reply]),
        "many turns": (CHATML, {}, [system, user, reply, again], [done]),
        "a bos token by the template": ("{{ bos_token }}" + CHATML, {}, [user], [reply]),
        "marked turns": (MARKED, {}, [user, reply, again], [done]),
        "no tools": (TOOLS, {}, [user], [reply]),
        "tools": (TOOLS, {"tools": tool}, [user], [reply]),
        "tools as json": (TOOLS, {"tools": json.dumps(tool)}, [user], [reply]),
        "arguments of the template": (TOOLS, {"chat_template_kwargs": {"thinking": False}}, [user], [reply]),
        "a prompt to be continued": (CHATML, {}, [user, say("assistant", "Hello the")], None),
        "a prompt to be continued, trimmed": (CHATML.replace("m.content", "m.content | trim"), {},
                                              [user, reply], None),
    }
    trimming = CHATML.replace("m.content", "m.content | trim")
    parts = CHATML.replace("m.content", "(m.content if m.content is string else m.content[-1].text)")
    for what, template, content in [
        ("a character of the markup", CHATML, "<"), ("a letter of the end", CHATML, "e"),
        ("the question again", CHATML, "Hello"), ("blanks around it", CHATML, "  the He  "),
        ("blanks around it, trimmed", trimming, "  the He  "),
        ("a part", parts, [{"type": "text", "text": "e"}]),
    ]:
        shapes["a prompt to be continued: " + what] = (template, {}, [user, say("assistant", content)], None)
    named = {"default": CHATML, "tool_use": "T" + TOOLS}
    listed = [{"name": key, "template": template} for key, template in named.items()]
    folder = {"chat_template.jinja": CHATML, "additional_chat_templates/tool_use.jinja": "T" + TOOLS}
    for what, template, others in [
        ("in a list", listed, {}), ("in an object", named, {}), ("in a folder", "none", folder),
        ("in a file over those of the configuration", listed, {"chat_template.jinja": CHATML}),
        ("in the configuration over those of a file", "C" + CHATML, {"chat_template.json": {"chat_template": listed}}),
    ]:
        shapes["templates " + what + ", with tools"] = (template, {"tools": tool}, [user], [reply], others)
        shapes["templates " + what + ", without tools"] = (template, {}, [user], [reply], others)
    shapes["templates in a list, with no tool"] = (listed, {"tools": []}, [user], [reply])
    blank = "a blank before texts"
    shapes[blank] = (CHATML, {}, [user], [reply])
    rows = []
    for name, (template, columns, prompt, completion, *others) in shapes.items():
        others = others[0] if others else {}
        settings = config | {"chat_template": template} | ({"add_prefix_space": True} if name == blank else {})
        known = tokenizer(files("vocab.json", settings, others=others))
        extra = dict(columns.get("chat_template_kwargs", {}))
        tools = columns.get("tools")
        extra["tools"] = json.loads(tools) if isinstance(tools, str) else tools
        render = lambda messages, **more: known.apply_chat_template(
            messages, tokenize=True, return_dict=False, **extra, **more)
        going_on = {"continue_final_message": True} if completion is None else {"add_generation_prompt": True}
        row = {"name": name, "config": settings, "columns": columns, "prompt": prompt, "completion": completion,
               "others": others, "prompt_ids": render(prompt, **going_on)}
        if completion is not None:
            row["ids"] = render(prompt + completion)
        if template == MARKED:
            marked = known.apply_chat_template(prompt + completion, tokenize=True, return_dict=True,
                                               return_assistant_tokens_mask=True)
            row["mask"] = marked["assistant_masks"]
        rows.append(row)
    return rows


def main():
    path = pathlib.Path(__file__).parent.parent / "tests/golden/tokens/tokens.json"
    base = {layout: {name: content for name, content in files(layout, None).items() if name != "config.json"}
            for layout in ["tokenizer.json", "vocab.json"]}
    content = {"transformers": transformers.__version__, "vocab_size": END + 20, "base": base,
               "texts": texts(), "chats": chats()}
    lists = {key: "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in content[key]) + "\n]"
             for key in ["texts", "chats"]}
    head = json.dumps({key: content[key] for key in ["transformers", "vocab_size", "base"]}, ensure_ascii=False)
    tail = ",\n".join(f'"{key}": {rows}' for key, rows in lists.items())
    path.write_text(head[:-1] + ",\n" + tail + "}\n")


if __name__ == "__main__":
    main()
