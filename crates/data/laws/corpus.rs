//! A file of any size is read as one in memory.

use super::*;
use rlhf_objective::{Finish, Items, Prompt};
use std::path::Path;
use std::sync::{Arc, Mutex};

fn corpus(path: &Path, settings: Settings, wanted: Wanted) -> Result<(Corpus, Notes)> {
    let source = Source::new(path, None, Reading::default())?;
    let mut reader = Reader::new(settings);
    let store = Store::open(&source, &mut Err, &mut |_| {})?;
    let numbers: Vec<u32> = (0..store.len() as u32).collect();
    let corpus = Corpus::new(&Arc::new(Mutex::new(store)), &numbers, &mut reader, wanted)?;
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
    for (rows, wanted, group) in [
        (&pairs, Wanted::Pairs, 2),
        (&texts, Wanted::Demonstrations, 1),
    ] {
        let (_folder, path) = file("x.jsonl", lines(rows));
        let settings = Settings {
            limits: Limits::context(32),
            ..settings(characters(), Some(1), Some(0))
        };
        let (mut corpus, notes) = corpus(&path, settings.clone(), wanted).unwrap();
        let mut reader = Reader::new(settings);
        let rows = crate::rows(&path, Documents::Lines).unwrap();
        let whole = match wanted {
            Wanted::Pairs => reader.pairs(&rows).unwrap().sequences().clone(),
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
        if wanted == Wanted::Pairs {
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
