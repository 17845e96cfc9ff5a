//! How rows are read: which are used, how they are truncated, and what their
//! fields mean.

use crate::program::{done, rlhf, rows, text};
use std::fs;
use std::path::Path;

/// A folder with the demo's model, `model`: word tokens, a context of 48 tokens, EOS `<|endoftext|>`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    for (path, bytes) in rlhf_demo::FILES {
        if path.starts_with("model/") {
            fs::write(folder.path().join(path), bytes).unwrap();
        }
    }
    folder
}

fn write(folder: &Path, name: &str, lines: &[impl AsRef<str>]) {
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    fs::write(folder.join(name), lines.join("\n") + "\n").unwrap();
}

fn shipped(name: &str) -> String {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    configs.join(name).display().to_string()
}

/// The arguments of a run of ppo-kl of two iterations on `data`.
fn small<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--model", "model", "--data", data, "--out", "run"];
    for setting in [
        "train.iterations=2",
        "sampling.rollouts=8",
        "data.held_out_fraction=0.0",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    arguments
}

/// The distinct prompts of the logged samples.
fn trained_on(folder: &Path) -> Vec<String> {
    let samples = fs::read_to_string(folder.join("run/samples.jsonl")).unwrap();
    let mut prompts: Vec<String> = rows(&samples)
        .iter()
        .map(|row| row["prompt"].as_str().unwrap().to_string())
        .collect();
    prompts.sort();
    prompts.dedup();
    prompts
}

/// Checks that the command fails with this exit code and message, and leaves no files.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], code: i32, expected: &[&str]) {
    let output = rlhf(folder, arguments);
    let said = text(&output.stderr);
    for words in expected {
        assert!(said.contains(words), "{said}\nshould say: {words}");
    }
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
    assert!(!folder.join("run").exists(), "{arguments:?}");
}

const TWO: [&str; 2] = [
    r#"{"prompt": "the film was"}"#,
    r#"{"prompt": "the cast felt"}"#,
];

