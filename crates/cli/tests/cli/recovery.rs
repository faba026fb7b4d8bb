//! Runs that are killed and go on: the output is that of a run that nobody disturbed.
#![cfg(target_os = "linux")]

use std::fs;

use crate::running::{Running, wait_until};
use crate::workspace::{Ran, Workspace};

const RECORDS: u64 = 20_000;

/// Some thousand records over a few users, with checkpoints as fast as they come.
pub(crate) fn workspace(sink: &str, more: &str) -> Workspace {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "    on_error: dead_letter\n", sink);
    let pipeline = workspace.read("p.yaml");
    workspace.write("p.yaml", format!("{pipeline}{DEAD}checkpoint: {{ dir: state, every: 1ms }}\n{more}"));
    let records = (0..RECORDS).map(|n| format!("{{\"n\":{n},\"id\":{}}}\n", n % 5));
    workspace.write("in.jsonl", records.collect::<String>());
    workspace
}

pub(crate) const OUT: &str = "{ file: { path: out.jsonl } }";
const DEAD: &str = "dead_letter: { file: { path: dead.jsonl } }\n";

fn run(workspace: &Workspace, args: &[&str]) -> Ran {
    workspace.run(&[&["run", "p.yaml"], args].concat())
}

/// What an undisturbed run writes.
pub(crate) fn undisturbed() -> (String, String) {
    let workspace = workspace(OUT, "");
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("20,000 records in, 16,000 out"), "{ran:?}");
    outputs(&workspace)
}

fn outputs(workspace: &Workspace) -> (String, String) {
    // When a look-up failed, and how long it took, is another time another; and attempts before a crash are told of, too.
    let letters = workspace.read("dead.jsonl");
    let letters = letters.lines().map(|line| {
        let mut letter: serde_json::Value = serde_json::from_str(line).unwrap();
        for time in ["elapsed_ms", "read_at", "failed_at", "each_attempt"] {
            assert!(letter.as_object_mut().unwrap().remove(time).is_some(), "{letter}");
        }
        format!("{letter}\n")
    });
    (workspace.read("out.jsonl"), letters.collect())
}

/// How many checkpoints have been written, by the number of the newest.
pub(crate) fn newest_epoch(workspace: &Workspace) -> u64 {
    let names = fs::read_dir(workspace.path().join("state")).into_iter().flatten().flatten();
    let whole = |name: &String| !name.ends_with(".tmp");
    let epoch = |name: String| Some(name).filter(whole)?.strip_prefix("checkpoint-")?.split('-').next()?.parse().ok();
    names.filter_map(|entry| epoch(entry.file_name().into_string().ok()?)).max().unwrap_or_default()
}

/// Runs until so many more checkpoints are there, and kills it. Whether it was not faster.
fn killed_after(workspace: &Workspace, checkpoints: u64) -> bool {
    let before = newest_epoch(workspace);
    let running = Running::start(workspace, &["run", "p.yaml"]);
    wait_until("checkpoints are written", || {
        newest_epoch(workspace) >= before + checkpoints || workspace.has("out.jsonl")
    });
    running.signal("KILL");
    running.end().code == -1
}

#[test]
fn a_run_that_is_killed_again_and_again_writes_what_an_undisturbed_one_does() {
    let workspace = workspace(OUT, "");
    let kills = (0..8).filter(|kill| killed_after(&workspace, kill % 3)).count();
    assert!(kills > 1, "{kills}");
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(outputs(&workspace) == undisturbed());
    // Counts are those of all runs together, if the last of them had anything to do.
    assert!(
        ran.stderr.contains("20,000 records in, 16,000 out") || ran.stderr.contains("the run had ended"),
        "{ran:?}"
    );
}

