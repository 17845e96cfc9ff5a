//! A file of any size is read as one in memory.

use super::*;
use rlhf_objective::{Dataset, Finish, Prompt};
use std::path::Path;
use std::sync::{Arc, Mutex};

fn corpus(path: &Path, settings: Settings, kind: ItemKind) -> Result<(StreamingDataset, Notes)> {
    corpus_ahead(path, settings, kind, u64::MAX)
}

/// The same, where so many bytes of rows are tokenized ahead.
fn corpus_ahead(
    path: &Path,
    settings: Settings,
    kind: ItemKind,
    bytes: u64,
) -> Result<(StreamingDataset, Notes)> {
    let source = Source::new(path, None, ReadOptions::default())?;
    let mut reader = Reader::new(settings);
    let store = RowStore::open(&source, &mut Err, &mut |_| {})?;
    let numbers: Vec<u32> = (0..store.len() as u32).collect();
    let store = Arc::new(Mutex::new(store));
    let corpus = StreamingDataset::ahead(&store, &numbers, &mut reader, kind, bytes)?;
    Ok((corpus, reader.notes))
}

fn flat(sequences: &Sequences) -> Vec<(Arc<Prompt>, Vec<u32>, Finish)> {
    let responses = sequences.responses().iter();
    let flat = |r: &Arc<rlhf_objective::Response>| {
        (
            sequences.prompts()[r.prompt].clone(),
            r.ids.clone(),
            r.finish,
        )
    };
    responses.map(flat).collect()
}

/// What a step reads is what reading everything would have given it, whatever the order.
#[test]
fn a_corpus_reads_what_a_step_needs() {
    let pairs: Vec<_> = (0..50)
        .map(|i| json!({"prompt": format!("q{i}"), "chosen": "good", "rejected": if i % 7 == 0 { "good" } else { "bad" }}))
        .collect();
    let texts: Vec<_> = (0..20)
        .map(|i| json!({"text": "some words ".repeat(i + 1)}))
        .collect();
    for (rows, kind, group) in [
        (&pairs, ItemKind::Pairs, 2),
        (&texts, ItemKind::Demonstrations, 1),
    ] {
        let (_folder, path) = file("x.jsonl", lines(rows));
        let settings = Settings {
            limits: Limits::context(32),
            ..settings(characters(), Some(1), Some(0))
        };
        let (mut corpus, notes) = corpus(&path, settings.clone(), kind).unwrap();
        let mut reader = Reader::new(settings);
        let rows = crate::rows(&path, Documents::Lines).unwrap();
        let whole = match kind {
            ItemKind::Pairs => reader.pairs(&rows).unwrap().sequences().clone(),
            _ => reader.demonstrations(&rows).unwrap(),
        };
        assert_eq!(notes, reader.notes);
        assert_eq!(corpus.count() * group, whole.len());
        let items: Vec<usize> = (0..corpus.count()).rev().step_by(3).collect();
        let expected: Vec<_> = items
            .iter()
            .flat_map(|i| group * i..group * i + group)
            .collect();
        assert_eq!(
            flat(&corpus.read(&items).unwrap()),
            flat(&whole.select(&expected))
        );
        for item in 0..corpus.count() {
            assert_eq!(
                corpus.cost(item),
                whole.network_tokens(group * item..group * (item + 1))
            );
        }
        let all = corpus.all(7).unwrap();
        assert_eq!((all.len(), all.tokens()), (whole.len(), whole.tokens()));
        assert!(
            all.prompts()
                .iter()
                .all(|prompt| prompt.fields.is_empty() && prompt.text.is_empty())
        );
        // A file that changes under a run is an error, not other rows.
        if kind == ItemKind::Pairs {
            std::fs::write(&path, "{}\n").unwrap();
            let error = corpus.read(&[0]).unwrap_err().to_string();
            assert!(error.contains("was changed while it was in use"), "{error}");
        }
    }
}

/// The same tokens in the same order for any number of threads.
#[test]
fn threads_change_nothing() {
    let rows: Vec<_> = (0..500)
        .map(|i| json!({"prompt": format!("{i} ab"), "completion": "x".repeat(i % 40)}))
        .collect();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let settings = settings(characters(), Some(1), Some(0));
            let (read, notes) = read(settings, &rows, |reader, rows| reader.completions(rows));
            (flat(&read.unwrap()), notes)
        })
    };
    assert_eq!(on(1), on(3));
}

/// Of a data set too large to be tokenized ahead, a row is an item, and the next one stands in for one
/// that gives nothing.
#[test]
fn rows_of_a_large_set_are_read_late() {
    let late = |rows: &[Value], kind, settings| {
        let (folder, path) = file("x.jsonl", lines(rows));
        let (corpus, notes) = corpus_ahead(&path, settings, kind, 0).unwrap();
        (folder, corpus, notes)
    };
    let of = |on_bad_row| Settings {
        limits: Limits::context(32),
        on_bad_row,
        ..settings(characters(), Some(1), Some(0))
    };
    let mut pairs: Vec<_> = (0..40)
        .map(|i| json!({"prompt": format!("q{i:02}"), "chosen": "good", "rejected": if i % 5 == 4 { "good" } else { "bad" }}))
        .collect();
    let (_folder, mut corpus, notes) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Error));
    assert_eq!((corpus.count(), corpus.sampled()), (40, Some((40, 40))));
    assert_eq!((notes.identical_pairs, corpus.responses()), (8, 64));
    let text = |corpus: &mut StreamingDataset, items: &[usize]| {
        let read = corpus.read(items).unwrap();
        let text = |prompt: &Arc<Prompt>| prompt.text.clone();
        read.prompts().iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(text(&mut corpus, &[4, 2, 39]), ["q05", "q02", "q00"]);
    assert_eq!(corpus.step_notes().lock().unwrap().identical_pairs, 2);
    assert_eq!(corpus.all(7).unwrap().len(), 64);
    // All rows are alike, so the estimate is near what a usable row costs, times how many are.
    let (cost, exact) = (corpus.cost(0) as f64, (5 + 4 + 3) as f64);
    assert!((cost / (0.8 * exact) - 1.0).abs() < 0.2, "{cost} {exact}");

    // What is wrong with a row that was not in the sample is said by the step that reads it.
    let many: Vec<_> = (0..9000).map(|i| pairs[i % 4].clone()).collect();
    pairs = many;
    pairs[7] = json!({"prompt": "q", "chosen": "good", "rejected": true});
    let (_folder, mut corpus, _) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Error));
    assert_eq!(corpus.sampled(), Some((3000, 9000)));
    let error = corpus.read(&[7]).unwrap_err().to_string();
    assert!(error.contains("x.jsonl:8"), "{error}");
    let (_folder, mut corpus, _) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Skip));
    assert_eq!(text(&mut corpus, &[7]), ["q00"]);
    assert_eq!(corpus.step_notes().lock().unwrap().skipped_rows, 1);

    // A document comes whole.
    let texts = [json!({"text": "x".repeat(70)}), json!({"text": "y"})];
    let (_folder, mut corpus, _) = late(&texts, ItemKind::Demonstrations, of(OnBadRow::Error));
    assert_eq!((corpus.count(), corpus.read(&[0]).unwrap().len()), (2, 3));
}
