//! Error responses, redirects and access tokens.

use super::*;
use rlhf_loopback::Fault;
use std::time::Instant;

#[test]
fn temporary_failures_are_retried() {
    let (mut world, _) = World::with_model();
    for part in ["GET /api/", "HEAD ", "GET /lfs/"] {
        world.server.fail(part, Fault::Status(503, ""));
        world.server.fail(part, Fault::Status(500, ""));
    }
    world.resolve("owner/name").unwrap();
    assert!(world.noted("the hub responded 503 Service Unavailable; retrying in 5ms"));
}

#[test]
fn retries_are_limited() {
    let (mut world, _) = World::with_model();
    for _ in 0..3 {
        world.server.fail("GET /api/", Fault::Status(503, ""));
    }
    let error = world.fails("owner/name");
    let expected =
        "cannot fetch model owner/name: the hub responded 503 Service Unavailable, 3 times";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(world.server.take_requests().len(), 3);
}

#[test]
fn retry_after_is_respected_up_to_the_maximum_wait() {
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("HEAD ", Fault::Status(429, "Retry-After: 1"));
    let start = Instant::now();
    world.resolve("owner/name").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("HEAD ", Fault::Status(429, "Retry-After: 3600"));
    let error = world.fails("owner/name");
    assert!(
        error.contains("429 Too Many Requests for 3600 s: try again after that"),
        "{error}"
    );
}

#[test]
fn missing_repositories_and_revisions_are_named() {
    let (mut world, _) = World::with_model();
    for (text, expected) in [
        ("owner/other", "the hub has no model owner/other"),
        (
            "owner/name@v9",
            "the hub has no model owner/name@v9: no such revision",
        ),
    ] {
        assert_eq!(world.fails(text), expected);
    }
    let error = world.dataset("owner/name").unwrap_err().to_string();
    assert_eq!(error, "the hub has no data set owner/name");
    assert_eq!(world.server.take_requests().len(), 3, "none is retried");
    world.server.publish("owner/name", &[("README.md", b"x")]);
    let error = world.fails("owner/name");
    assert!(error.contains("owner/name has no config.json"), "{error}");
    assert!(files(&world.cache()).is_empty(), "no files are left");
}

#[test]
fn denied_access_names_the_remedy() {
    let (mut world, _) = World::with_model();
    world.server.require(TOKEN);
    let error = world.fails("owner/name");
    assert!(
        error.contains("access to model owner/name was denied"),
        "{error}"
    );
    assert!(error.contains("HF_TOKEN"), "{error}");
    world.variables = vec![("HF_TOKEN", "hf_wr0ng".into())];
    let error = world.fails("owner/name");
    assert!(error.contains("this token has no access to it"), "{error}");
    assert!(!error.contains("hf_wr0ng"), "{error}");
    let gated = Fault::Status(403, "X-Error-Code: GatedRepo");
    world.server.fail("GET /api/", gated);
    let error = world.fails("owner/name");
    assert!(error.contains("accept its terms on its page"), "{error}");
    world.variables = vec![("HF_TOKEN", TOKEN.into())];
    world.resolve("owner/name").unwrap();
}

#[test]
fn the_token_is_sent_only_to_the_hub_and_never_written() {
    let (mut world, _) = World::with_model();
    world.server.require(TOKEN);
    world.variables = vec![("HF_TOKEN", TOKEN.into())];
    world.server.fail("GET /lfs/", Fault::Cut(10_000));
    let found = world.resolve("owner/name").unwrap();
    let seen = world.server.take_requests();
    let (storage, hub): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.storage);
    assert_eq!(storage.len(), 2);
    assert!(
        hub.iter()
            .all(|seen| seen.headers.contains_key("authorization"))
    );
    for seen in &storage {
        let headers = format!("{:?}", seen.headers);
        assert!(!headers.contains(TOKEN) && !seen.headers.contains_key("authorization"));
    }
    assert!(found.folder.exists());
    for file in files(world.folder.path()) {
        let content = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(TOKEN), "{}", file.display());
    }
    let said = format!("{:?} {:?}", world.notes, world.settings());
    assert!(!said.contains(TOKEN) && !said.contains("s3cr3t"), "{said}");
}