#[test]
fn more_new_tokens_than_the_context_holds() {
    let folder = folder();
    let folder = folder.path();
    write(folder, "prompts.jsonl", &TWO);
    let config = shipped("ppo-kl.toml");
    let run = small("prompts.jsonl", &["--config", &config]);
    let output = rlhf(folder, &run);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(trained_on(folder), ["the cast felt", "the film was"]);
    assert!(
        said.contains("responses  up to 46 tokens: context 48 minus prompts of 3 (sampling.max_new_tokens = 64)"),
        "{said}"
    );
    assert!(!said.contains("only their end is kept"), "{said}");
    let kept = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(kept.contains("max_new_tokens = 64"), "{kept}");
    let metrics = rows(&fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
    for row in metrics {
        let (cut, full) = (
            row["completions/clipped_ratio"].as_f64().unwrap(),
            row["completions/context_ratio"].as_f64().unwrap(),
        );
        assert_eq!(cut, full, "no response can have 64 tokens");
    }
    let measured = done(
        folder,
        &["eval", "run", "--prompts", "prompts.jsonl", "--json"],
    );
    assert!(!rows(&measured).is_empty());
}

#[test]
fn prompts_and_responses_that_do_not_fit_together() {
    let folder = folder();
    let folder = folder.path();
    write(folder, "prompts.jsonl", &TWO);
    let reward = ["--reward", "contains:great"];
    let both = [
        "--set",
        "data.max_prompt_tokens=40",
        "--set",
        "sampling.max_new_tokens=20",
    ];
    refused(
        folder,
        &small("prompts.jsonl", &[&reward[..], &both].concat()),
        2,
        &[
            "data.max_prompt_tokens = 40 and sampling.max_new_tokens = 20",
            "48 tokens",
            "leaves 9 for a response",
        ],
    );
    let alone = ["--set", "data.max_prompt_tokens=60"];
    refused(
        folder,
        &small("prompts.jsonl", &[&reward[..], &alone].concat()),
        2,
        &["data.max_prompt_tokens = 60 leaves no room"],
    );
    // A default is lowered to fit.
    let alone = ["--set", "data.max_prompt_tokens=2", "--dry-run"];
    let output = rlhf(
        folder,
        &small("prompts.jsonl", &[&reward[..], &alone].concat()),
    );
    let said = text(&output.stderr);
    assert!(said.contains("responses  up to 47 tokens\n"), "{said}");
    assert!(
        said.contains("2 prompts are too long: only their end is kept"),
        "{said}"
    );
}

#[test]
fn data_check_reports_truncated_prompts() {
    let folder = folder();
    let folder = folder.path();
    let long = format!("{{\"prompt\": \"{}\"}}", "the film was ".repeat(20));
    write(folder, "prompts.jsonl", &[TWO[0], TWO[1], &long]);
    let config = shipped("ppo-kl.toml");
    let check = [
        "data",
        "check",
        "prompts.jsonl",
        "--model",
        "model",
        "--config",
        &config,
    ];
    let report = done(folder, &check);
    for expected in [
        "cut         1 prompts would lose their start (context 48)",
        "responses   up to 46 tokens, after the longest prompt 25: context 48 minus prompts of 3 to 24",
    ] {
        assert!(
            report.contains(expected),
            "{report}\nshould hold: {expected}"
        );
    }
    let both = ["--set", "data.max_prompt_tokens=40"];
    refused(
        folder,
        &[&check[..], &both].concat(),
        2,
        &["do not fit together"],
    );
}

#[test]
fn a_column_named_input_is_the_prompt() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "x.csv",
        &["input,topic", "the film was,1", "the cast felt,2"],
    );
    let reward = ["--reward", "contains:great"];
    let named = ["--set", "data.fields.prompt=input"];
    done(folder, &small("x.csv", &[&reward[..], &named].concat()));
    assert_eq!(trained_on(folder), ["the cast felt", "the film was"]);
    fs::remove_dir_all(folder.join("run")).unwrap();
    let twice = [
        "--set",
        "data.fields.prompt=input",
        "--set",
        "data.fields.input=input",
    ];
    refused(
        folder,
        &small("x.csv", &[&reward[..], &twice].concat()),
        2,
        &["data.fields.prompt and data.fields.input are both `input`"],
    );
    // The stored settings of a run are read back unchanged.
    done(folder, &small("x.csv", &[&reward[..], &named].concat()));
    done(folder, &["eval", "run", "--prompts", "x.csv", "--json"]);
}

#[test]
fn a_named_column_that_no_row_has() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "pairs.jsonl",
        &vec![pair(" great .", " bad .", "\"sure\": 1"); 4],
    );
    let named = ["--set", "data.fields.label=preferred"];
    let expected = [
        "pairs.jsonl: no row has the field `preferred` that data.fields.label names",
        "`prompt`, `chosen`, `rejected`, `sure`",
    ];
    for objective in ["dpo", "reward"] {
        let train = small_pairs(objective, "pairs.jsonl", &named);
        refused(folder, &train, 1, &expected);
    }
    let check = ["data", "check", "pairs.jsonl", "--model", "model"];
    refused(folder, &[&check[..], &named].concat(), 1, &expected);
}

fn pair(chosen: &str, rejected: &str, label: &str) -> String {
    format!(
        "{{\"prompt\": \"the film was\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\", {label}}}"
    )
}

/// The arguments of a run on pairs.
fn small_pairs<'a>(objective: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--objective", objective, "--model", "model"];
    arguments.extend(["--data", data, "--out", "run"]);
    for setting in [
        "data.held_out_fraction=0.0",
        "train.batch_size=2",
        "optim.learning_rate=1e-3",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    arguments
}