#[test]
fn a_run_goes_on_behind_its_limit_and_says_where() {
    let workspace = workspace(OUT, "");
    let first = run(&workspace, &["--limit", "5000"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stderr.contains("to be gone on with by the next run: out.jsonl.partial\n"), "{first:?}");
    assert!(!workspace.has("out.jsonl"));
    let second = run(&workspace, &["--limit", "10000"]);
    let told = second.stderr.lines().next().unwrap();
    assert!(told.starts_with("resuming from epoch ") && told.contains(" old): in.jsonl at record 5,000; "), "{told}");
    assert!(told.contains("nothing was in flight; took "), "{told}");
    assert_eq!(run(&workspace, &[]).code, 0);
    assert!(outputs(&workspace) == undisturbed());
    let again = run(&workspace, &[]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.starts_with("the run had ended ") && again.stderr.contains("nothing left to do"), "{again:?}");
    assert!(outputs(&workspace) == undisturbed());
}

#[test]
fn a_signal_is_gone_on_from_too() {
    let workspace = workspace(OUT, "");
    let running = Running::start(&workspace, &["run", "p.yaml"]);
    wait_until("a checkpoint is written", || newest_epoch(&workspace) > 0);
    running.signal("TERM");
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(run(&workspace, &[]).code, 0);
    assert!(outputs(&workspace) == undisturbed());
}

#[test]
fn from_scratch_forgets_what_was_done() {
    let workspace = workspace(OUT, "");
    run(&workspace, &["--limit", "5000"]);
    let ran = run(&workspace, &["--from-scratch"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stderr.contains("resuming"), "{ran:?}");
    assert!(outputs(&workspace) == undisturbed());
    // Also when it had ended.
    let again = run(&workspace, &["--from-scratch"]);
    assert!(again.stderr.contains("20,000 records in"), "{again:?}");
    assert!(outputs(&workspace) == undisturbed());
}

#[test]
fn a_pipeline_that_has_changed_is_refused_until_that_is_accepted() {
    let workspace = workspace(OUT, "");
    run(&workspace, &["--limit", "5000"]);
    let pipeline = workspace.read("p.yaml");
    // What decides only how fast it goes is not asked about.
    let more = "concurrency: { max: 3 }\n    retries: { max: 7, budget: 5% }\n    cache: { ttl: 1m }\n    breaker: on\n    \
                single_flight: false\n    rate_limit: 100k/s\n    destination: users";
    workspace.write("p.yaml", pipeline.replace("key: { id: .id }", &format!("key: {{ id: .id }}\n    {more}")));
    assert_eq!(run(&workspace, &["--limit", "5000"]).code, 0);
    for (replace, with, part, change) in [
        (
            "columns: [name]",
            "columns: [name, firm]",
            "enrich",
            "step `user`.sqlite.columns: [\"name\"] -> [\"name\",\"firm\"]",
        ),
        ("path: in.jsonl", "path: other.jsonl", "source", "source.file.path: in.jsonl -> other.jsonl"),
        ("path: out.jsonl", "path: new.jsonl", "sink", "sink.file.path: out.jsonl -> new.jsonl"),
    ] {
        workspace.write("other.jsonl", "{\"n\":1,\"id\":1}\n{\"n\":2,\"id\":2}\n");
        workspace.write("p.yaml", pipeline.replace(replace, with));
        let refused = run(&workspace, &[]);
        assert_eq!(refused.code, 78, "{refused:?}");
        assert!(refused.stderr.contains(&format!("\n  {change}\n")), "{refused:?}");
        assert!(refused.stderr.contains(&format!("\n  --accept {part} ")), "{refused:?}");
        assert!(refused.stderr.contains("\n  --from-scratch "), "{refused:?}");
        let going = run(&workspace, &["--limit", "1", "--accept", part]);
        assert_eq!(going.code, 0, "{going:?}");
        assert!(going.stderr.starts_with("resuming from epoch "), "{going:?}");
        // Back again: that is a change too, and what was left of the source is still there to be read.
        workspace.write("p.yaml", &pipeline);
        assert_eq!(run(&workspace, &["--limit", "1", "--accept", part]).code, 0);
    }
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("20,001 records in"), "{ran:?}");
}

#[test]
fn a_second_run_on_the_same_folder_is_refused() {
    let workspace = workspace(OUT, "");
    // A pipe that nobody writes to keeps the first one going.
    let pipe = workspace.path().join("pipe.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let first = Running::start(&workspace, &["run", "p.yaml", "--source", "pipe.jsonl"]);
    wait_until("the first has the folder", || workspace.has("out.jsonl.partial"));
    let second = run(&workspace, &[]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("state: in use by "), "{second:?}");
    first.signal("TERM");
    assert_eq!(first.end().code, 0);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let workspace = workspace(OUT, "");
    assert!(killed_after(&workspace, 3) || workspace.has("out.jsonl"));
    let state = workspace.path().join("state");
    let mut names: Vec<String> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("checkpoint-") && !name.ends_with(".tmp"))
        .collect();
    names.sort();
    let newest = names.pop().unwrap();
    let mut bytes = fs::read(state.join(&newest)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(state.join(&newest), bytes).unwrap();
    let ran = run(&workspace, &[]);
    assert!(
        ran.stderr.contains("warning: a damaged checkpoint is passed over: ") && ran.stderr.contains(&newest),
        "{ran:?}"
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(outputs(&workspace) == undisturbed());
}

#[test]
fn a_sink_that_was_tampered_with_is_not_written_over() {
    let workspace = workspace(OUT, "");
    run(&workspace, &["--limit", "5000"]);
    workspace.write("out.jsonl.partial", "short\n");
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("out.jsonl") && workspace.read("out.jsonl.partial") == "short\n", "{ran:?}");
}

#[test]
fn a_database_has_each_record_once() {
    let sink = "{ sqlite: { database: out.db, table: enriched, create: true } }";
    let workspace = workspace(sink, "");
    for kill in 0..6 {
        let before = newest_epoch(&workspace);
        let running = Running::start(&workspace, &["run", "p.yaml"]);
        let mut looks = 0;
        wait_until("checkpoints are written", || {
            looks += 1;
            newest_epoch(&workspace) >= before + kill % 3 || looks > 400
        });
        running.signal("KILL");
        running.end();
    }
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let count = |sql: &str| -> i64 { workspace.database("out.db").query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("select count(*) from enriched"), 16_000);
    assert_eq!(count("select count(distinct n) from enriched"), 16_000);
    // Without the folder, what is in the database would come again.
    fs::remove_dir_all(workspace.path().join("state")).unwrap();
    let refused = run(&workspace, &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("a newer run of the pipeline \"p.yaml to enriched\" has taken over"),
        "{refused:?}"
    );
}

#[test]
fn a_database_of_dead_letters_has_each_once_beside_a_file_of_records() {
    let workspace = workspace(OUT, "");
    let letters = "dead_letter: { sqlite: { database: dead.db, table: letters, create: true } }\n";
    workspace.write("p.yaml", workspace.read("p.yaml").replace(DEAD, letters));
    for kill in 0..6 {
        killed_after(&workspace, kill % 3);
    }
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let count = |sql: &str| -> i64 { workspace.database("dead.db").query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("select count(*) from letters"), 4_000);
    assert_eq!(count("select count(distinct json_extract(record, '$.n')) from letters"), 4_000);
    assert!(workspace.read("out.jsonl") == undisturbed().0);
}

#[test]
fn records_and_dead_letters_of_one_database_are_one_transaction() {
    let workspace = workspace("{ sqlite: { database: out.db, table: enriched, create: true } }", "");
    let letters = "dead_letter: { sqlite: { database: out.db, table: letters, create: true } }\n";
    let pipeline = workspace.read("p.yaml");
    workspace.write("p.yaml", pipeline.replace(DEAD, &letters.replace("out.db", "other.db")));
    let refused = run(&workspace, &[]);
    assert!(refused.stderr.contains("records and dead letters cannot go to two databases"), "{refused:?}");
    workspace.write("p.yaml", pipeline.replace(DEAD, letters));
    for kill in 0..6 {
        let before = newest_epoch(&workspace);
        let running = Running::start(&workspace, &["run", "p.yaml"]);
        let mut looks = 0;
        wait_until("checkpoints are written", || {
            looks += 1;
            newest_epoch(&workspace) >= before + kill % 3 || looks > 400
        });
        running.signal("KILL");
        running.end();
        // At every moment, what is there of both is what the epochs that count have.
        let database = workspace.database("out.db");
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or_default();
        let sum = count("select count(*) from enriched") + count("select count(*) from letters");
        let all = "select n from enriched union select json_extract(record, '$.n') from letters";
        assert_eq!(count(&format!("select count(*) from ({all})")), sum);
        assert_eq!(count(&format!("select coalesce(max(n) + 1, 0) from ({all})")), sum, "there is a hole");
    }
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let count = |sql: &str| -> i64 { workspace.database("out.db").query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("select count(*) from enriched"), 16_000);
    assert_eq!(count("select count(distinct json_extract(record, '$.n')) from letters"), 4_000);
    assert_eq!(count("select count(*) from letters"), 4_000);
}

#[test]
fn without_checkpoints_one_database_takes_both_too() {
    let workspace = workspace("{ sqlite: { database: out.db, table: enriched, create: true } }", "");
    let letters = "dead_letter: { sqlite: { database: out.db, table: letters, create: true } }\n";
    let pipeline = workspace.read("p.yaml").replace(DEAD, letters);
    workspace.write("p.yaml", pipeline.split("checkpoint:").next().unwrap());
    let ran = run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let count = |sql: &str| -> i64 { workspace.database("out.db").query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!((count("select count(*) from enriched"), count("select count(*) from letters")), (16_000, 4_000));
}

#[test]
fn what_was_written_is_written_again_as_it_was_when_answers_are_recorded() {
    for (replay, expected) in [("recorded", "Ada"), ("none", "Eve")] {
        let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "stdout");
        let pipeline = workspace.read("p.yaml");
        let checkpoint = format!("checkpoint: {{ dir: state, every: 1h, replay: {replay} }}\n");
        workspace.write("p.yaml", format!("{pipeline}{checkpoint}"));
        workspace.write("in.jsonl", "{\"id\":1}\n".repeat(100));
        // A pipe in the place of more input keeps it going.
        let more = workspace.path().join("more.jsonl");
        assert!(std::process::Command::new("mkfifo").arg(&more).status().unwrap().success());
        let _writer = fs::OpenOptions::new().read(true).write(true).open(&more).unwrap();
        workspace.write("p.yaml", workspace.read("p.yaml").replace("path: in.jsonl", "paths: [in.jsonl, more.jsonl]"));
        let mut running = Running::start(&workspace, &["run", "p.yaml"]);
        running.wait_for(&"{\"id\":1,\"user\":{\"name\":\"Ada\"}}\n".repeat(100));
        running.signal("KILL");
        running.end();
        workspace.database("users.db").execute("update users set name = 'Eve' where id = 1", []).unwrap();
        fs::remove_file(&more).unwrap();
        workspace.write("more.jsonl", "{\"id\":2}\n");
        let ran = run(&workspace, &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let again = format!("{{\"id\":1,\"user\":{{\"name\":\"{expected}\"}}}}\n").repeat(100);
        assert_eq!(ran.stdout, format!("{again}{{\"id\":2,\"user\":{{\"name\":\"Bob\"}}}}\n"));
    }
}
