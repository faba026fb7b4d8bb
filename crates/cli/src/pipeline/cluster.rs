//! Several processes as needed: who they are, and which of them this one is.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use inflight_timely::cluster::{MOST_PROCESSES, MOST_WORKERS, SHORTEST_SILENCE, parse_hosts};

use super::Pipeline;
use crate::fault::Fault;
use crate::file::{self, Document, Hosts};
use crate::units::Period;

/// Worker threads of a process unless the file says otherwise.
pub const WORKERS: usize = 1;

/// Most worker threads of one process.
pub const WORKERS_MAX: usize = MOST_WORKERS;

/// Most processes of one pipeline.
pub const PROCESSES_MAX: usize = MOST_PROCESSES;

/// Time to wait for the others at the start unless the file says otherwise.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Silence after which a process is taken for dead unless the file says otherwise.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Processes that run the pipeline together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Where they listen.
    pub hosts: Hosts,
    /// Which of them this one is, if the file says it.
    pub process: Option<usize>,
    /// How long to wait for the others at the start.
    pub connect_within: Duration,
    /// How long one may be silent until it is taken for dead.
    pub silent_after: Duration,
}

impl Cluster {
    /// These hosts with everything else left to the defaults.
    pub fn new(hosts: Hosts) -> Self {
        Self { hosts, process: None, connect_within: CONNECT_WITHIN, silent_after: SILENT_AFTER }
    }

    /// What the file says, with every default filled in.
    pub(super) fn of(typed: file::Cluster, document: &Document, faults: &mut Vec<Fault>) -> Self {
        let file::Cluster { hosts, process, connect_within, silent_after } = typed;
        if let Hosts::List(list) = &hosts {
            if let Err(wrong) = check_hosts(list) {
                faults.push(document.fault(&["cluster", "hosts"], wrong));
            }
            if let Some(process) = process.filter(|process| *process >= list.len()) {
                let message = format!("there is no process {process} among {}", list.len());
                faults.push(document.fault(&["cluster", "process"], message).with_label("they are counted from 0"));
            }
        }
        if let Some(silence) = silent_after.filter(|silence| silence.0 < SHORTEST_SILENCE) {
            let fault = document.fault(&["cluster", "silent_after"], format!("a silence of {silence} is too short"));
            faults
                .push(fault.with_label(format!("at least {}: a busy machine is silent too", Period(SHORTEST_SILENCE))));
        }
        Self {
            hosts,
            process,
            connect_within: connect_within.map_or(CONNECT_WITHIN, |period| period.0),
            silent_after: silent_after.map_or(SILENT_AFTER, |period| period.0),
        }
    }

    /// Where each process listens, read from the file if they stand in one.
    ///
    /// # Errors
    /// The file cannot be read, or what stands there are no hosts, with the reason and the line.
    pub fn hosts(&self) -> Result<Vec<String>, String> {
        match &self.hosts {
            Hosts::List(list) => Ok(list.clone()),
            Hosts::File(path) => read_hosts(path),
        }
    }
}

impl Pipeline {
    /// Whether several processes can run it. Right for one that is for a single process.
    ///
    /// # Errors
    /// Why not.
    pub fn check_cluster(&self) -> Result<(), &'static str> {
        match &self.cluster {
            Some(_) if self.source.is_standard() => {
                Err("several processes cannot read standard input together; read files")
            }
            Some(_) if self.is_remembered() => Err(
                "a `group` shares the work by itself: start the program as often as you like, or add a `checkpoint`",
            ),
            _ => Ok(()),
        }
    }
}

fn read_hosts(path: &Path) -> Result<Vec<String>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("the hosts in {name} cannot be read: {error}"))?;
    let hosts = parse_hosts(&text).map_err(|wrong| format!("{name}, {wrong}"))?;
    if hosts.is_empty() { Err(format!("{name}: {NO_HOST}")) } else { Ok(hosts) }
}