/// A label that is the number of the better response is not read as a probability, and means the same to both
/// objectives: pairs that say 2 train as the same pairs the other way round.
#[test]
fn labels_that_number_the_better_response() {
    let folder = folder();
    let folder = folder.path();
    let answers = [
        (" great .", " bad ."),
        (" dull .", " good ."),
        (" fine .", " weak ."),
    ];
    let (mut given, mut sorted) = (Vec::new(), Vec::new());
    for (index, (a, b)) in answers.into_iter().cycle().take(12).enumerate() {
        let second = index % 3 == 1;
        given.push(pair(
            a,
            b,
            if second {
                "\"label\": 2"
            } else {
                "\"label\": 1"
            },
        ));
        let (a, b) = if second { (b, a) } else { (a, b) };
        sorted.push(pair(a, b, "\"label\": true"));
    }
    let lines = |of: &[String]| of.join("\n") + "\n";
    fs::write(folder.join("given.jsonl"), lines(&given)).unwrap();
    fs::write(folder.join("sorted.jsonl"), lines(&sorted)).unwrap();
    let refusal = [
        "given.jsonl:2: field `label` is 2, not true, false, or a probability from 0 to 1",
        "data.label = \"1/2\"",
    ];
    let check = ["data", "check", "given.jsonl", "--model", "model"];
    let report = text(&rlhf(folder, &check).stdout);
    assert!(report.contains(refusal[0]), "{report}");
    let numbered = ["--set", "data.label=1/2"];
    done(folder, &[&check[..], &numbered].concat());
    for objective in ["dpo", "reward"] {
        refused(
            folder,
            &small_pairs(objective, "given.jsonl", &[]),
            1,
            &refusal,
        );
        let wrong = ["--set", "data.label=0/1"];
        refused(
            folder,
            &small_pairs(objective, "given.jsonl", &wrong),
            1,
            &["given.jsonl:2: field `label` is 2, not 1 or 0 (data.label = \"0/1\")"],
        );
        let mut metrics = Vec::new();
        for (data, settings) in [("given.jsonl", &numbered[..]), ("sorted.jsonl", &[])] {
            done(folder, &small_pairs(objective, data, settings));
            metrics.push(fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
            fs::remove_dir_all(folder.join("run")).unwrap();
        }
        assert_eq!(metrics[0], metrics[1], "{objective}");
    }
}

/// Three annotators of whom one disagrees: a probability for losses that take one, and for kto the label of
/// the majority.
#[test]
fn labels_of_several_annotators() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "pairs.jsonl",
        &vec![pair(" great .", " bad .", "\"label\": [1, 0, 1]"); 6],
    );
    write(
        folder,
        "soft.jsonl",
        &vec![pair(" great .", " bad .", "\"label\": 0.6666666666666666"); 6],
    );
    for objective in ["dpo", "reward"] {
        let mut losses = Vec::new();
        for data in ["pairs.jsonl", "soft.jsonl"] {
            done(folder, &small_pairs(objective, data, &[]));
            losses.push(fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
            fs::remove_dir_all(folder.join("run")).unwrap();
        }
        assert_eq!(losses[0], losses[1]);
    }
    let answer = |label: &str| {
        format!(
            "{{\"prompt\": \"the film was\", \"completion\": \" great .\", \"label\": {label}}}"
        )
    };
    let rows = ["[true, true, false]", "[false]", "[true, false]"].map(answer);
    write(folder, "opinions.jsonl", &rows);
    let kto = [
        "train",
        "--objective",
        "kto",
        "--model",
        "model",
        "--data",
        "opinions.jsonl",
        "--out",
        "run",
        "--dry-run",
        "--set",
        "data.held_out_fraction=0.0",
    ];
    refused(
        folder,
        &kto,
        1,
        &["opinions.jsonl:1: field `label` is yes with probability 0.667"],
    );
    let majority = ["--set", "data.annotators=majority"];
    let output = rlhf(folder, &[&kto[..], &majority].concat());
    let said = text(&output.stderr);
    assert!(
        said.contains("1 row left out: its label is a tie"),
        "{said}"
    );
    assert!(said.contains("2 responses to train on"), "{said}");
}