/// After a redirect to another host the token is not sent again, even if another redirect leads
/// back.
#[test]
fn redirects_keep_the_token_only_within_the_hub() {
    let (mut world, commit) = World::with_model();
    world.server.require(TOKEN);
    world.variables = vec![("HF_TOKEN", TOKEN.into())];
    // A repository that was renamed.
    let list = "/api/models/owner/name/revision/main";
    world
        .server
        .fail("/api/models/owner/old/", Fault::Redirect(list));
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let to = format!("/owner/name/resolve/v1/{name}");
        for _ in ["HEAD", "GET"] {
            let part = format!("/owner/old/resolve/{commit}/{name}");
            world.server.fail(&part, Fault::Redirect(to.clone().leak()));
        }
    }
    world.resolve("owner/old").unwrap();
    world.server.take_requests();
    let (mut world, _) = World::with_model();
    world.server.require(TOKEN);
    world.variables = vec![("HF_TOKEN", TOKEN.into())];
    world
        .server
        .fail("GET /api/", Fault::Redirect("{storage}/api/away"));
    world.server.fail(
        "GET /api/away",
        Fault::Redirect("{hub}/api/models/owner/name/revision/main"),
    );
    let error = world.fails("owner/name");
    assert!(error.contains("was denied"), "{error}");
    let seen = world.server.take_requests();
    let sent: Vec<_> = seen
        .iter()
        .map(|seen| seen.headers.contains_key("authorization"))
        .collect();
    assert_eq!(sent, [true, false, false]);
}

#[test]
fn redirects_are_limited() {
    let (mut world, _) = World::with_model();
    for _ in 0..20 {
        world
            .server
            .fail("GET /api/", Fault::Redirect("{hub}{path}"));
    }
    assert!(
        world
            .fails("owner/name")
            .contains("redirected too many times")
    );
    let (mut world, _) = World::with_model();
    world
        .server
        .fail("GET /api/", Fault::Redirect("file:///etc/passwd"));
    assert!(
        world
            .fails("owner/name")
            .contains("redirected to an invalid address")
    );
}

#[test]
fn invalid_responses_are_errors() {
    for body in [
        "<html>login</html>",
        "{}",
        "{\"sha\": \"../../x\", \"siblings\": []}",
        "{\"sha\": \"0123456789abcdef0123456789abcdef01234567\"}",
    ] {
        let (mut world, _) = World::with_model();
        world.server.fail("GET /api/", Fault::Body(body));
        let error = world.fails("owner/name");
        assert!(
            error.contains("the response is not that of a Hugging Face hub"),
            "{error}"
        );
    }
    for (name, value, expected) in [
        ("X-Repo-Commit", "0123", "for another commit, 0123"),
        ("ETag", "\"../../evil\"", "no valid ETag"),
        ("ETag", "", "no valid ETag"),
    ] {
        let (mut world, _) = World::with_model();
        world.server.fail("HEAD ", Fault::Header(name, value));
        let error = world.fails("owner/name");
        assert!(error.contains(expected), "{error}");
    }
    // File names outside the folder are ignored.
    let (mut world, commit) = World::with_model();
    let names = ["../../evil.json", "/evil", "config.json"];
    let names = names
        .map(|name| format!("{{\"rfilename\": \"{name}\"}}"))
        .join(", ");
    let body = format!("{{\"sha\": \"{commit}\", \"siblings\": [{names}]}}");
    world
        .server
        .fail("GET /api/", Fault::Body(Box::leak(body.into_boxed_str())));
    assert!(world.fails("owner/name").contains("no weights"));
}
