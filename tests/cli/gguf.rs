//! `model export` and `model import`: a checkpoint as a GGUF file, and back.

use crate::folder;
use crate::program::{done, rlhf, text};
use std::fs;

#[test]
fn a_checkpoint_comes_back_from_gguf() {
    let folder = folder();
    let folder = folder.path();
    let exported = rlhf(
        folder,
        &["model", "export", "model", "model.gguf", "--type", "f32"],
    );
    let said = text(&exported.stderr);
    assert!(exported.status.success(), "{said}");
    assert!(
        said.contains("gpt2") && said.contains("no tokenizer"),
        "{said}"
    );
    done(folder, &["model", "import", "model.gguf", "again"]);
    let score = |model: &str| {
        let arguments = ["score", "--model", model, "--input", "good.jsonl"];
        done(folder, &arguments)
    };
    assert!(score("model").contains("log"));
    assert_eq!(score("model"), score("again"));
}

#[test]
fn what_cannot_be_translated_leaves_nothing_behind() {
    let folder = folder();
    let folder = folder.path();
    done(folder, &["model", "export", "model", "model.gguf"]);
    let whole = fs::read(folder.join("model.gguf")).unwrap();
    fs::write(folder.join("half.gguf"), &whole[..whole.len() / 2]).unwrap();
    let mut huge = whole.clone();
    huge[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes());
    fs::write(folder.join("huge.gguf"), huge).unwrap();
    for (arguments, parts) in [
        (
            "model import half.gguf new",
            &["half.gguf", "truncated"][..],
        ),
        (
            "model import huge.gguf new",
            &["huge.gguf", "1152921504606846976 tensors"],
        ),
        (
            "model import config.json new",
            &["config.json", "not a GGUF file"],
        ),
        ("model import none.gguf new", &["none.gguf"]),
        ("model import model.gguf model", &["model is not empty"]),
        ("model export none new.gguf", &["none"]),
        ("model export model new.gguf --type q4_0", &["q4_0", "q8_0"]),
        ("model export model none/new.gguf", &["none/new.gguf"]),
    ] {
        let output = rlhf(folder, &arguments.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{arguments}");
        for part in parts {
            assert!(said.contains(part), "{arguments}: {said}");
        }
        let left = ["new", "new.gguf"]
            .iter()
            .any(|name| folder.join(name).exists());
        assert!(!left, "{arguments} left something behind");
    }
}
