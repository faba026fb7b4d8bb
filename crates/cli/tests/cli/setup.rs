//! `inflight setup`: a real database from real files.

use crate::workspace::{SEVEN_LINES, Workspace};

const TABLES: &str = "\
setup:
  sqlite: { database: users.db, tables: { users: { csv: users.csv, key: [id], columns: { id: int } } } }
";

#[test]
fn a_database_is_built_once() {
    let workspace = Workspace::new();
    workspace.write("deep/p.yaml", format!("{SEVEN_LINES}{TABLES}"));
    workspace.write("deep/users.csv", "id,name,tier\n1,Ada,gold\n2,Bob,\n2,Eve,\n");
    let ran = workspace.run(&["setup", "deep/p.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let expected =
        "built deep/users.db\n  users: 3 rows, 1 of them never found because an earlier row has the same key\n";
    assert_eq!(ran.stdout, expected);
    let ran = workspace.run(&["setup", "deep/p.yaml"]);
    assert_eq!(ran.stdout, "deep/users.db is there already; `inflight setup --rebuild` builds it again\n");
    workspace.write("deep/users.csv", "id,name,tier\n1,Ada,gold\n");
    let ran = workspace.run(&["setup", "--rebuild", "deep/p.yaml"]);
    assert_eq!(ran.stdout, "built deep/users.db\n  users: 1 row\n");
}

#[test]
fn nothing_to_build() {
    let ran = Workspace::with(SEVEN_LINES).run(&["setup", "p.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "the pipeline has no `setup`: there is nothing to build\n"));
}

#[test]
fn a_missing_or_broken_table_file_leaves_no_database() {
    let workspace = Workspace::with(&format!("{SEVEN_LINES}{TABLES}"));
    let ran = workspace.run(&["setup", "p.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("users.csv"), "{ran:?}");
    workspace.write("users.csv", "id,name,tier\nx,Ada,gold\n");
    let ran = workspace.run(&["setup", "p.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("users.csv") && ran.stderr.contains("line 2"), "{ran:?}");
    assert!(!workspace.path().join("users.db").exists());
}
