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
