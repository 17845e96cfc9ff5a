//! Bytes on their way.

use super::*;
use crate::Error;
use rlhf_loopback::{Fault, git, sha256};
use std::time::Instant;

#[test]
fn a_model_arrives_in_the_layout_of_python() {
    let (mut world, commit) = World::with_model();
    let found = world.resolve("owner/name").unwrap();
    assert_eq!(found.commit, commit);
    assert_eq!(found.folder, world.repo().join("snapshots").join(&commit));
    let read = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&found.folder), read);
    assert_eq!(fs::read(found.folder.join(read[1])).unwrap(), weights());
    let link = |name: &str| fs::read_link(found.folder.join(name)).unwrap();
    let blob = |name: String| Path::new("../../blobs").join(name);
    assert_eq!(link("config.json"), blob(git(CONFIG)));
    assert_eq!(link("model.safetensors"), blob(sha256(&weights())));
    assert_eq!(names(&world.repo().join("blobs")).len(), 3);
    let main = fs::read_to_string(world.repo().join("refs/main")).unwrap();
    assert_eq!(main, commit);
    assert!(world.noted("model.safetensors 0/100000"));
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let (mut world, commit) = World::with_model();
    world.resolve("owner/name").unwrap();
    world.server.seen();
    world.resolve("owner/name").unwrap();
    let seen = world.server.seen();
    assert_eq!(seen.len(), 1, "which commit it is now: {seen:?}");
    // A commit cannot have changed.
    world.resolve(&format!("owner/name@{commit}")).unwrap();
    assert_eq!(world.server.seen().len(), 0);
    // A new commit shares what did not change.
    let files: [(&str, &[u8]); 3] = [
        ("config.json", b"{\"model_type\": \"other\"}"),
        ("model.safetensors", &weights()),
        ("tokenizer.json", b"{}"),
    ];
    let other = world.server.publish("owner/name", &files);
    assert_eq!(world.resolve("owner/name").unwrap().commit, other);
    let gets = world.gets();
    assert_eq!(gets.len(), 1, "{gets:?}");
    assert!(gets[0].line.ends_with("config.json"));
}

#[test]
fn revisions_are_branches_tags_requests_and_commits() {
    let (mut world, commit) = World::with_model();
    for revision in ["v1", "refs/pr/1"] {
        let found = world.resolve(&format!("owner/name@{revision}")).unwrap();
        assert_eq!(found.commit, commit);
        let kept = fs::read_to_string(world.repo().join("refs").join(revision));
        assert_eq!(kept.unwrap(), commit);
    }
    let pinned = format!("owner/name@{commit}");
    fs::remove_dir_all(world.cache()).unwrap();
    assert_eq!(world.resolve(&pinned).unwrap().commit, commit);
    assert!(!world.repo().join("refs").exists(), "a commit needs no ref");
}

#[test]
fn a_data_set_keeps_its_folders() {
    let mut world = World::new();
    let files: [(&str, &[u8]); 4] = [
        (".gitattributes", b"x"),
        ("README.md", b"x"),
        ("data/more/train.jsonl", b"{\"text\": \"a\"}\n"),
        ("test.parquet", b"PAR1"),
    ];
    world.server.publish("datasets/owner/rows", &files);
    let found = world.dataset("owner/rows").unwrap();
    assert_eq!(
        names(&found.folder),
        ["data/more/train.jsonl", "test.parquet"]
    );
    let nested = found.folder.join("data/more/train.jsonl");
    assert_eq!(fs::read(nested).unwrap(), b"{\"text\": \"a\"}\n");
    assert!(world.cache().join("datasets--owner--rows").exists());
}

#[test]
fn shards_are_those_that_the_index_names() {
    let mut world = World::new();
    let index = br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    let files: [(&str, &[u8]); 5] = [
        ("config.json", CONFIG),
        ("model.safetensors.index.json", index),
        ("one.safetensors", b"1"),
        ("other.safetensors", b"3"),
        ("two.safetensors", b"2"),
    ];
    world.server.publish("owner/name", &files);
    let found = world.resolve("owner/name").unwrap();
    assert_eq!(
        names(&found.folder),
        [
            "config.json",
            files[1].0,
            "one.safetensors",
            "two.safetensors"
        ]
    );
    // A shard that is not there is missed, also without the hub.
    fs::remove_file(found.folder.join("two.safetensors")).unwrap();
    let error = world.offline("owner/name").unwrap_err().to_string();
    assert!(
        error.contains("two.safetensors was never fetched"),
        "{error}"
    );
    let evil = br#"{"weight_map": {"a": "../../../evil"}}"#;
    let files: [(&str, &[u8]); 2] = [files[0], (files[1].0, evil)];
    world.server.publish("owner/name", &files);
    let error = world.fails("owner/name");
    assert!(error.contains("names no shards"), "{error}");
}

/// The ranges of the requests for large files.
fn ranges(world: &World) -> Vec<Option<String>> {
    let gets = world.gets().into_iter().filter(|seen| seen.storage);
    gets.map(|seen| seen.headers.get("range").cloned())
        .collect()
}

fn range(start: u64) -> Option<String> {
    Some(format!("bytes={start}-"))
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let (mut world, _) = World::with_model();
    // Five cuts, but three attempts without progress.
    for _ in 0..5 {
        world.server.fail("GET /lfs/", Fault::Cut(10_000));
    }
    let found = world.resolve("owner/name").unwrap();
    let whole = fs::read(found.folder.join("model.safetensors")).unwrap();
    assert_eq!(whole, weights());
    let starts = (1..=5).map(|i| range(10_000 * i));
    assert_eq!(
        ranges(&world),
        [None].into_iter().chain(starts).collect::<Vec<_>>()
    );
    assert!(world.noted("cut after 10000"), "{:?}", world.notes);
}

