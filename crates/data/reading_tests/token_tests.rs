//! Tokenization: EOS, truncation, special tokens, boundaries.

use super::*;
use rlhf_objective::Finish;

#[test]
fn prompts_keep_their_fields_and_their_last_tokens() {
    let content = "{\"prompt_ids\": [1, 2, 3, 4], \"answer\": 5}\n{\"prompt_ids\": []}\n";
    let (prompts, notes) = with(content, BOTH, 3, |reader, rows| reader.prompts(rows));
    let prompts = prompts.unwrap();
    assert_eq!(prompts[0].ids, [2, 3, 4]);
    assert_eq!(prompts[0].fields["answer"], 5);
    assert_eq!(prompts[1].ids, [8]);
    assert_eq!((notes.cut_prompts, notes.empty_prompts), (1, 1));
    assert_eq!(notes.sentences().len(), 3);
    assert!(notes.sentences()[2].contains("`answer`"));
    let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with(
            ":2: the prompt is empty and the checkpoint has no BOS token to put in its \
                        place"
        ),
        "{error}"
    );
}

#[test]
fn pairs_share_their_prompt_and_end_with_one_eos() {
    let content = "{\"prompt_ids\": [1], \"chosen_ids\": [2, 9, 9], \"rejected_ids\": []}\n\
         {\"prompt_ids\": [1], \"chosen_ids\": [2], \"rejected_ids\": [2, 9]}\n\
         {\"prompt_ids\": [1, 2, 3], \"chosen_ids\": [4, 5, 6, 7], \"rejected_ids\": [5]}\n";
    let (pairs, notes) = with(content, BOTH, 4, |reader, rows| reader.pairs(rows));
    let pairs = pairs.unwrap();
    assert_eq!((pairs.len(), pairs.sequences().prompts().len()), (2, 2));
    let ids = |i: usize| pairs.sequences().responses()[i].ids.as_slice();
    assert_eq!((ids(0), ids(1)), ([2, 9].as_slice(), [9].as_slice()));
    assert_eq!((ids(2), ids(3)), ([4, 5, 6].as_slice(), [5, 9].as_slice()));
    let finish = |i: usize| pairs.sequences().responses()[i].finish;
    assert_eq!((finish(1), finish(2)), (Finish::Eos, Finish::Length));
    assert_eq!(pairs.sequences().prompt_of(2).ids, [2, 3]);
    let counts = (
        notes.identical_pairs,
        notes.cut_prompts,
        notes.cut_completions,
    );
    assert_eq!((counts, notes.empty_completions), ((1, 1, 1), 1));
}

/// Every token of a document is predicted exactly once.
#[test]
fn documents_are_split_into_chunks() {
    let content = "{\"text_ids\": [1, 2, 3, 4, 5]}\n{\"text_ids\": [7, 6]}\n";
    for (special, expected) in [
        (
            BOTH,
            vec![(8, vec![1, 2, 3]), (3, vec![4, 5, 9]), (8, vec![7, 6, 9])],
        ),
        (NONE, vec![(1, vec![2, 3, 4]), (4, vec![5]), (7, vec![6])]),
    ] {
        let (read, _) = with(content, special, 3, |reader, rows| {
            reader.demonstrations(rows)
        });
        let read = read.unwrap();
        let responses = read.responses().iter();
        let found: Vec<_> = responses
            .map(|response| (read.prompts()[response.prompt].ids[0], response.ids.clone()))
            .collect();
        assert_eq!(found, expected);
    }
}

/// There is only one BOS, whether the tokenizer or the text writes it.
#[test]
fn special_tokens_are_never_doubled() {
    let settings = settings(characters(), Some(1), Some(0));
    let rows = [
        json!({"prompt": "x", "completion": "y"}),
        json!({"prompt": "<s>x", "completion": "y</s>"}),
        json!({"prompt": "x", "completion": "y</s></s>"}),
    ];
    let (read, _) = read(settings, &rows, |reader, rows| reader.completions(rows));
    let read = read.unwrap();
    for index in 0..3 {
        let prompt = read.prompt_of(index);
        assert_eq!((prompt.ids[0], prompt.ids.len()), (0, 2), "{index}");
        let response = &read.responses()[index];
        assert_eq!((response.ids.len(), response.ids[1]), (2, 1), "{index}");
    }
}

/// Token ids written as text are never concatenated.
#[test]
fn ids_written_as_text_are_not_concatenated() {
    let content = "{\"prompt\": \"1 2\", \"completion\": \"3 4\"}\n";
    let (read, notes) = with(content, BOTH, 9, |reader, rows| reader.completions(rows));
    let read = read.unwrap();
    let (prompt, response) = (&read.prompts()[0].ids, &read.responses()[0].ids);
    assert_eq!(
        (prompt.as_slice(), response.as_slice()),
        (&[1, 2][..], &[3, 4, 9][..])
    );
    assert_eq!(notes, Notes::default());
}

/// Prompt and completion are tokenized separately; differences are counted.
#[test]
fn boundary_mismatches_are_counted() {
    let settings = settings(characters(), Some(1), Some(0));
    let rows = [
        json!({"prompt": "xa", "completion": "bc"}),
        json!({"prompt": "x", "completion": "abc"}),
    ];
    let (read, notes) = read(settings, &rows, |reader, rows| reader.completions(rows));
    let lengths: Vec<_> = read
        .unwrap()
        .responses()
        .iter()
        .map(|r| r.ids.len())
        .collect();
    assert_eq!(lengths, [3, 3]);
    assert_eq!(notes.boundary_mismatches, 1);
    let place = notes.boundary_place.as_deref().unwrap();
    assert!(place.ends_with("x.jsonl:1"), "{place}");
}

/// A word tokenizer gives the same tokens with a space between prompt and completion.
#[test]
fn word_tokenizers_have_no_boundary_mismatch() {
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0, "b": 1, "c": 2}}});
    let (folder, _) = file("tokenizer.json", tokenizer.to_string());
    let settings = settings(Tokenizer::load(folder.path(), 200).unwrap(), None, None);
    let rows = [
        json!({"prompt": "a b", "completion": "c"}),
        json!({"prompt": "a b", "completion": " c"}),
    ];
    let (_, notes) = read(settings, &rows, |reader, rows| reader.completions(rows));
    assert_eq!(notes.boundary_mismatches, 0);
}

/// A completion ends at the first of several EOS tokens; ids are left unchanged if the settings say
/// so.
#[test]
fn each_eos_token_ends_a_completion() {
    let given = [vec![2], vec![2, 8], vec![2, 9, 8]];
    let rows = given
        .clone()
        .map(|ids| json!({"prompt_ids": [1], "completion_ids": ids}));
    for (append, expected) in [
        (AppendEos::Always, [vec![2, 9], vec![2, 8], vec![2, 9]]),
        (AppendEos::ToText, given.clone()),
        (AppendEos::Never, given),
    ] {
        let mut settings = settings(ids(), Some(9), None);
        settings.vocabulary.ends.push(8);
        settings.vocabulary.append = append;
        let (read, _) = read(settings, &rows, |reader, rows| reader.completions(rows));
        let read = read.unwrap();
        for (response, expected) in read.responses().iter().zip(expected) {
            assert_eq!(response.ids, expected, "{append:?}");
            let ended = [8, 9].contains(&expected[expected.len() - 1]);
            assert_eq!(response.finish == Finish::Eos, ended, "{append:?}");
        }
    }
}