#[test]
fn a_reward_that_needs_a_column() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "x.jsonl",
        &[
            r#"{"prompt": "the film was", "answer": 4}"#,
            r#"{"prompt": "the cast felt", "answer": "so #### 1,000"}"#,
            r#"{"prompt": "the plot was", "answer": "four"}"#,
            r#"{"prompt": "the music was"}"#,
        ],
    );
    let answer = ["--reward", "answer:####"];
    let place = "x.jsonl:3: field `answer`, which the reward answer reads, must hold a number";
    refused(folder, &small("x.jsonl", &answer), 1, &[place]);
    let config = "objective = \"ppo-kl\"\n[reward]\nkind = \"answer\"\n";
    fs::write(folder.join("answer.toml"), config).unwrap();
    let check = [
        "data",
        "check",
        "x.jsonl",
        "--model",
        "model",
        "--config",
        "answer.toml",
    ];
    let output = rlhf(folder, &check);
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stdout);
    assert!(report.contains(place), "{report}");
    assert!(
        report.contains("x.jsonl:4: no field `answer`, which the reward answer reads"),
        "{report}"
    );
    let skip = ["--set", "data.on_bad_row=skip"];
    let output = rlhf(folder, &small("x.jsonl", &[&answer[..], &skip].concat()));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("2 rows skipped because they cannot be used, first"),
        "{said}"
    );
    assert_eq!(trained_on(folder), ["the cast felt", "the film was"]);
    // A program declares the fields that it reads.
    fs::remove_dir_all(folder.join("run")).unwrap();
    let program = "reward = { kind = \"command\", program = [\"cat\"], fields = [\"topic\"] }\n";
    fs::write(folder.join("program.toml"), program).unwrap();
    refused(
        folder,
        &small("x.jsonl", &["--config", "program.toml"]),
        1,
        &["x.jsonl:1: no field `topic`, which the reward command reads"],
    );
}

#[test]
fn a_table_without_a_header() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "x.csv",
        &["the film was one of the best,1", "the cast felt,0"],
    );
    let train = small("x.csv", &["--reward", "contains:great"]);
    let remark = "x.csv: the first line was read as column names but looks like a row";
    refused(folder, &train, 1, &[remark, "data.columns"]);
    let report = text(&rlhf(folder, &["data", "check", "x.csv"]).stdout);
    assert!(report.contains(remark), "{report}");
    let columns = ["--set", "data.columns=[\"prompt\", \"topic\"]"];
    let output = rlhf(folder, &[&train[..], &columns].concat());
    let said = text(&output.stderr);
    assert!(
        output.status.success() && !said.contains("first line"),
        "{said}"
    );
    assert_eq!(
        trained_on(folder),
        ["the cast felt", "the film was one of the best"]
    );
}

#[test]
fn documents_separated_by_the_eos_text() {
    let folder = folder();
    let folder = folder.path();
    let stories = "the film was good .\n\nit was long .<|endoftext|>the cast felt fine .\n<|endoftext|>\n\
        we left early .\n";
    fs::write(folder.join("stories.txt"), stories).unwrap();
    let check = ["data", "check", "stories.txt", "--model", "model"];
    let report = done(folder, &check);
    assert!(report.contains("rows        4\n"), "{report}");
    assert!(
        report.contains("data.documents = \"eos\" ends them at the EOS only"),
        "{report}"
    );
    let whole = ["--set", "data.documents=eos"];
    let report = done(folder, &[&check[..], &whole].concat());
    assert!(report.contains("rows        3\n"), "{report}");
    assert!(
        report.contains("\"the film was good .\\n\\nit was long .\""),
        "{report}"
    );
    assert!(!report.contains("endoftext"), "{report}");
    let sft = [
        "train",
        "--objective",
        "sft",
        "--model",
        "model",
        "--data",
        "stories.txt",
        "--out",
        "run",
        "--set",
        "data.held_out_fraction=0.0",
    ];
    for (settings, documents) in [(&[][..], 4), (&whole, 3)] {
        let output = rlhf(folder, &[&sft[..], settings, &["--overwrite"]].concat());
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("{documents} demonstrations to train on")),
            "{said}"
        );
        assert!(output.status.success(), "{said}");
    }
    fs::remove_dir_all(folder.join("run")).unwrap();
    refused(
        folder,
        &[
            "data",
            "check",
            "stories.txt",
            "--set",
            "data.documents=eos",
            "--no-preview",
        ],
        1,
        &["data.documents = \"eos\": no checkpoint with a special EOS"],
    );
}

