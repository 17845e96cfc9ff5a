//! Resolving without the hub.

use super::*;
use rlhf_loopback::Fault;

#[test]
fn offline_mode_finds_downloaded_repositories() {
    let (mut world, commit) = World::with_model();
    let error = world.offline("owner/name").unwrap_err().to_string();
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("never fetched"),
        "{error}"
    );
    let found = world.resolve("owner/name").unwrap();
    world.server.take_requests();
    assert_eq!(world.offline("owner/name").unwrap(), found);
    assert_eq!(
        world.offline(&format!("owner/name@{commit}")).unwrap(),
        found
    );
    assert!(
        world.offline("owner/name@v1").is_err(),
        "v1 was never resolved"
    );
    world.variables = vec![("HF_HUB_OFFLINE", "1".into())];
    let hub = crate::open(world.settings());
    assert_eq!(
        hub.resolve(&model("owner/name"), &mut world.notes).unwrap(),
        found
    );
    assert!(world.server.take_requests().is_empty());
    fs::remove_file(found.folder.join("tokenizer.json")).unwrap();
    let error = world.offline("owner/name").unwrap_err().to_string();
    assert!(
        error.contains("tokenizer.json was never fetched completely"),
        "{error}"
    );
}

#[test]
fn an_unreachable_hub_falls_back_to_the_cache() {
    let (mut world, commit) = World::with_model();
    world.resolve("owner/name").unwrap();
    for _ in 0..3 {
        world.server.fail("GET /api/", Fault::Status(502, ""));
    }
    assert_eq!(world.resolve("owner/name").unwrap().commit, commit);
    assert!(world.noted(&format!("continuing with commit {commit}")));
    // Denied access is not an unreachable hub.
    world.server.fail("GET /api/", Fault::Status(401, ""));
    assert!(world.fails("owner/name").contains("was denied"));
}

/// A cache written by Python has no file list of ours; a model needs none, and a data set is used
/// as it is.
#[test]
fn a_cache_written_by_python_is_found() {
    let (mut world, commit) = World::with_model();
    let found = world.resolve("owner/name").unwrap();
    fs::remove_dir_all(world.repo().join(".rlhf")).unwrap();
    assert_eq!(world.offline("owner/name").unwrap(), found);
    // One request for the file list, and no downloads.
    world.server.take_requests();
    world.resolve(&format!("owner/name@{commit}")).unwrap();
    assert_eq!(world.server.take_requests().len(), 1);

    let trees = world.repo().join("trees");
    fs::remove_dir_all(world.repo().join(".rlhf")).unwrap();
    fs::create_dir(&trees).unwrap();
    let list = r#"{"format_version": 1, "files": {"config.json": {}, "model.safetensors": {},
                   "vocab.json": {}}}"#;
    fs::write(trees.join(format!("{commit}.json")), list).unwrap();
    let error = world.offline("owner/name").unwrap_err().to_string();
    assert!(
        error.contains("vocab.json was never fetched completely"),
        "{error}"
    );

    world
        .server
        .publish("datasets/owner/rows", &[("a.jsonl", b"{}")]);
    let found = world.dataset("owner/rows").unwrap();
    fs::remove_dir_all(world.cache().join("datasets--owner--rows/.rlhf")).unwrap();
    let repository = Repository::parse(Kind::Dataset, "owner/rows").unwrap();
    let hub = CacheOnly::new(world.cache());
    assert_eq!(hub.resolve(&repository, &mut world.notes).unwrap(), found);
    assert!(world.noted("using the files in the cache"));
}

#[test]
fn a_damaged_cache_is_an_error_without_a_panic() {
    let (mut world, commit) = World::with_model();
    world.resolve("owner/name").unwrap();
    fs::write(world.repo().join("refs/main"), "../../../etc").unwrap();
    assert!(world.offline("owner/name").is_err());
    fs::write(world.repo().join("refs/main"), &commit).unwrap();
    let list = world.repo().join(".rlhf").join(format!("{commit}.json"));
    fs::write(list, "[1, 2").unwrap();
    world.offline("owner/name").unwrap();
    // A deleted blob is downloaded again.
    for blob in files(&world.repo().join("blobs")) {
        fs::remove_file(blob).unwrap();
    }
    assert!(world.offline("owner/name").is_err());
    let found = world.resolve("owner/name").unwrap();
    assert_eq!(
        fs::read(found.folder.join("model.safetensors")).unwrap(),
        weights()
    );
    assert_eq!(world.offline("owner/name").unwrap(), found);
}
