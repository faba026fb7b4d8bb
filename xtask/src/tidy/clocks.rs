//! Time, threads and chance come in at a few named places; everything else is told.

use super::Complaint;
use crate::source::Source;

/// What asks the machine, and the files or folders that may. The core is in none of these lists.
const SOURCES_OF_CHANCE: [(&[&str], &[&str]); 4] = [
    (
        &["Instant::now", "SystemTime", ".elapsed()"],
        &[
            "crates/inflight/src/clock.rs",
            "crates/timely/src/pipeline/deliver.rs", // when the next epoch may begin, by tokio's clock
            "crates/timely/src/cluster/",            // how long others may take
            "crates/connectors/src/kafka/",          // the same
            "crates/cli/src/run.rs",                 // when it began
            "crates/cli/src/run/",                   // latencies, for the summary
            "crates/cli/src/progress.rs",            // rates, for people
            "crates/cli/src/checkpoints.rs",         // how old they are
            "crates/sim/src/search.rs",              // how long a search took
            "crates/sim/src/recovery/search.rs",     // the same
            "crates/sim/src/recovery/clock.rs",      // tokio's clock, which stands still
            "crates/sim/src/recovery/hands.rs",      // where a worker begins
        ],
    ),
    (
        &["thread::sleep", "thread::park"],
        &[
            "crates/cli/src/progress.rs",
            "crates/cli/src/run/intake.rs", // until the readers have left
            "crates/connectors/src/kafka/", // until there is room, or the brokers answer again
            "crates/cli/src/run/outage.rs", // between attempts to open a sink
            "crates/timely/src/cluster/",
        ],
    ),
    (
        &["tokio::spawn", "spawn_blocking", "spawn_local", "thread::spawn", "thread::scope", "thread::Builder"],
        &[
            "crates/inflight/src/blocking.rs",           // its pool
            "crates/inflight/src/spawned.rs",            // is what it does
            "crates/inflight/src/stream.rs",             // the driver's task
            "crates/connectors/src/postgres/connect.rs", // a task for each connection
            "crates/connectors/src/renewed.rs",          // makes a connection, whoever gives up waiting
            "crates/cli/src/run/",                       // a thread for each source and sink
            "crates/cli/src/progress.rs",                // draws
            "crates/sim/src/search.rs",                  // all cores
            "crates/sim/src/recovery/hands.rs",          // a thread for each worker
            "crates/timely/src/cluster/",                // workers, heartbeats, callers
        ],
    ),
    (
        &["rand::", "getrandom", "RandomState", "thread_rng"],
        &["crates/connectors/src/kafka/transaction.rs"], // a name that no other process has
    ),
];

/// Each place that asks for the time, starts a thread or throws dice without being allowed to.
pub(crate) fn check(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let is_checked =
        |source: &&Source| source.path.starts_with("crates/") && source.path.contains("/src/") && !source.is_test;
    for source in sources.iter().filter(is_checked) {
        let may = |files: &[&str]| files.iter().any(|file| source.path.starts_with(file));
        for (calls, _) in SOURCES_OF_CHANCE.iter().filter(|(_, files)| !may(files)) {
            for call in *calls {
                for (at, _) in source.code.match_indices(call) {
                    let what = format!("`{call}` is not for this file (xtask/src/tidy/clocks.rs): let it be told");
                    complaints.push(Complaint::new(&source.path, source.line(at), what));
                }
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&[Source::new(path, text)]).into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn clocks_threads_and_dice_are_found_outside_their_files() {
        assert_eq!(lines("crates/core/src/queue.rs", "\nlet now = Instant::now();"), [2]);
        assert_eq!(lines("crates/inflight/src/driver.rs", "tokio::spawn(f);\nthread::sleep(d);"), [2, 1]);
        assert_eq!(lines("crates/inflight/src/clock.rs", "Instant::now()"), [0; 0]);
        assert_eq!(lines("crates/inflight/src/clock.rs", "rand::random()"), [1]);
    }

    #[test]
    fn tests_examples_and_comments_may() {
        assert_eq!(lines("crates/timely/examples/idle.rs", "Instant::now()"), [0; 0]);
        assert_eq!(lines("crates/core/src/queue.rs", "// Instant::now()\n\"Instant::now()\""), [0; 0]);
        assert_eq!(lines("crates/core/src/queue.rs", "#[cfg(test)]\nmod tests {\n    Instant::now();\n}\n"), [0; 0]);
        assert_eq!(lines("crates/core/tests/it.rs", "Instant::now()"), [0; 0]);
    }
}