/// An objective notes fields that only other objectives use.
#[test]
fn fields_that_the_objective_does_not_use() {
    let folder = folder();
    let folder = folder.path();
    let extra = "\"weight\": 2, \"margin\": 1, \"label\": true";
    write(
        folder,
        "pairs.jsonl",
        &vec![pair(" great .", " bad .", extra); 4],
    );
    for (objective, unused) in [("dpo", "margin"), ("reward", "weight")] {
        let output = rlhf(
            folder,
            &small_pairs(objective, "pairs.jsonl", &["--dry-run"]),
        );
        let said = text(&output.stderr);
        let words = format!("the field `{unused}` is not used by {objective}");
        assert!(said.contains(&words), "{said}");
        assert_eq!(said.matches("is not used by").count(), 1, "{said}");
    }
}

/// A custom table defines the values of labels, and a run records it.
#[test]
fn labels_with_custom_values() {
    let folder = folder();
    let folder = folder.path();
    write(
        folder,
        "x.csv",
        &[
            "prompt,completion,verdict",
            "the film was, great .,good",
            "the cast felt, bad .,bad",
            "the plot was, fine .,good",
        ],
    );
    let settings = "objective = \"kto\"\n[data]\nheld_out_fraction = 0.0\n\
        label = { yes = \"good\", no = \"bad\" }\nfields = { label = \"verdict\" }\n";
    fs::write(folder.join("kto.toml"), settings).unwrap();
    let train = [
        "train", "--config", "kto.toml", "--model", "model", "--data", "x.csv", "--out", "run",
    ];
    done(folder, &train);
    let kept = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(kept.contains("yes = \"good\""), "{kept}");
    done(folder, &["train", "--resume", "--out", "run"]);
    fs::remove_dir_all(folder.join("run")).unwrap();
    let other = ["--set", "data.label={ yes = 1, no = \"1.0\" }"];
    refused(
        folder,
        &[&train[..], &other].concat(),
        2,
        &["data.label: `1` cannot have two meanings"],
    );
    let other = ["--set", "data.label=A/B"];
    refused(
        folder,
        &[&train[..], &other].concat(),
        1,
        &["x.csv:2: field `verdict` is \"good\", not A or B (data.label = \"A/B\")"],
    );
}

/// A second part of a prompt that is not text is an error, like a prompt that is not text.
#[test]
fn an_input_that_is_not_text() {
    let folder = folder();
    let folder = folder.path();
    for (input, found) in [
        ("5", "5"),
        ("[\"a\", \"b\"]", "an array of strings"),
        ("true", "true"),
    ] {
        let row = format!("{{\"prompt\": \"the film was\", \"input\": {input}}}");
        write(folder, "x.jsonl", &[TWO[1], &row]);
        let place = format!("x.jsonl:2: field `input` must be a string, not {found}");
        let train = small("x.jsonl", &["--reward", "contains:great"]);
        refused(folder, &train, 1, &[&place]);
        let output = rlhf(folder, &["data", "check", "x.jsonl"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains(&place));
    }
    // In a table every value is text.
    write(folder, "x.csv", &["prompt,input", "the film was,5"]);
    done(folder, &small("x.csv", &["--reward", "contains:great"]));
    assert_eq!(trained_on(folder), ["the film was\n5"]);
}

/// If labels tell which response is better, a row without one is undecided; it does not mean that the
/// first is better.
#[test]
fn a_row_without_the_label_that_others_have() {
    let folder = folder();
    let folder = folder.path();
    let rows = |values: [&str; 4]| -> Vec<String> {
        let row = |label: &str| match label {
            "" => pair(" great .", " bad .", "\"topic\": 1"),
            label => pair(" great .", " bad .", &format!("\"label\": {label}")),
        };
        values.map(row).into()
    };
    let numbered = ["--set", "data.label=1/2"];
    let skip = ["--set", "data.on_bad_row=skip", "--dry-run"];
    for (third, found) in [
        (
            "",
            "no field `label`, which says which answer is better (data.label = \"1/2\")",
        ),
        ("null", "field `label` is null, which says"),
        ("\"\"", "field `label` is empty, which says"),
    ] {
        write(folder, "x.jsonl", &rows(["1", "2", third, "2"]));
        let place = format!("x.jsonl:3: {found}");
        let check = ["data", "check", "x.jsonl", "--model", "model"];
        let report = text(&rlhf(folder, &[&check[..], &numbered].concat()).stdout);
        assert!(report.contains(&place), "{report}");
        for objective in ["dpo", "reward"] {
            let train = small_pairs(objective, "x.jsonl", &numbered);
            refused(folder, &train, 1, &[&place]);
            let said = text(&rlhf(folder, &[&train[..], &skip].concat()).stderr);
            let words = "1 row skipped because it cannot be used, first ";
            assert!(said.contains(words) && said.contains(&place), "{said}");
            assert!(said.contains("3 pairs to train on"), "{said}");
        }
    }
    let given = ["--set", "data.label={ yes = \"A\", no = \"B\" }"];
    write(
        folder,
        "x.csv",
        &[
            "prompt,chosen,rejected,label",
            "the film was, great ., bad .,A",
            "the film was, fine ., bad .,",
        ],
    );
    refused(
        folder,
        &small_pairs("dpo", "x.csv", &given),
        1,
        &["x.csv:3: field `label` is empty"],
    );
    // A missing probability means certainty.
    write(folder, "x.jsonl", &rows(["0.75", "", "null", "1"]));
    let words =
        "2 rows have no label, but others have one: their chosen answer counts as the better one";
    let output = rlhf(folder, &small_pairs("dpo", "x.jsonl", &["--dry-run"]));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains(words), "{said}");
    let report = done(folder, &["data", "check", "x.jsonl", "--model", "model"]);
    assert!(report.contains(words), "{report}");
    write(folder, "x.jsonl", &rows(["", "", "", ""]));
    let said = text(&rlhf(folder, &small_pairs("dpo", "x.jsonl", &["--dry-run"])).stderr);
    assert!(!said.contains("no label"), "{said}");
}

