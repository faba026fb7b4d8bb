//! Who is there: processes, their addresses, their workers.

use std::time::Duration;

use super::error::ClusterError;
use super::hello::LONGEST_GREETING;

/// Most worker threads of a process: each pair of workers has queues between them.
pub const MOST_WORKERS: usize = 64;
/// Most processes: each pair of them has connections and threads of its own.
pub const MOST_PROCESSES: usize = 64;
/// Shortest [`Layout::silent_after`]: a busy machine is silent for a moment too.
pub const SHORTEST_SILENCE: Duration = Duration::from_millis(200);

/// The processes of a cluster, and which of them this one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Worker threads of each process, 1 to [`MOST_WORKERS`]. Default: 1.
    pub workers: usize,
    /// Which process this is, from 0. Default: 0.
    pub process: usize,
    /// `host:port` of each process, at most [`MOST_PROCESSES`]; none or one: there is only this process. Default: none.
    pub hosts: Vec<String>,
    /// How long to wait for the others at the start. Default: 30 s.
    pub connect_within: Duration,
    /// How long a process may be silent until it is taken for dead, at least [`SHORTEST_SILENCE`]. Default: 10 s.
    pub silent_after: Duration,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            workers: 1,
            process: 0,
            hosts: Vec::new(),
            connect_within: Duration::from_secs(30),
            silent_after: Duration::from_secs(10),
        }
    }
}

impl Layout {
    /// How many processes there are, at least 1.
    pub fn processes(&self) -> usize {
        self.hosts.len().max(1)
    }

    pub(super) fn check(&self, greeting: &str) -> Result<(), ClusterError> {
        let Self { workers, process, hosts, connect_within, silent_after } = self;
        let processes = self.processes();
        let refuse = |what: String| Err(ClusterError::Layout(what));
        if !(1..=MOST_WORKERS).contains(workers) {
            return refuse(format!("{workers} workers in a process: 1 to {MOST_WORKERS} are possible"));
        }
        if processes > MOST_PROCESSES {
            return refuse(format!("{processes} processes: at most {MOST_PROCESSES} are possible"));
        }
        if *process >= processes {
            return refuse(format!("there is no process {process} among {processes}: they are counted from 0"));
        }
        if *silent_after < SHORTEST_SILENCE {
            return refuse(format!("silent_after is {silent_after:?}: at least {SHORTEST_SILENCE:?} are needed"));
        }
        if connect_within.is_zero() {
            return refuse("connect_within is 0: the others need some time to appear".to_owned());
        }
        if greeting.len() > LONGEST_GREETING {
            return refuse(format!("a greeting of {} bytes: at most {LONGEST_GREETING} go", greeting.len()));
        }
        for (index, host) in hosts.iter().enumerate() {
            check_host(host).map_err(|why| ClusterError::Layout(format!("process {index}: {why}")))?;
            if let Some(other) = hosts[..index].iter().position(|other| other == host) {
                return refuse(format!("processes {other} and {index} have the same address, {host}"));
            }
        }
        Ok(())
    }
}

/// Reads a hosts file: `host:port` of one process in each line, beginning with process 0; `#` begins a comment, empty lines do not count.
///
/// ```
/// use inflight_timely::cluster::parse_hosts;
///
/// let hosts = parse_hosts("# two machines\nnode-0:7100\n10.0.0.2:7100 # the old one\n");
/// assert_eq!(hosts, Ok(vec!["node-0:7100".to_owned(), "10.0.0.2:7100".to_owned()]));
/// assert_eq!(parse_hosts("node-0"), Err("line 1: \"node-0\" has no port: host:port is needed".to_owned()));
/// ```
///
/// # Errors
/// A line that is no `host:port`, one that is there twice, or more than [`MOST_PROCESSES`], with the number of the line.
pub fn parse_hosts(text: &str) -> Result<Vec<String>, String> {
    let mut hosts: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let host = line.split('#').next().unwrap_or_default().trim();
        if host.is_empty() {
            continue;
        }
        check_host(host).map_err(|why| format!("line {number}: {why}"))?;
        if let Some((first, _)) = hosts.iter().find(|(_, other)| other == host) {
            return Err(format!("line {number}: {host} is in line {first} already"));
        }
        if hosts.len() == MOST_PROCESSES {
            return Err(format!("line {number}: more than {MOST_PROCESSES} processes"));
        }
        hosts.push((number, host.to_owned()));
    }
    Ok(hosts.into_iter().map(|(_, host)| host).collect())
}

fn check_host(host: &str) -> Result<(), String> {
    let Some((name, port)) = host.rsplit_once(':') else {
        return Err(format!("{host:?} has no port: host:port is needed"));
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("{host:?} has no host before its port: host:port is needed"));
    }
    if name.contains(':') && !(name.starts_with('[') && name.ends_with(']')) {
        return Err(format!("{host:?}: an IPv6 address needs brackets, as in [::1]:7100"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(format!("{host:?}: {port:?} is no port, which is a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_comments() {
        assert_eq!(parse_hosts("\n# all\n a:1 \n\n[::1]:2# here\n"), Ok(vec!["a:1".to_owned(), "[::1]:2".to_owned()]));
        assert_eq!(parse_hosts(""), Ok(Vec::new()));
    }

    #[test]
    fn errors_say_the_line() {
        for (text, error) in [
            ("a:1\nb", "line 2: \"b\" has no port: host:port is needed"),
            ("a:1\n\n:7", "line 3: \":7\" has no host before its port: host:port is needed"),
            ("a b:7", "line 1: \"a b:7\" has no host before its port: host:port is needed"),
            ("a:0", "line 1: \"a:0\": \"0\" is no port, which is a number from 1 to 65535"),
            ("a:70000", "line 1: \"a:70000\": \"70000\" is no port, which is a number from 1 to 65535"),
            ("::1:7", "line 1: \"::1:7\": an IPv6 address needs brackets, as in [::1]:7100"),
            ("a:1\nb:1\na:1", "line 3: a:1 is in line 1 already"),
        ] {
            assert_eq!(parse_hosts(text), Err(error.to_owned()), "{text:?}");
        }
        let many: String = (1..100).map(|port| format!("a:{port}\n")).collect();
        assert_eq!(parse_hosts(&many), Err("line 65: more than 64 processes".to_owned()));
    }

    #[test]
    fn layouts_that_make_no_sense_are_refused() {
        let hosts = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let good = Layout { hosts: hosts(&["a:1", "b:1"]), process: 1, ..Layout::default() };
        assert_eq!(good.check(""), Ok(()));
        assert_eq!(Layout::default().check(""), Ok(()));
        let second = Duration::from_secs(1);
        for (bad, word) in [
            (Layout { workers: 0, ..good.clone() }, "0 workers"),
            (Layout { workers: 65, ..good.clone() }, "65 workers"),
            (Layout { process: 2, ..good.clone() }, "no process 2 among 2"),
            (Layout { process: 1, hosts: Vec::new(), ..good.clone() }, "no process 1 among 1"),
            (Layout { hosts: hosts(&["a:1", "b"]), ..good.clone() }, "process 1: \"b\" has no port"),
            (Layout { hosts: hosts(&["a:1", "a:1"]), ..good.clone() }, "processes 0 and 1 have the same address"),
            (Layout { silent_after: second / 100, ..good.clone() }, "silent_after is 10ms"),
            (Layout { connect_within: Duration::ZERO, ..good.clone() }, "connect_within is 0"),
        ] {
            let error = bad.check("").expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(good.check(&"x".repeat(LONGEST_GREETING + 1)).is_err());
    }
}
