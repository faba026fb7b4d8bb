//! `inflight check --connect`, against real systems.

use crate::workspace::{Ran, Workspace};

const PIPELINE: &str = "\
source: { file: { path: in.csv } }
enrich:
  user:
    sqlite: { database: users.db, table: users, columns: [name] }
    key: { id: .id }
  zone:
    memory: { file: { path: zones.csv } }
    key: { city: .city }
sink: { file: { path: out/enriched.jsonl } }
dead_letter: { sqlite: { database: dead.db, table: dead, create: true } }
";

fn workspace() -> Workspace {
    let workspace = Workspace::with(PIPELINE);
    workspace.database("users.db").execute_batch("create table users (id integer primary key, name text)").unwrap();
    workspace.write("in.csv", "id,city\n1,Oslo\n");
    workspace.write("zones.csv", "city,zone\nOslo,CET\n");
    workspace.write("out/.keep", "");
    workspace
}

fn check(workspace: &Workspace) -> Ran {
    workspace.run(&["check", "--connect", "p.yaml"])
}

#[test]
fn everything_answers_and_nothing_is_written() {
    let workspace = workspace();
    let ran = check(&workspace);
    let expected = "\
p.yaml: right (2 look-ups in 1 stage)
p.yaml: source (file): can be read
p.yaml: look-up `user` (sqlite): answers
p.yaml: look-up `zone` (memory): answers
p.yaml: sink (file): can be written
p.yaml: dead letters (sqlite): can be written
";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, expected, ""));
    assert!(!workspace.has("dead.db") && !workspace.has("out/enriched.jsonl"));
}

#[test]
fn each_thing_that_is_wrong_is_said_in_one_sentence() {
    let workspace = workspace();
    workspace
        .write("p.yaml", PIPELINE.replace("[name]", "[nmae]").replace("out/", "none/").replace("{ city:", "{ town:"));
    std::fs::remove_file(workspace.path().join("in.csv")).unwrap();
    let ran = check(&workspace);
    assert_eq!(ran.code, 1, "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    for (line, expected) in lines.iter().zip([
        "error: p.yaml: source (file): in.csv: ",
        "error: p.yaml: look-up `user` (sqlite): users.db: ",
        "error: p.yaml: look-up `zone` (memory): zones.csv: no row has a field \"town\"",
        "error: p.yaml: sink (file): none: cannot write here: there is no such file or folder",
    ]) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(lines.len(), 4, "{ran:?}");
    assert!(lines[1].contains("did you mean \"name\"?"), "{ran:?}");
    assert!(ran.stdout.ends_with("p.yaml: dead letters (sqlite): can be written\n"), "{ran:?}");
    workspace.write("bad.yaml", "source: stdin\n");
    assert_eq!(workspace.run(&["check", "--connect", "p.yaml", "bad.yaml"]).code, 78);
}

#[test]
fn what_setup_builds_need_not_be_there() {
    let workspace = workspace();
    std::fs::remove_file(workspace.path().join("users.db")).unwrap();
    let setup = "setup: { sqlite: { database: users.db, tables: { users: { csv: users.csv, key: [id] } } } }\n";
    workspace.write("p.yaml", format!("{PIPELINE}{setup}"));
    let ran = check(&workspace);
    assert!(ran.code == 0 && ran.stdout.contains("look-up `user` (sqlite): `setup` will build it"), "{ran:?}");
}

#[test]
fn servers_that_refuse_or_are_not_there_are_told() {
    let workspace = workspace();
    let url = |url: &str, rest: &str| format!("url: '{url}', {rest}");
    let (nowhere, password) = ("127.0.0.1:1", "hunter2");
    let pipeline = format!(
        "source: stdin\nenrich:\n  a: {{ postgres: {{ {} }}, key: {{ id: .id }} }}\n  b: {{ redis: {{ {} }}, key: {{ id: .id }} }}\n  \
         c: {{ http: {{ {} }}, key: {{ id: .id }} }}\nsink: stdout\n",
        url(&format!("postgres://me:{password}@{nowhere}/db"), "table: t"),
        url(&format!("redis://me:{password}@{nowhere}"), "get: '{id}'"),
        url(&format!("http://me:{password}@{nowhere}/{{id}}"), "connections: 1"),
    );
    workspace.write("p.yaml", pipeline);
    let ran = check(&workspace);
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 3), "{ran:?}");
    for (line, system) in ran.stderr.lines().zip(["`a` (postgres)", "`b` (redis)", "`c` (http)"]) {
        assert!(line.starts_with(&format!("error: p.yaml: look-up {system}: 127.0.0.1:1")), "{line}");
    }
    assert!(ran.stdout.ends_with("source (file): can be read\np.yaml: sink (file): can be written\n"), "{ran:?}");
    assert!(!ran.stderr.contains(password), "{ran:?}");
}