const NO_HOST: &str = "there is no host; write one `host:port` for each process";

fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if hosts.is_empty() {
        return Err(NO_HOST.to_owned());
    }
    let mut seen = HashSet::new();
    if let Some(twice) = hosts.iter().find(|host| !seen.insert(*host)) {
        return Err(format!("the host {twice} is there twice; each process listens on a port of its own"));
    }
    // A list is as a file with one of them in each line, but for the lines.
    let wrong = |wrong: String| wrong.split_once(": ").map_or_else(|| wrong.clone(), |(_, wrong)| wrong.to_owned());
    let read = parse_hosts(&hosts.join("\n")).map_err(wrong)?;
    if read == hosts { Ok(()) } else { Err("a host is empty, or has a space or a `#` in it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(keys: &str) -> Result<Cluster, String> {
        let text = format!(
            "source: {{ file: {{ path: in.csv }} }}\n\
             enrich: {{ a: {{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }} }} }}\nsink: stdout\n\
             cluster: {{ {keys} }}\n"
        );
        let file = file::parse("jobs/p.yaml", &text).map_err(|faults| faults.to_string())?;
        let pipeline = Pipeline::check(file).map_err(|faults| faults.to_string())?;
        Ok(pipeline.cluster.unwrap())
    }

    #[test]
    fn hosts_are_a_list_or_stand_in_a_file_beside_the_pipeline() {
        let list = cluster("hosts: [a:7100, '[::1]:7101'], process: 1").unwrap();
        assert_eq!(list.hosts(), Ok(vec!["a:7100".to_owned(), "[::1]:7101".to_owned()]));
        assert_eq!((list.process, list.connect_within, list.silent_after), (Some(1), CONNECT_WITHIN, SILENT_AFTER));
        let file = cluster("hosts: hosts.txt, connect_within: 5s, silent_after: 1s").unwrap();
        assert_eq!(file.hosts, Hosts::File("jobs/hosts.txt".into()));
        assert_eq!((file.connect_within.as_secs(), file.silent_after.as_secs()), (5, 1));
        assert!(file.hosts().unwrap_err().starts_with("the hosts in jobs/hosts.txt cannot be read: "));
    }

    #[test]
    fn a_file_of_hosts_has_comments_and_its_mistakes_have_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.txt");
        fs::write(&path, "# of the test\na:1 # first\n\n  b:2\n").unwrap();
        assert_eq!(read_hosts(&path), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        fs::write(&path, "a:1\nb\n").unwrap();
        assert!(read_hosts(&path).unwrap_err().contains("hosts.txt, line 2: \"b\" has no port"));
        fs::write(&path, "# none\n").unwrap();
        assert!(read_hosts(&path).unwrap_err().contains("there is no host"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let many: Vec<String> = (0..=PROCESSES_MAX).map(|host| format!("h{host}:1")).collect();
        for (keys, expected) in [
            ("hosts: []".to_owned(), "there is no host"),
            ("hosts: [a]".to_owned(), "\"a\" has no port"),
            ("hosts: ['a:0']".to_owned(), "\"0\" is no port"),
            ("hosts: ['::1:7100']".to_owned(), "an IPv6 address needs brackets"),
            ("hosts: [a:1, '']".to_owned(), "a host is empty"),
            ("hosts: [a:1, a:1]".to_owned(), "a:1 is there twice"),
            ("hosts: [a:1], silent_after: 10ms".to_owned(), "at least 200ms: a busy machine"),
            ("hosts: [a:1, b:1], process: 2".to_owned(), "there is no process 2 among 2"),
            ("hosts: 5".to_owned(), "expected a list such as [a:7100, b:7100], or the path"),
            (format!("hosts: [{}]", many.join(", ")), "more than 64 processes"),
        ] {
            let refused = cluster(&keys).unwrap_err();
            assert!(refused.contains(expected), "{keys}: {refused}");
        }
    }
}
