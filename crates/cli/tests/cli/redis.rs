//! Look-ups in Redis, against a real server: the one that the test command provides.

use redis::Commands as _;
use serde_json::json;

use crate::workspace::Workspace;

const PIPELINE: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  user:
    redis: { url: '${env:URL}', get: 'PREFIX:user:{id}' }
    key: { id: .id }
    on_error: dead_letter
  firm:
    redis: { url: '${env:URL}', hash: 'PREFIX:firm:{id}', fields: [city] }
    key: { id: .user.firm }
sink: stdout
dead_letter: { file: { path: dead.jsonl } }
";

/// The server and a connection of the test's own; nothing where there is no server.
fn server() -> Option<(String, redis::Connection)> {
    let Ok(url) = std::env::var("INFLIGHT_TEST_REDIS") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_REDIS is not set");
        eprintln!("!!! SKIPPED: INFLIGHT_TEST_REDIS is not set; cargo xtask servers starts a server");
        return None;
    };
    let connection = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    Some((url, connection))
}

#[test]
fn strings_and_hashes_enrich_records() {
    let Some((url, mut server)) = server() else { return };
    server.set::<_, _, ()>("cli:user:1", r#"{"name":"Ada","firm":"a"}"#).unwrap();
    server.set::<_, _, ()>("cli:user:2", r#"{"name":"Bob","firm":"b"}"#).unwrap();
    server.set::<_, _, ()>("cli:user:3", "no JSON").unwrap();
    server.hset::<_, _, _, ()>("cli:firm:a", "city", "Oslo").unwrap();
    let workspace = Workspace::with(&PIPELINE.replace("PREFIX", "cli"));
    workspace.write("in.jsonl", [1, 2, 3, 4].map(|id| format!("{{\"id\":{id}}}\n")).concat());
    let ran = workspace.run_with(&["run", "p.yaml"], &[("URL", &url)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        json!({"id": 1, "user": {"name": "Ada", "firm": "a"}, "firm": {"city": "Oslo"}}),
        json!({"id": 2, "user": {"name": "Bob", "firm": "b"}, "firm": null}),
        json!({"id": 4, "user": null, "firm": null}),
    ];
    assert_eq!(ran.records(), expected);
    let dead = workspace.read("dead.jsonl");
    assert!(dead.contains("is not JSON") && !dead.contains(&url), "{dead}");
    let shown = workspace.run_with(&["explain", "p.yaml"], &[("URL", &url)]).stdout;
    assert!(shown.contains("get cli:user:{id}, id = .id") && shown.contains("value: json"), "{shown}");
    assert!(!shown.contains(&url), "{shown}");
}

#[test]
fn a_server_that_is_not_there_is_told_of_without_its_password() {
    let workspace = Workspace::with(&PIPELINE.replace("${env:URL}", "redis://me:hunter2@127.0.0.1:1"));
    workspace.write("in.jsonl", "{\"id\":1}\n");
    let ran = workspace.run(&["check", "--connect", "p.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("127.0.0.1:1: cannot connect") && !ran.stderr.contains("hunter2"), "{ran:?}");
    let workspace = Workspace::with(&PIPELINE.replace("fields: [city]", "fields: [city], get: x"));
    let ran = workspace.run_with(&["check", "p.yaml"], &[("URL", "redis://h")]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("`get` and `hash` exclude each other"), "{ran:?}");
}