#[test]
fn a_cut_transfer_goes_on_in_a_later_run() {
    let (mut world, _) = World::with_model();
    world.retry.attempts = 1;
    world.server.fail("GET /lfs/", Fault::Cut(30_000));
    let error = world.fails("owner/name");
    assert!(
        error.starts_with("cannot fetch model.safetensors of owner/name"),
        "{error}"
    );
    assert!(
        !world.repo().join("refs/main").exists(),
        "it does not stand for a part"
    );
    let blobs = names(&world.repo().join("blobs"));
    let part = format!("{}.incomplete", sha256(&weights()));
    assert!(blobs.contains(&part), "{blobs:?}");
    world.server.seen();
    let found = world.resolve("owner/name").unwrap();
    assert_eq!(ranges(&world), [range(30_000)]);
    let whole = fs::read(found.folder.join("model.safetensors")).unwrap();
    assert_eq!(whole, weights());
    assert!(!names(&world.repo().join("blobs")).contains(&part));
}

#[test]
fn a_whole_answer_to_a_range_begins_anew() {
    let asked = [None, range(10_000), None];
    for (fault, requests) in [(Fault::IgnoreRange, 2), (Fault::OtherRange, 3)] {
        let (mut world, _) = World::with_model();
        world.server.fail("GET /lfs/", Fault::Cut(10_000));
        world.server.fail("GET /lfs/", fault);
        let found = world.resolve("owner/name").unwrap();
        let whole = fs::read(found.folder.join("model.safetensors")).unwrap();
        assert_eq!(whole, weights());
        assert_eq!(ranges(&world), asked[..requests]);
        assert!(!world.noted("damaged"));
    }
}

/// A server that knows no ranges and cuts always at one place makes no progress.
#[test]
fn the_same_bytes_again_are_no_progress() {
    let (mut world, _) = World::with_model();
    world.server.fail("GET /lfs/", Fault::Cut(10_000));
    for _ in 0..9 {
        world.server.fail("GET /lfs/", Fault::Cut(0));
    }
    let error = world.fails("owner/name");
    assert!(error.contains("3 times in a row"), "{error}");
    assert_eq!(world.gets().iter().filter(|seen| seen.storage).count(), 3);
}

#[test]
fn a_part_that_is_not_of_this_file_is_thrown_away() {
    for garbage in [50_000, 100_000, 100_001] {
        let (mut world, _) = World::with_model();
        let blobs = world.repo().join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        let part = blobs.join(format!("{}.incomplete", sha256(&weights())));
        fs::write(part, vec![0; garbage]).unwrap();
        let found = world.resolve("owner/name").unwrap();
        let whole = fs::read(found.folder.join("model.safetensors")).unwrap();
        assert_eq!(whole, weights(), "{garbage}");
    }
}

#[test]
fn wrong_bytes_are_never_kept() {
    for (part, name) in [
        ("GET /lfs/", "model.safetensors"),
        ("GET /owner", "config.json"),
    ] {
        for fault in [Fault::Wrong, Fault::Longer] {
            let (mut world, _) = World::with_model();
            world.server.fail(part, fault.clone());
            let found = world.resolve("owner/name");
            assert!(world.noted("arrived damaged"));
            let whole = fs::read(found.unwrap().folder.join(name)).unwrap();
            assert!(whole == weights() || whole == CONFIG);
        }
        let (mut world, commit) = World::with_model();
        world.server.fail(part, Fault::Wrong);
        world.server.fail(part, Fault::Wrong);
        let error = world.resolve("owner/name").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().starts_with(name), "{error}");
        let snapshot = world.repo().join("snapshots").join(&commit);
        assert!(!snapshot.join(name).exists());
        let blobs = names(&world.repo().join("blobs"));
        assert!(
            blobs.iter().all(|name| !name.ends_with(".incomplete")),
            "{blobs:?}"
        );
        for blob in files(&world.repo().join("blobs")) {
            let content = fs::read(&blob).unwrap();
            let name = blob.file_name().unwrap().to_str().unwrap();
            assert!([git(&content), sha256(&content)].contains(&name.into()));
        }
    }
}

#[test]
fn slow_is_patient_and_silent_is_not() {
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("GET /lfs/", Fault::Slow(20_000, Duration::from_millis(100)));
    world.resolve("owner/name").unwrap();
    assert_eq!(
        ranges(&world),
        [None],
        "half a second in all, and no silence of 0.3 s"
    );
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("GET /lfs/", Fault::Stall(40_000, Duration::from_secs(5)));
    let start = Instant::now();
    world.resolve("owner/name").unwrap();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(ranges(&world), [None, range(40_000)]);
}

#[test]
fn two_at_once_fetch_once() {
    let (world, _) = World::with_model();
    world
        .server
        .fail("GET /lfs/", Fault::Slow(10_000, Duration::from_millis(20)));
    let fetch = || {
        let hub = Network::new(world.settings());
        let mut notes = Notes::default();
        let found = hub.resolve(&model("owner/name"), &mut notes).unwrap();
        assert_eq!(
            fs::read(found.folder.join("model.safetensors")).unwrap(),
            weights()
        );
        notes.0
    };
    let notes = std::thread::scope(|scope| {
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        both.map(|thread| thread.join().unwrap()).concat()
    });
    assert_eq!(ranges(&world), [None]);
    let waited = notes.iter().filter(|note| note.contains("another process"));
    assert!(waited.count() >= 1, "{notes:?}");
}