/// `data check` reports ties as training treats them, and fails if no row would be left.
#[test]
fn data_check_and_training_agree_on_ties() {
    let folder = folder();
    let folder = folder.path();
    let row = |label: &str| {
        format!(
            "{{\"prompt\": \"the film was\", \"completion\": \" great .\", \"label\": {label}}}"
        )
    };
    let settings =
        "objective = \"kto\"\n[data]\nheld_out_fraction = 0.0\nannotators = \"majority\"\n";
    fs::write(folder.join("kto.toml"), settings).unwrap();
    let train = [
        "train",
        "--config",
        "kto.toml",
        "--model",
        "model",
        "--data",
        "x.jsonl",
        "--out",
        "run",
        "--dry-run",
    ];
    let check = [
        "data", "check", "x.jsonl", "--model", "model", "--config", "kto.toml",
    ];
    let tie = "[true, false]";
    write(folder, "x.jsonl", &[tie, "[true]", tie, "[false]"].map(row));
    let words = "2 rows left out: their label is a tie";
    let said = text(&rlhf(folder, &train).stderr);
    assert!(said.contains(words), "{said}");
    let report = done(folder, &check);
    assert!(report.contains(words), "{report}");
    for left in [&[][..], &["[true]"]] {
        let labels = [&[tie, tie], left].concat();
        write(
            folder,
            "x.jsonl",
            &labels.into_iter().map(row).collect::<Vec<_>>(),
        );
        for arguments in [&train[..], &check] {
            let output = rlhf(folder, arguments);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{left:?} {}",
                text(&output.stderr)
            );
        }
    }
}

/// Notes about held-out rows name their file.
#[test]
fn notes_name_their_file() {
    let folder = folder();
    let folder = folder.path();
    write(folder, "trn.jsonl", &TWO);
    let long = format!("{{\"prompt\": \"{}\"}}", "the film was ".repeat(20));
    write(
        folder,
        "long.jsonl",
        &[&long, &long.replace("film", "cast")],
    );
    let apart = [
        "--reward",
        "contains:great",
        "--dry-run",
        "--set",
        "data.held_out=long.jsonl",
    ];
    let said = text(&rlhf(folder, &small("trn.jsonl", &apart)).stderr);
    let words = "2 prompts are too long: only their end is kept";
    assert!(said.contains(&format!("long.jsonl: {words}")), "{said}");
    assert!(!said.contains(&format!("trn.jsonl: {words}")), "{said}");
    // Rows held out of the training file share its notes.
    let said = text(&rlhf(folder, &small("long.jsonl", &apart[..3])).stderr);
    assert_eq!(said.matches(words).count(), 1, "{said}");
}

