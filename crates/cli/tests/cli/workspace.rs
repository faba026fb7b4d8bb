//! A folder for each test, and the program run in it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The smallest pipeline: seven lines.
pub(crate) const SEVEN_LINES: &str = "\
source: { file: { path: orders.jsonl } }
enrich:
  user:
    sqlite: { database: users.db, table: users, columns: [name, tier] }
    key: { id: .user_id }
sink: { stdout: { format: json_lines } }
";

/// A folder of its own, deleted at the end.
pub(crate) struct Workspace {
    folder: TempDir,
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The row of a look-up in the summary: name, found, missing, failed, timed out, retried, calls.
    pub(crate) fn row(&self, lookup: &str) -> Vec<&str> {
        let row = self.stderr.lines().find(|line| line.split("  ").next() == Some(lookup));
        let row = row.unwrap_or_else(|| panic!("no row of {lookup} in {self:?}"));
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).take(7).collect()
    }

    /// The records on standard output.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        json_lines(&self.stdout)
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with this pipeline in `p.yaml`.
    pub(crate) fn with(pipeline: &str) -> Self {
        let workspace = Self::new();
        workspace.write("p.yaml", pipeline);
        workspace
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    /// A connection of the test's own to a database in the folder.
    pub(crate) fn database(&self, name: &str) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path().join(name)).unwrap()
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    /// Runs the program in the folder with these environment variables.
    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
        command.args(args).current_dir(self.path()).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Users 1 to 3, of whom the third has a name that JSON cannot hold: looking it up fails.
pub(crate) const USERS: &str = "
    create table users (id integer primary key, name text, firm text);
    insert into users values (1, 'Ada', 'a'), (2, 'Bob', 'b'), (3, x'00', 'a');
    create table firms (id text primary key, city text);
    insert into firms values ('a', 'Oslo');";

impl Workspace {
    /// A folder with the users and with a pipeline from `source` to `sink` that looks them up, with these keys in its step.
    pub(crate) fn with_users(source: &str, keys: &str, sink: &str) -> Self {
        let workspace = Self::with(&format!(
            "source: {source}\nenrich:\n  user:\n    sqlite: {{ database: users.db, table: users, columns: [name] }}\n    \
             key: {{ id: .id }}\n{keys}sink: {sink}\n"
        ));
        workspace.database("users.db").execute_batch(USERS).unwrap();
        workspace
    }
}
