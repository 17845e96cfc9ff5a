//! Transfers of file content.

use super::*;
use crate::Error;
use rlhf_loopback::{Fault, git, sha256};
use std::time::Instant;

#[test]
fn a_model_is_stored_in_the_layout_of_python() {
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
fn cached_files_are_not_downloaded_again() {
    let (mut world, commit) = World::with_model();
    world.resolve("owner/name").unwrap();
    world.server.take_requests();
    world.resolve("owner/name").unwrap();
    let seen = world.server.take_requests();
    assert_eq!(seen.len(), 1, "only the request for the commit: {seen:?}");
    // A commit never changes.
    world.resolve(&format!("owner/name@{commit}")).unwrap();
    assert_eq!(world.server.take_requests().len(), 0);
    // A new commit shares unchanged blobs.
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
fn revisions_are_branches_tags_pull_requests_and_commits() {
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
fn a_data_set_keeps_its_subfolders() {
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
fn only_shards_named_by_the_index_are_downloaded() {
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
    // A missing shard is reported in offline mode too.
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
fn an_interrupted_download_continues() {
    let (mut world, _) = World::with_model();
    // Five interruptions, but each attempt makes progress, so that three attempts are enough.
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
    assert!(world.noted("interrupted after 10000"), "{:?}", world.notes);
}

#[test]
fn an_interrupted_download_continues_in_a_later_run() {
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
        "refs never point to an incomplete snapshot"
    );
    let blobs = names(&world.repo().join("blobs"));
    let part = format!("{}.incomplete", sha256(&weights()));
    assert!(blobs.contains(&part), "{blobs:?}");
    world.server.take_requests();
    let found = world.resolve("owner/name").unwrap();
    assert_eq!(ranges(&world), [range(30_000)]);
    let whole = fs::read(found.folder.join("model.safetensors")).unwrap();
    assert_eq!(whole, weights());
    assert!(!names(&world.repo().join("blobs")).contains(&part));
}

#[test]
fn a_response_that_ignores_the_range_restarts_the_download() {
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

/// A server without ranges that always stops at the same byte makes no progress.
#[test]
fn the_same_bytes_again_are_not_progress() {
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
fn a_partial_file_with_other_content_is_discarded() {
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
fn files_with_a_wrong_checksum_are_never_saved() {
    for (part, name) in [
        ("GET /lfs/", "model.safetensors"),
        ("GET /owner", "config.json"),
    ] {
        for fault in [Fault::Corrupt, Fault::Longer] {
            let (mut world, _) = World::with_model();
            world.server.fail(part, fault.clone());
            let found = world.resolve("owner/name");
            assert!(world.noted("was damaged"));
            let whole = fs::read(found.unwrap().folder.join(name)).unwrap();
            assert!(whole == weights() || whole == CONFIG);
        }
        let (mut world, commit) = World::with_model();
        world.server.fail(part, Fault::Corrupt);
        world.server.fail(part, Fault::Corrupt);
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
fn slow_transfers_are_accepted_and_stalled_ones_are_not() {
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("GET /lfs/", Fault::Slow(20_000, Duration::from_millis(100)));
    world.resolve("owner/name").unwrap();
    assert_eq!(
        ranges(&world),
        [None],
        "half a second in total, without a pause of 0.3 s"
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
fn concurrent_processes_download_a_file_once() {
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
