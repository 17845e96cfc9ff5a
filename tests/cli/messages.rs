//! Error messages about invalid arguments, settings and files, with exit codes.

use crate::folder;
use crate::program::{rlhf, text};

/// Arguments, the exit code, and a part of the message.
const MESSAGES: &[(&str, i32, &str)] = &[
    (
        "train --config typo.toml",
        2,
        "typo.toml:3: unknown key `optim.learning_rat`; did you mean `learning_rate`?",
    ),
    (
        "train --config none.toml",
        2,
        "cannot read the config file none.toml: No such file",
    ),
    (
        "train --model model --set trian.seed=3",
        2,
        "--set trian.seed=3: unknown key `trian`; did you mean `train`?",
    ),
    (
        "train --objective dpo --beta 0 --model model",
        2,
        "beta = 0: dpo has no optimum without its prior",
    ),
    (
        "train --objective dpo --model model --set method.loss=simpo",
        2,
        "method.loss = \"simpo\" has no reference model: use --prior counting",
    ),
    (
        "train --objective dpo --model model --set method.loss=hinge --set method.label_smoothing=0.1",
        2,
        "[method] label_smoothing is not used by the loss \"hinge\"",
    ),
    (
        "train --objective dpo --model model --set method.loss=ip",
        2,
        "did you mean `ipo`?",
    ),
    (
        "train --objective kto --dry-run --model model --data good.jsonl",
        1,
        "good.jsonl:1: no field `label`",
    ),
    (
        "train --model model --set model.dtype=f16",
        2,
        "`model.dtype`: unknown variant `f16`, expected `f32` or `bf16`",
    ),
    (
        "train --model model --dtype bf16 --set model.backend=plain",
        2,
        "model.dtype = \"bf16\": only model.backend = \"engine\" computes in it",
    ),
    (
        "train --model model --frozen-dtype bf16 --set model.backend=plain",
        2,
        "model.frozen_dtype = \"bf16\": only model.backend = \"engine\" stores weights in it",
    ),
    (
        "score --model model --input good.jsonl --backend plain --dtype bf16",
        2,
        "--dtype bf16: only --backend engine computes in it",
    ),
    ("bench --dtype f16", 2, "invalid value 'f16'"),
    ("train --objective dpi", 2, "invalid value 'dpi'"),
    ("train --resume --overwrite", 2, "cannot be used with"),
    (
        "train --reward model:x --model model",
        2,
        "reward `model:x`: expected token-share:TOKEN",
    ),
    (
        "train --dry-run --reward length:1 --data bad.jsonl",
        2,
        "no model: give --model FOLDER",
    ),
    (
        "train --dry-run --model model --reward length:1",
        2,
        "no data: give --data FILE",
    ),
    (
        "train --dry-run --model model --data good.jsonl",
        2,
        "no reward: give --reward",
    ),
    (
        "train --dry-run --model model --reward length:1 --data bad.jsonl",
        1,
        "bad.jsonl:2: no field `prompt` and no field `prompt_ids` in this row, which has `question`",
    ),
    (
        "train --dry-run --model none --reward length:1 --data bad.jsonl",
        1,
        "none: no such folder: give a folder with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "train --dry-run --model model --reward regex:( --data good.jsonl",
        1,
        "reward regex: `(` is not a pattern",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --objective imitation",
        1,
        "[prior] kind = \"demonstrations\" has no source: give demonstrations",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior none",
        1,
        "none: no such folder: give a folder with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --set prior.kind=mixture",
        1,
        "prior.first is missing",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior demonstrations:none",
        1,
        "none: no such folder",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior none.jsonl",
        1,
        "none.jsonl: no such file or folder",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior bad.jsonl",
        1,
        "no field `completion` and no field `completion_ids` in this row",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior good.jsonl \
         --set prior.fit.epochs=0",
        1,
        "[prior.fit]: train.epochs = 0",
    ),
    (
        "train --dry-run --model model --reward length:1 --data good.jsonl --prior model \
         --set prior.smoothing=0.1",
        2,
        "prior.smoothing is not used by a prior of kind \"reference\"",
    ),
    (
        "score --model model --input broken.jsonl",
        1,
        "broken.jsonl:2: not JSON",
    ),
    (
        "score --model model --input far.jsonl",
        1,
        "far.jsonl:1: token 11 in `completion_ids` is not in the vocabulary: the largest id is 10",
    ),
    ("generate --model model --prompt x", 1, "--prompt:1: "),
    (
        "generate --model model --prompt 1 --temperature=-1",
        2,
        "must be a number from 0",
    ),
    (
        "model inspect none",
        1,
        "none: no such folder: give a folder with config.json and model.safetensors, or the name of a hub",
    ),
    (
        "model fetch none",
        2,
        "none is not the name of a repository: expected owner/name[@revision]",
    ),
    ("model init config.json model", 2, "model is not empty"),
    ("eval none", 1, "none holds no run: config.toml is missing"),
    (
        "bench --suite trees",
        2,
        "cargo run --release -p rlhf-acceptance -- trees",
    ),
    (
        "bench --workload score --size nowhere",
        1,
        "--size nowhere: no such folder",
    ),
];

#[test]
fn errors_name_the_problem_and_its_place() {
    let folder = folder();
    for (arguments, code, expected) in MESSAGES {
        let output = rlhf(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(
            said.contains(expected),
            "{arguments}\n{said}\nshould say: {expected}"
        );
        assert_eq!(output.status.code(), Some(*code), "{arguments}\n{said}");
        assert!(output.stdout.is_empty(), "{arguments}");
        assert!(!said.contains("panicked"), "{arguments}\n{said}");
    }
}
