//! The databases that are written to: their tables, made and read with their own tools.

use std::path::Path;
use std::process::Command;

use crate::servers::Servers;

/// Where tests find a server of PostgreSQL; the pipelines name it too.
pub(super) const POSTGRES: &str = "INFLIGHT_TEST_POSTGRES";

/// The columns of a flight with what was looked up for it.
const COLUMNS: &str = "year bigint, month bigint, day bigint, dep_time bigint, sched_dep_time bigint, dep_delay bigint, \
    arr_time bigint, sched_arr_time bigint, arr_delay bigint, carrier text, flight bigint, tailnum text, origin text, \
    dest text, air_time bigint, distance bigint, hour bigint, minute bigint, time_hour text, plane jsonb, \
    destination jsonb, airline jsonb, weather jsonb";

/// Writes a table as JSON lines, in the order its rows came.
const DUMP: &str = "\
import json, sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute('select * from ' + sys.argv[2] + ' order by rowid'):
    print(json.dumps(row))
";

/// What there is on this machine.
pub(super) struct Databases {
    pub(super) has_sqlite: bool,
    /// Of PostgreSQL.
    pub(super) url: Option<String>,
    /// Why something is not there.
    pub(super) missing: Vec<String>,
    /// They stop with this.
    _servers: Option<Servers>,
}

impl Databases {
    /// PostgreSQL is the one that the environment names, or started.
    pub(super) fn start(target: &Path) -> Self {
        let named = std::env::var(POSTGRES).ok();
        let servers = if named.is_none() { Some(Servers::start(target)) } else { None };
        let started =
            |servers: &Servers| servers.variables().find(|(name, _)| *name == POSTGRES).map(|(_, url)| url.to_owned());
        let url = named.or_else(|| servers.as_ref().and_then(started));
        let can = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        let has_sqlite = can("python3", &["-c", "import sqlite3"]);
        let url = url.filter(|_| can("psql", &["--version"]));
        let lacking =
            [(has_sqlite, "python3, which reads tables of SQLite"), (url.is_some(), "PostgreSQL, or its psql")];
        let missing = lacking.iter().filter(|(is_there, _)| !is_there).map(|(_, what)| format!("{what}, is missing"));
        Self { has_sqlite, missing: missing.collect(), url, _servers: servers }
    }

    /// Makes an empty table of flights, and forgets what is known of earlier ones.
    pub(super) fn create(&self, table: &str) -> Result<(), String> {
        self.psql(&format!("drop table if exists {table}, inflight_epochs; create table {table} ({COLUMNS})")).map(drop)
    }

    /// The rows of a table, in no order.
    pub(super) fn rows(&self, table: &str) -> Result<Vec<u8>, String> {
        self.psql(&format!("select row_to_json(whole) from {table} whole"))
    }

    pub(super) fn remove(&self, table: &str) -> Result<(), String> {
        self.psql(&format!("drop table {table}")).map(drop)
    }

    fn psql(&self, statements: &str) -> Result<Vec<u8>, String> {
        let url = self.url.as_deref().ok_or("there is no PostgreSQL")?;
        let options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"];
        called(Command::new("psql").args(options).args(["--command", statements, url]))
    }
}

/// The rows of a table of an SQLite database, in the order they were written.
pub(super) fn sqlite_rows(database: &Path, table: &str) -> Result<Vec<u8>, String> {
    called(Command::new("python3").args(["-c", DUMP]).arg(database).arg(table))
}

/// What it wrote.
fn called(command: &mut Command) -> Result<Vec<u8>, String> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{program}: {}", words.trim())) }
}
