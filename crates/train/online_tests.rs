//! Tests of the online loop with a bigram table and with small GPT-2 networks.

use crate::online::prompt_order;
use crate::test_world::{TABLE, TestSetup, settings, train};
use crate::{Ended, Online, test_networks};
use rlhf_objective::{Adaptive, Beta, Target};
use std::path::Path;

const NEVER: usize = usize::MAX;

/// The contents of all files in a folder, except the timing, which is not deterministic.
fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(bytes(&path));
        } else if !path.ends_with("timing.jsonl") {
            found.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The same, with paths relative to the folder.
pub(crate) fn relative(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let root = folder.display().to_string();
    let all = bytes(folder).into_iter();
    all.map(|(path, bytes)| (path.replace(&root, ""), bytes))
        .collect()
}

#[test]
fn a_table_has_a_kl_of_exactly_zero_in_the_first_step() {
    starts_at_the_prior(&TABLE);
}

fn starts_at_the_prior(world: &TestSetup) {
    for micro_batch_tokens in [1000, 9] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.optim.micro_batch_tokens = micro_batch_tokens;
        let (ended, observer) = train(
            world,
            folder.path(),
            &settings,
            Beta::Fixed(0.1),
            NEVER,
            false,
        );
        assert_eq!(ended.unwrap(), Ended::Done);
        let first = &observer.metrics[0];
        assert_eq!(first["objective/kl"], 0.0);
        assert_eq!(first["objective/kl_k1"], 0.0);
        assert_eq!(first["objective/rlhf_reward"], first["objective/scores"]);
        assert!(observer.metrics[5]["objective/kl"] > 0.0);
        assert_eq!(observer.metrics[5]["episode"], 96.0);
        for metrics in &observer.metrics {
            assert_eq!(metrics["log_ratio_max"], 0.0);
            assert!(metrics["sampling/log_prob_gap"] < 1e-5);
        }
    }
}

#[test]
fn the_reward_rises() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Online {
        iterations: 150,
        ..settings()
    };
    let (ended, observer) = train(
        &TABLE,
        folder.path(),
        &settings,
        Beta::Fixed(0.02),
        NEVER,
        false,
    );
    ended.unwrap();
    let mean = |range: std::ops::Range<usize>| {
        let n = range.len() as f64;
        observer.metrics[range]
            .iter()
            .map(|m| m["objective/rlhf_reward"])
            .sum::<f64>()
            / n
    };
    assert!(
        mean(140..150) > mean(0..10) + 0.2,
        "{} {}",
        mean(0..10),
        mean(140..150)
    );
}

fn check_that_resuming_gives_the_same_bytes(world: &TestSetup, stops: &[usize]) {
    let beta = Beta::Adaptive(Adaptive::new(0.1, Target::Kl(0.5), 100.0));
    let whole = tempfile::tempdir().unwrap();
    train(world, whole.path(), &settings(), beta, NEVER, false)
        .0
        .unwrap();
    for &stop in stops {
        let parts = tempfile::tempdir().unwrap();
        let (ended, _) = train(world, parts.path(), &settings(), beta, stop, false);
        assert_eq!(ended.unwrap(), Ended::Interrupted);
        assert!(!parts.path().join("final").exists());
        let (ended, _) = train(world, parts.path(), &settings(), beta, NEVER, true);
        assert_eq!(ended.unwrap(), Ended::Done);
        if stop != 4 {
            let extra = parts.path().join(format!("checkpoints/step-{stop}"));
            std::fs::remove_dir_all(extra).unwrap();
        }
        assert!(
            relative(parts.path()) == relative(whole.path()),
            "stopped after {stop}"
        );
    }
}

fn check_that_threads_give_the_same_bytes(world: &TestSetup) {
    let run = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let (ended, _) = train(
                world,
                folder.path(),
                &settings(),
                Beta::Fixed(0.1),
                NEVER,
                false,
            );
            ended.unwrap();
        });
        relative(folder.path())
    };
    assert!(run(1) == run(2));
}

#[test]
fn a_table_resumes_byte_for_byte_with_any_number_of_threads() {
    check_that_resuming_gives_the_same_bytes(&TABLE, &[1, 3, 4, 5]);
    check_that_threads_give_the_same_bytes(&TABLE);
}

#[test]
fn gpt2_has_a_kl_of_exactly_zero_in_the_first_step() {
    for world in [test_networks::HEAD, test_networks::SEPARATE] {
        starts_at_the_prior(&world);
    }
}

#[test]
fn gpt2_resumes_byte_for_byte_with_any_number_of_threads() {
    for world in [test_networks::HEAD, test_networks::SEPARATE] {
        check_that_resuming_gives_the_same_bytes(&world, &[3]);
        check_that_threads_give_the_same_bytes(&world);
    }
}

#[test]
fn a_number_that_is_not_finite_ends_the_run_without_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    // Warms up to an overflow: the first steps are harmless.
    settings.optim.learning_rate = 1e39;
    settings.iterations = 8;
    let (ended, _) = train(
        &TABLE,
        folder.path(),
        &settings,
        Beta::Fixed(0.1),
        NEVER,
        false,
    );
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with("in step 2 of 8: "), "{error}");
    assert!(
        error.ends_with("; no checkpoint was written yet"),
        "{error}"
    );
    assert_eq!(rlhf_journal::checkpoints(folder.path()).unwrap(), []);
    assert!(!folder.path().join("final").exists());
}

#[test]
fn each_iteration_uses_the_same_number_of_prompts() {
    let settings = Online {
        prompts: 10,
        iterations: 7,
        ..settings()
    };
    for prompts in [4, 10, 11, 729] {
        let order = prompt_order(prompts, &settings).unwrap();
        let sizes: Vec<_> = (0..order.steps()).map(|n| order.items(n).len()).collect();
        assert_eq!(sizes, [10; 7]);
    }
    assert!(prompt_order(0, &settings).is_err());
}

/// Epochs of prompts end inside the second and the fourth iteration. A run that stops after any iteration
/// continues with the same bytes.
#[test]
fn a_run_resumes_byte_for_byte_inside_an_epoch() {
    let settings = Online {
        prompts: 3,
        ..settings()
    };
    let beta = Beta::Fixed(0.1);
    let whole = tempfile::tempdir().unwrap();
    let (ended, observer) = train(&TABLE, whole.path(), &settings, beta, NEVER, false);
    assert_eq!(ended.unwrap(), Ended::Done);
    let episodes: Vec<_> = observer.metrics.iter().map(|m| m["episode"]).collect();
    assert_eq!(episodes, [12.0, 24.0, 36.0, 48.0, 60.0, 72.0]);
    for stop in 1..6 {
        let parts = tempfile::tempdir().unwrap();
        let (ended, _) = train(&TABLE, parts.path(), &settings, beta, stop, false);
        assert_eq!(ended.unwrap(), Ended::Interrupted);
        let (ended, _) = train(&TABLE, parts.path(), &settings, beta, NEVER, true);
        assert_eq!(ended.unwrap(), Ended::Done);
        if stop != 4 {
            let extra = parts.path().join(format!("checkpoints/step-{stop}"));
            std::fs::remove_dir_all(extra).unwrap();
        }
        assert!(
            relative(parts.path()) == relative(whole.path()),
            "stopped after {stop}"
        );
    }
}
