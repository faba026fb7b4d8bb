//! Databases that are not there, damaged, or held by somebody else.

use std::time::Duration;

use crate::running::Running;
use crate::workspace::{Workspace, json_lines};

const SINKS: &str = "{ file: { path: out.jsonl } }\ndead_letter: { file: { path: dead.jsonl } }";

fn workspace(keys: &str) -> Workspace {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", keys, SINKS);
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":2}\n{\"id\":9}\n");
    workspace
}

/// The pipeline's database waits 20 ms for whoever holds it.
fn impatient(keys: &str) -> Workspace {
    let workspace = workspace(keys);
    let pipeline = workspace.read("p.yaml").replace("columns: [name] }", "columns: [name], busy_timeout: 20ms }");
    workspace.write("p.yaml", pipeline);
    workspace
}

#[test]
fn a_database_that_cannot_be_used_fails_the_run_at_once() {
    // Even a policy for failed look-ups does not hide it: no look-up can ever work.
    let keys = "    on_error: keep\n";
    let missing = workspace(keys);
    std::fs::remove_file(missing.path().join("users.db")).unwrap();
    let corrupt = workspace(keys);
    corrupt.write(
        "users.db",
        "this is no database, whatever its name says, and it is long enough to have a header".repeat(20),
    );
    let without_table = workspace(keys);
    without_table.database("users.db").execute_batch("alter table users rename to user").unwrap();
    let without_column = workspace(keys);
    without_column.database("users.db").execute_batch("alter table users rename column name to nam").unwrap();
    for (workspace, expected) in [
        (missing, "users.db"),
        (corrupt, "the file is no SQLite database"),
        (without_table, "there is no table \"users\" (did you mean \"user\"?)"),
        (without_column, "there is no column of \"users\" \"name\" (did you mean \"nam\"?)"),
    ] {
        let ran = workspace.run(&["run", "p.yaml"]);
        let told = ran.stderr.lines().last().unwrap();
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(told.starts_with("error: look-up `user`: users.db") && told.contains(expected), "{told}");
        assert!(!workspace.has("out.jsonl"));
    }
}

#[test]
fn a_locked_database_is_asked_again_and_then_the_policy_applies() {
    let keys =
        "    batch: 1\n    retries: { max: 2, backoff: 1ms..5ms }\n    timeout: 30s\n    deadline: 50s\n    on_error: ";
    let dead_letter = impatient(&format!("{keys}dead_letter\n"));
    let holder = dead_letter.database("users.db");
    holder.execute_batch("begin exclusive").unwrap();
    let ran = dead_letter.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.row("user"), ["user", "0", "0", "3", "0", "6", "9"]);
    let letters = json_lines(&dead_letter.read("dead.jsonl"));
    assert_eq!(letters.len(), 3);
    for letter in letters {
        assert_eq!(letter["attempts"], 3);
        assert!(letter["error"].as_str().unwrap().contains("another connection holds the database"), "{letter}");
    }

    let fail = impatient(&format!("{keys}fail\n"));
    let holder = fail.database("users.db");
    holder.execute_batch("begin exclusive").unwrap();
    let ran = fail.run(&["run", "p.yaml"]);
    let told = ran.stderr.lines().last().unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(told.starts_with("error: record 1, look-up `user`: ") && told.contains("(3 attempts, "), "{told}");
    assert!(!fail.has("out.jsonl"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_database_that_is_free_again_in_time_is_as_if_nothing_had_been() {
    let keys = "    retries: { max: 100, backoff: 20ms..100ms }\n    timeout: 30s\n    deadline: 50s\n";
    let workspace = impatient(keys);
    let holder = workspace.database("users.db");
    holder.execute_batch("begin exclusive").unwrap();
    let running = Running::start(&workspace, &["run", "p.yaml"]);
    running.wait_until_it_opens("users.db");
    // Long enough that opening it has failed, and a call or two.
    std::thread::sleep(Duration::from_millis(300));
    holder.execute_batch("commit").unwrap();
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.row("user")[..5], ["user", "2", "1", "0", "0"]);
}

#[test]
fn a_call_that_outlives_its_time_is_a_timeout() {
    let workspace = workspace("    timeout: 50ms\n    deadline: 100ms\n    retries: 0\n    on_error: dead_letter\n");
    let holder = workspace.database("users.db");
    holder.execute_batch("begin exclusive").unwrap();
    // The database waits longer than the look-up.
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.row("user")[..5], ["user", "0", "0", "0", "3"]);
    assert_eq!(json_lines(&workspace.read("dead.jsonl")).len(), 3);
}