/// Fields that a reward reads count as used, and notes do not mention a reward if there is none; of two fields
/// with one role, the one that is not read is named.
#[test]
fn unused_fields_are_noted() {
    let folder = folder();
    let folder = folder.path();
    let row = r#"{"prompt": "the film was", "answer": 4, "topic": 1}"#;
    write(folder, "x.jsonl", &[row, row]);
    let output = rlhf(
        folder,
        &small("x.jsonl", &["--reward", "answer:####", "--dry-run"]),
    );
    let said = text(&output.stderr);
    let words = "not part of any prompt or completion: `topic`; a reward may read them";
    assert!(said.contains(words), "{said}");
    write(
        folder,
        "pairs.jsonl",
        &vec![
            pair(
                " great .",
                " bad .",
                "\"completion\": \" fine .\", \"answer\": 4"
            );
            4
        ],
    );
    let said = text(&rlhf(folder, &small_pairs("dpo", "pairs.jsonl", &["--dry-run"])).stderr);
    for words in [
        "not part of any prompt or completion: `answer`\n",
        "pairs.jsonl: `completion` is ignored in rows that have `chosen`, which is read instead\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let report = done(
        folder,
        &["data", "check", "pairs.jsonl", "--model", "model"],
    );
    assert!(report.contains("`completion` is ignored"), "{report}");
}

/// The advice in messages fits the problem.
#[test]
fn advice_fits_the_problem() {
    let folder = folder();
    let folder = folder.path();
    let table = [
        "prompt,chosen,rejected,label",
        "the film was, great ., bad .,\"[1, 0, 1]\"",
    ];
    write(folder, "x.csv", &table);
    let arrays = "an array in a table cell or in quotes is text; use JSONL or Parquet";
    refused(
        folder,
        &small_pairs("dpo", "x.csv", &[]),
        1,
        &["x.csv:2", arrays],
    );
    write(folder, "ids.csv", &["prompt_ids", "\"[1, 2]\""]);
    let train = small("ids.csv", &["--reward", "contains:great"]);
    refused(
        folder,
        &train,
        1,
        &["ids.csv:2: field `prompt_ids` must be", arrays],
    );
    write(
        folder,
        "x.jsonl",
        &vec![pair(" great .", " bad .", "\"label\": 0.5"); 4],
    );
    let named = ["--set", "data.fields.prompt=chosen"];
    refused(
        folder,
        &small_pairs("dpo", "x.jsonl", &named),
        1,
        &[
            "data.fields.prompt = \"chosen\" takes the column of data.fields.chosen: a column can have only one role",
        ],
    );
    // Tied labels are noted before training and warned about after it.
    let output = rlhf(folder, &small_pairs("reward", "x.jsonl", &[]));
    let said = text(&output.stderr);
    for words in [
        "x.jsonl: 4 labels, all of them, are ties: they do not say which answer is better",
        "every label is one half, so the reward model had nothing to learn",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("train it longer"), "{said}");
    fs::remove_dir_all(folder.join("run")).unwrap();
    // The network with the smallest context is named: a reward model uses one token for its score.
    write(
        folder,
        "pairs.jsonl",
        &vec![pair(" great .", " bad .", "\"label\": 1"); 4],
    );
    done(folder, &small_pairs("reward", "pairs.jsonl", &[]));
    fs::rename(folder.join("run/final"), folder.join("judge")).unwrap();
    fs::remove_dir_all(folder.join("run")).unwrap();
    let output = rlhf(
        folder,
        &small("x.jsonl", &["--reward", "./judge", "--dry-run"]),
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("a prompt and its response have at most 47 tokens, the limit of"),
        "{said}"
    );
    assert!(said.contains("judge; "), "{said}");
}
