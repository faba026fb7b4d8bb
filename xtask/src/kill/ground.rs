//! Where everything takes place: the program, the data, and what an undisturbed run makes of them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::compare::Piece;
use super::databases::{Databases, POSTGRES};
use super::output::Output;
use crate::workspace::{Workspace, cargo, root};

pub(super) const MONTHS_OF_A_YEAR: usize = 12;
/// The pipeline file of each folder.
pub(super) const PIPELINE: &str = "pipeline.yaml";

const EXAMPLE: &str = "examples/flights";
/// The files that the example's pipeline names.
const SOURCE: &str = "flights-2013-01.csv.gz";
const TABLES: [&str; 4] = ["planes.csv.gz", "airports.csv.gz", "airlines.csv", "weather.csv.gz"];
const DATABASE: &str = "flights.db";
/// What is done with flights whose destination is in no table.
const DESTINATION: &str = "    key: { faa: .dest }\n";

/// The folder of all lives, and what they have in common.
pub(super) struct Ground {
    pub(super) folder: PathBuf,
    program: PathBuf,
    pub(super) databases: Databases,
    source: PathBuf,
}

/// What is written when nobody is killed.
pub(super) struct Undisturbed {
    pub(super) output: Output,
    pub(super) pieces: Vec<Piece>,
    /// Of the file that is watched.
    pub(super) length: u64,
    /// How long it took.
    pub(super) run: Duration,
}

impl Ground {
    /// Builds the program, and lays out the data.
    pub(super) fn prepare(source: Option<&Path>, times: usize) -> Result<Self, String> {
        let target = Workspace::read()?.target;
        let built = cargo().args(["build", "--release", "--package", "inflight-cli"]).status();
        if !built.map_err(|error| format!("cargo build: {error}"))?.success() {
            return Err("the program cannot be built".to_owned());
        }
        let folder = target.join("kill");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(told(&folder))?;
        }
        fs::create_dir_all(&folder).map_err(told(&folder))?;
        let source = match source {
            Some(source) => source.canonicalize().map_err(told(source))?,
            None => january(&folder, times)?,
        };
        let databases = Databases::start(&target);
        Ok(Self { program: target.join("release/inflight"), folder, databases, source })
    }

    /// The example's pipeline, from the data to this output in this folder. Behind it may follow `checkpoint` and `cluster`.
    pub(super) fn pipeline(&self, output: Output, folder: &Path) -> Result<String, String> {
        let path = root().join(EXAMPLE).join("pipeline.yaml");
        let mut text = fs::read_to_string(&path).map_err(told(&path))?;
        let mut put = |what: &str, instead: &str| {
            let is_there = text.contains(what);
            text = text.replace(what, instead);
            if is_there { Ok(()) } else { Err(format!("{}: {what:?} is not there any more", path.display())) }
        };
        put(SOURCE, &quoted(&self.source))?;
        put(DATABASE, &quoted(&self.folder.join(DATABASE)))?;
        TABLES.iter().try_for_each(|table| put(table, &quoted(&root().join(EXAMPLE).join(table))))?;
        put(DESTINATION, &format!("{DESTINATION}    on_missing: dead_letter\n"))?;
        let steps = text.split("\nsink:").next().unwrap_or_default();
        Ok(format!("{}\n{}", output.steps(steps), output.ends(folder)))
    }

    /// Runs the pipeline once, without checkpoints, in one process.
    pub(super) fn undisturbed(&self, output: Output) -> Result<Undisturbed, String> {
        let folder = self.folder.join(format!("undisturbed-{}", output.name()));
        fs::create_dir_all(&folder).map_err(told(&folder))?;
        write(&folder.join(PIPELINE), &self.pipeline(output, &folder)?)?;
        output.prepare(&folder, &self.databases)?;
        self.call(&folder, &["setup", PIPELINE])?;
        let began = Instant::now();
        self.call(&folder, &["run", PIPELINE])?;
        let run = began.elapsed();
        let pieces = output.read(&folder, &self.databases)?;
        output.clear(&folder, &self.databases)?;
        let length = fs::metadata(folder.join(output.watched())).map_err(told(&folder))?.len();
        println!("undisturbed, {}: {:.2} s", output.name(), run.as_secs_f64());
        Ok(Undisturbed { output, pieces, length, run })
    }

    /// The program, to be run in a folder.
    pub(super) fn program(&self, folder: &Path) -> Command {
        let mut program = Command::new(&self.program);
        program.current_dir(folder).stdin(Stdio::null()).envs(self.databases.url.iter().map(|url| (POSTGRES, url)));
        program
    }

    /// Runs the program to its end; what it said.
    pub(super) fn call(&self, folder: &Path, arguments: &[&str]) -> Result<String, String> {
        let output = self.program(folder).args(arguments).output().map_err(told(&self.program))?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("inflight {}: {}:\n{said}", arguments.join(" "), output.status))
    }

    /// Nothing is needed any more.
    pub(super) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The flights of January, so many times, under one header.
fn january(folder: &Path, times: usize) -> Result<PathBuf, String> {
    let packed = root().join(EXAMPLE).join(SOURCE);
    let output = Command::new("gzip").arg("-dc").arg(&packed).output().map_err(|error| format!("gzip: {error}"))?;
    let header = output.stdout.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if header == 0 {
        return Err(format!("{}: {}", packed.display(), String::from_utf8_lossy(&output.stderr)));
    }
    let path = folder.join("flights.csv");
    let mut file = fs::File::create(&path).map_err(told(&path))?;
    file.write_all(&output.stdout[..header]).map_err(told(&path))?;
    (0..times).try_for_each(|_| file.write_all(&output.stdout[header..])).map_err(told(&path))?;
    Ok(path)
}

/// As YAML has it.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(told(path))
}

/// The error, with the path.
pub(super) fn told(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
