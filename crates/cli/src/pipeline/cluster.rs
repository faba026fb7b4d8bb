//! Several processes as needed: who they are, and which of them this one is.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Pipeline;
use crate::fault::Fault;
use crate::file::{self, Document, Hosts, STANDARD};

/// Worker threads of a process unless the file says otherwise.
pub const WORKERS: usize = 1;

/// Most worker threads of one process: each pair of workers has queues between them.
pub const WORKERS_MAX: usize = 64;

/// Most processes of one pipeline: each pair of them has connections between them.
pub const PROCESSES_MAX: usize = 64;

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
            Some(_) if self.source.path == Path::new(STANDARD) => {
                Err("several processes cannot read standard input together; read files")
            }
            _ => Ok(()),
        }
    }
}

fn read_hosts(path: &Path) -> Result<Vec<String>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("the hosts in {name} cannot be read: {error}"))?;
    let mut hosts = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let host = text.split('#').next().unwrap_or_default().trim();
        if !host.is_empty() {
            check_host(host).map_err(|wrong| format!("{name}, line {line}: {wrong}"))?;
            hosts.push(host.to_owned());
        }
    }
    check_hosts(&hosts).map_err(|wrong| format!("{name}: {wrong}"))?;
    Ok(hosts)
}

fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if hosts.is_empty() {
        return Err("there is no host; write one `host:port` for each process".to_owned());
    }
    if hosts.len() > PROCESSES_MAX {
        return Err(format!("{} processes are too many; at most {PROCESSES_MAX}", hosts.len()));
    }
    hosts.iter().try_for_each(|host| check_host(host))?;
    let mut seen = HashSet::new();
    match hosts.iter().find(|host| !seen.insert(*host)) {
        Some(twice) => Err(format!("the host `{twice}` is there twice; each process listens on a port of its own")),
        None => Ok(()),
    }
}

/// A name or an address, and a port that is not 0.
fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_named = !name.is_empty() && !name.contains(char::is_whitespace);
    // An IPv6 address has colons of its own.
    let is_clear = !name.contains(':') || (name.starts_with('[') && name.ends_with(']'));
    match port.parse::<u16>() {
        Ok(1..) if is_named && is_clear => Ok(()),
        _ => Err(format!("`{host}` is no host; write `host:port`, such as 10.0.0.7:7100 or \"[::1]:7100\"")),
    }
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
        assert!(read_hosts(&path).unwrap_err().contains("hosts.txt, line 2: `b` is no host"));
        fs::write(&path, "# none\n").unwrap();
        assert!(read_hosts(&path).unwrap_err().contains("there is no host"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let many: Vec<String> = (0..=PROCESSES_MAX).map(|host| format!("h{host}:1")).collect();
        for (keys, expected) in [
            ("hosts: []".to_owned(), "there is no host"),
            ("hosts: [a]".to_owned(), "`a` is no host"),
            ("hosts: ['a:0']".to_owned(), "`a:0` is no host"),
            ("hosts: ['::1:7100']".to_owned(), "`::1:7100` is no host"),
            ("hosts: [a:1, a:1]".to_owned(), "`a:1` is there twice"),
            ("hosts: [a:1, b:1], process: 2".to_owned(), "there is no process 2 among 2"),
            ("hosts: 5".to_owned(), "expected a list such as [a:7100, b:7100], or the path"),
            (format!("hosts: [{}]", many.join(", ")), "65 processes are too many; at most 64"),
        ] {
            let refused = cluster(&keys).unwrap_err();
            assert!(refused.contains(expected), "{keys}: {refused}");
        }
    }
}
