#!/usr/bin/env python3
"""A checkpoint to time, without an end of text and without a tokenizer: without_end.py FOLDER OUT.

Every response then grows to its full length in every program, and texts are ids. Weights are links to FOLDER's."""

import json
import sys
from pathlib import Path

folder, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
config = json.loads((folder / "config.json").read_text())
(out / "config.json").write_text(json.dumps(config | {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}))
for file in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
    link = out / file.name
    link.unlink(missing_ok=True)
    link.symlink_to(file)
