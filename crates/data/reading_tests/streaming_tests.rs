//! A file of any size gives the same items as one read into memory.

use super::*;
use rlhf_objective::{Dataset, Finish, Prompt};
use std::path::Path;
use std::sync::{Arc, Mutex};

fn dataset(path: &Path, settings: Settings, kind: ItemKind) -> Result<(StreamingDataset, Notes)> {
    dataset_with_budget(path, settings, kind, u64::MAX)
}

/// The same, with a limit on the bytes that are tokenized in advance.
fn dataset_with_budget(
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
    let dataset = StreamingDataset::with_budget(&store, &numbers, &mut reader, kind, bytes)?;
    Ok((dataset, reader.notes))
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

/// A step reads the same items as a reader of the whole file, in any order.
#[test]
fn streaming_gives_the_items_of_the_whole_file() {
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
        let (mut dataset, notes) = dataset(&path, settings.clone(), kind).unwrap();
        let mut reader = Reader::new(settings);
        let rows = crate::rows(&path, Documents::Lines).unwrap();
        let whole = match kind {
            ItemKind::Pairs => reader.pairs(&rows).unwrap().sequences().clone(),
            _ => reader.demonstrations(&rows).unwrap(),
        };
        assert_eq!(notes, reader.notes);
        assert_eq!(dataset.count() * group, whole.len());
        let items: Vec<usize> = (0..dataset.count()).rev().step_by(3).collect();
        let expected: Vec<_> = items
            .iter()
            .flat_map(|i| group * i..group * i + group)
            .collect();
        assert_eq!(
            flat(&dataset.read(&items).unwrap()),
            flat(&whole.select(&expected))
        );
        for item in 0..dataset.count() {
            assert_eq!(
                dataset.cost(item),
                whole.network_tokens(group * item..group * (item + 1))
            );
        }
        let all = dataset.all(7).unwrap();
        assert_eq!((all.len(), all.tokens()), (whole.len(), whole.tokens()));
        assert!(
            all.prompts()
                .iter()
                .all(|prompt| prompt.fields.is_empty() && prompt.text.is_empty())
        );
        // A file that changes during a run is an error.
        if kind == ItemKind::Pairs {
            std::fs::write(&path, "{}\n").unwrap();
            let error = dataset.read(&[0]).unwrap_err().to_string();
            assert!(error.contains("was changed while it was in use"), "{error}");
        }
    }
}

/// The tokens and their order do not depend on the number of threads.
#[test]
fn items_do_not_depend_on_the_number_of_threads() {
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

/// In a data set too large to tokenize in advance an item is a row, and a row without items is
/// replaced by the next one.
#[test]
fn rows_of_a_large_data_set_are_read_on_demand() {
    let late = |rows: &[Value], kind, settings| {
        let (folder, path) = file("x.jsonl", lines(rows));
        let (dataset, notes) = dataset_with_budget(&path, settings, kind, 0).unwrap();
        (folder, dataset, notes)
    };
    let of = |on_bad_row| Settings {
        limits: Limits::context(32),
        on_bad_row,
        ..settings(characters(), Some(1), Some(0))
    };
    let mut pairs: Vec<_> = (0..40)
        .map(|i| json!({"prompt": format!("q{i:02}"), "chosen": "good", "rejected": if i % 5 == 4 { "good" } else { "bad" }}))
        .collect();
    let (_folder, mut dataset, notes) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Error));
    assert_eq!((dataset.count(), dataset.sampled()), (40, Some((40, 40))));
    assert_eq!((notes.identical_pairs, dataset.responses()), (8, 64));
    let text = |dataset: &mut StreamingDataset, items: &[usize]| {
        let read = dataset.read(items).unwrap();
        let text = |prompt: &Arc<Prompt>| prompt.text.clone();
        read.prompts().iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(text(&mut dataset, &[4, 2, 39]), ["q05", "q02", "q00"]);
    assert_eq!(dataset.step_notes().lock().unwrap().identical_pairs, 2);
    assert_eq!(dataset.all(7).unwrap().len(), 64);
    // All rows are alike, so the estimate is close to the cost of a usable row times the share of
    // usable rows.
    let (cost, exact) = (dataset.cost(0) as f64, (5 + 4 + 3) as f64);
    assert!((cost / (0.8 * exact) - 1.0).abs() < 0.2, "{cost} {exact}");

    // A bad row outside the sample is reported at the step that reads it.
    let many: Vec<_> = (0..9000).map(|i| pairs[i % 4].clone()).collect();
    pairs = many;
    pairs[7] = json!({"prompt": "q", "chosen": "good", "rejected": true});
    let (_folder, mut dataset, _) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Error));
    assert_eq!(dataset.sampled(), Some((3000, 9000)));
    let error = dataset.read(&[7]).unwrap_err().to_string();
    assert!(error.contains("x.jsonl:8"), "{error}");
    let (_folder, mut dataset, _) = late(&pairs, ItemKind::Pairs, of(OnBadRow::Skip));
    assert_eq!(text(&mut dataset, &[7]), ["q00"]);
    assert_eq!(dataset.step_notes().lock().unwrap().skipped_rows, 1);

    // An item holds all chunks of its document.
    let texts = [json!({"text": "x".repeat(70)}), json!({"text": "y"})];
    let (_folder, mut dataset, _) = late(&texts, ItemKind::Demonstrations, of(OnBadRow::Error));
    assert_eq!((dataset.count(), dataset.read(&[0]).unwrap().len()), (2, 3));
}
