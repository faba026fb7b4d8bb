//! Input that is not what it should be: what was good before it is written, and the place is told.

use std::io::Write;

use crate::workspace::{Ran, Workspace, json_lines};

/// A run over this file: the exit code is 1, nothing has the output's name, and what came before stands in `.partial`.
fn broken(name: &str, more: &str, content: impl AsRef<[u8]>, good: usize) -> Ran {
    let source = format!("{{ file: {{ path: {name}{more} }} }}");
    let workspace = Workspace::with_users(&source, "", "{ file: { path: out.jsonl } }");
    workspace.write(name, content);
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(!workspace.has("out.jsonl"));
    let written = json_lines(&workspace.read("out.jsonl.partial"));
    assert_eq!(written.len(), good, "{ran:?}");
    assert!(written.iter().all(|record| record["user"]["name"] == "Ada"), "{written:?}");
    assert!(ran.stderr.contains("incomplete, and left as out.jsonl.partial\n"), "{ran:?}");
    ran
}

fn told(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap().strip_prefix("error: ").unwrap()
}

/// So many good lines, and then another.
fn after(good: usize, bad: &str) -> String {
    format!("{}{bad}\n{{\"id\":1}}\n", "{\"id\":1}\n".repeat(good))
}

#[test]
fn a_broken_csv_line() {
    let ran = broken("in.csv", "", "id,at\n1,noon\n1,noon\n1,noon,extra\n1,noon\n", 2);
    assert!(told(&ran).starts_with("in.csv, line 4, record 3: 3 fields, but the header names 2 columns"), "{ran:?}");
    let ran = broken("in.csv", "", "id,at\n1,noon\n1\n", 1);
    assert!(told(&ran).starts_with("in.csv, line 3, record 2: 1 fields, but the header names 2"), "{ran:?}");
    let ran = broken("in.csv", ", columns: { id: int }", "id\n1\none\n", 1);
    assert!(told(&ran).starts_with("in.csv, line 3, column \"id\", record 2: \"one\" is not an int"), "{ran:?}");
    let ran = broken("in.csv", "", "id,at\n1,noon\n1,\"noon\n", 1);
    assert!(told(&ran).starts_with("in.csv, line 3, record 2: the file ends inside a quoted field"), "{ran:?}");
}

#[test]
fn a_broken_json_line() {
    // Late enough that some batches have been handed over.
    let ran = broken("in.jsonl", "", after(3_000, "{\"id\":1"), 3_000);
    assert!(told(&ran).starts_with("in.jsonl, line 3001, column 7, record 3001: the line ends inside"), "{ran:?}");
    assert!(ran.stderr.contains("3,000 records in, 3,000 out in "), "{ran:?}");
    let ran = broken("in.jsonl", "", after(1, "[1]"), 1);
    assert!(told(&ran).starts_with("in.jsonl, line 2, "), "{ran:?}");
}

#[test]
fn invalid_utf_8() {
    let ran = broken("in.jsonl", "", b"{\"id\":1}\n{\"id\":\"\xff\"}\n", 1);
    assert!(told(&ran).starts_with("in.jsonl, line 2, column 8, record 2: byte 0xFF is not valid UTF-8"), "{ran:?}");
    let ran = broken("in.csv", "", b"id\n1\n\xe9\n", 1);
    assert!(told(&ran).starts_with("in.csv, line 3, column \"id\", record 2: byte 0xE9 is not valid UTF-8"), "{ran:?}");
}

#[test]
fn a_line_that_is_too_long() {
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(200));
    let ran = broken("in.jsonl", ", max_line_bytes: 100", after(2, &long), 2);
    assert!(told(&ran).starts_with("in.jsonl, line 3, record 3: the line is longer than 100 bytes"), "{ran:?}");
    let ran = broken("in.csv", ", max_line_bytes: 100", format!("id\n1\n{}\n", "x".repeat(200)), 1);
    assert!(told(&ran).starts_with("in.csv, line 3, record 2: the record is longer than 100 bytes"), "{ran:?}");
}

#[test]
fn a_gzip_file_that_was_cut_off() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all("{\"id\":1}\n".repeat(10).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    // Without the checksum.
    let ran = broken("in.jsonl.gz", "", &packed[..packed.len() - 8], 10);
    assert!(told(&ran).contains("the gzip stream ends too early"), "{ran:?}");
}

#[test]
fn a_column_that_is_not_there() {
    let ran = broken("in.csv", "", "idd,at\n1,noon\n", 0);
    let expected = "in.csv: there is no column `id`, which the key of look-up `user` reads; did you mean `idd`?";
    assert_eq!(told(&ran), expected);
    // In JSON lines a field may be absent.
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "stdout");
    workspace.write("in.jsonl", "{\"idd\":1}\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!((ran.code, ran.row("user")[2]), (0, "1"));
}

#[test]
fn a_source_that_cannot_be_opened_leaves_no_output() {
    for (source, expected) in [
        ("{ file: { path: none.jsonl } }", "none.jsonl: cannot open the file: there is no such file"),
        ("{ file: { path: ., format: json_lines } }", "this is a folder"),
        ("{ file: { path: empty.csv } }", "empty.csv, line 1: the file is empty"),
        ("{ file: { path: in.csv, columns: { ix: int } } }", "`columns` names \"ix\", which is not in the header"),
    ] {
        let workspace = Workspace::with_users(source, "", "{ file: { path: out.jsonl } }");
        workspace.write("empty.csv", "");
        workspace.write("in.csv", "id\n1\n");
        let ran = workspace.run(&["run", "p.yaml"]);
        assert_eq!(ran.code, 1, "{source}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
        assert!(!workspace.has("out.jsonl") && !workspace.has("out.jsonl.partial"), "{source}");
    }
}
