//! Tests of `rlhf data check`.

use crate::folder;
use crate::program::{rlhf, text};
use std::fs;

/// Bad rows are reported before training.
#[test]
fn data_check_reports_and_training_agrees() {
    let folder = folder();
    let pair =
        |n: usize| format!("{{\"prompt\": \"{n}\", \"chosen\": \"1 2\", \"rejected\": \"3\"}}\n");
    let mut rows: Vec<String> = (1..10).map(pair).collect();
    rows[4] = "{\"prompt\": \"1\", \"chosen\": true, \"rejected\": \"3\"}\n".into();
    rows[6] = rows[5].clone();
    fs::write(folder.path().join("pairs.jsonl"), rows.concat()).unwrap();
    let check = ["data", "check", "pairs.jsonl", "--model", "model"];
    let output = rlhf(folder.path(), &check);
    let (report, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 9 rows cannot be used"), "{said}");
    for expected in [
        "rows        9\n",
        "shape       preferences with a prompt\n",
        "chosen      3 to 3 tokens",
        "duplicates  1 rows",
        "pairs.jsonl:5: field `chosen` must be a string or a conversation",
        "\n  answer    \"1 2\"\n",
    ] {
        assert!(
            report.contains(expected),
            "{report}\nshould hold: {expected}"
        );
    }
    let hidden = rlhf(folder.path(), &[&check[..], &["--no-preview"]].concat());
    assert!(!text(&hidden.stdout).contains("\"1 2\""));
    let train = [
        "train",
        "--objective",
        "dpo",
        "--model",
        "model",
        "--data",
        "pairs.jsonl",
        "--dry-run",
    ];
    let output = rlhf(folder.path(), &train);
    assert!(text(&output.stderr).contains("pairs.jsonl:5: field `chosen`"));
    let skip = ["--set", "data.on_bad_row=skip"];
    let output = rlhf(folder.path(), &[&train[..], &skip].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let bad = folder.path().join("pairs.jsonl:5").display().to_string();
    assert!(
        said.contains(&format!(
            "1 row skipped because it cannot be used, first {bad}"
        )),
        "{said}"
    );
    let output = rlhf(folder.path(), &[&check[..], &skip].concat());
    assert_eq!(output.status.code(), Some(0));
}
