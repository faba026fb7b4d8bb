//! What the command line of `run` changes in a pipeline. Its keys win over those of the file; what contradicts itself is refused.

use std::path::{Path, PathBuf};

use inflight_connectors::file::{FileSinkConfig, FileSourceConfig, Format};

use crate::args::RunArgs;
use crate::file::{Hosts, STANDARD};
use crate::pipeline::{Checkpoint, Cluster, Pipeline, Sink, Source, WORKERS_MAX};

/// Puts what the command line says into the pipeline.
///
/// # Errors
/// What is wrong with the command line, in one line.
pub(crate) fn change(pipeline: &mut Pipeline, args: &RunArgs) -> Result<(), String> {
    change_ends(pipeline, args)?;
    change_recovery(pipeline, args)?;
    if let Some(workers) = args.workers {
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(format!("--workers: {workers} workers cannot be; 1 to {WORKERS_MAX}"));
        }
        pipeline.workers = workers;
    }
    change_cluster(pipeline, args)?;
    if args.limit.is_some() && pipeline.cluster.is_some() {
        return Err(
            "--limit is for a single process: several would not know of each other what they have read".to_owned()
        );
    }
    Ok(())
}

/// Paths of the command line start where it was typed, not at the folder of the file. What has no name that tells its format has that of
/// the pipeline's own.
fn change_ends(pipeline: &mut Pipeline, args: &RunArgs) -> Result<(), String> {
    if let Some(path) = &args.source {
        let mut config = match &pipeline.source {
            Source::File(config) => config.clone(),
            Source::Nats(_) => FileSourceConfig { format: Some(Format::JsonLines), ..FileSourceConfig::new(path) },
            #[cfg(feature = "kafka")]
            Source::Kafka(_) => FileSourceConfig { format: Some(Format::JsonLines), ..FileSourceConfig::new(path) },
        };
        if path == Path::new(STANDARD) {
            config.format = config.format().ok();
        }
        (config.path, config.paths) = (path.clone(), Vec::new());
        pipeline.source = Source::File(config);
        pipeline.source.check().map_err(|error| format!("--source: {error}"))?;
    }
    if let Some(path) = &args.sink {
        let mut config = match &pipeline.sink {
            Sink::File(config) => config.clone(),
            _ => FileSinkConfig::new(path),
        };
        if path == Path::new(STANDARD) {
            config.format = config.format().ok();
        }
        config.path = path.clone();
        pipeline.sink = Sink::File(config);
        pipeline.sink.check().map_err(|error| format!("--sink: {error}"))?;
    }
    if pipeline.overwrites_its_source() {
        return Err("the sink would overwrite the file that the source reads".to_owned());
    }
    Ok(())
}

fn change_recovery(pipeline: &mut Pipeline, args: &RunArgs) -> Result<(), String> {
    if let Some(dir) = &args.checkpoint {
        let named = pipeline.checkpoint.take();
        pipeline.checkpoint = Some(Checkpoint { dir: dir.clone(), ..named.unwrap_or_else(|| Checkpoint::new(dir)) });
    }
    let in_vain = if args.from_scratch { Some("--from-scratch") } else { args.accept.first().map(|_| "--accept") };
    if let Some(flag) = in_vain.filter(|_| pipeline.checkpoint.is_none()) {
        return Err(format!("{flag} is about checkpoints, and there are none; name their folder with --checkpoint"));
    }
    pipeline.check_recovery().map_err(|refused| format!("{}; {}", refused.message, refused.remedy))
}

/// Whatever says which process this is, it is settled here: the hosts are a list afterwards, and the process is one of them.
fn change_cluster(pipeline: &mut Pipeline, args: &RunArgs) -> Result<(), String> {
    if let Some(path) = &args.hosts {
        let named = pipeline.cluster.take();
        let hosts = Hosts::File(PathBuf::from(path));
        pipeline.cluster = Some(Cluster { hosts: hosts.clone(), ..named.unwrap_or_else(|| Cluster::new(hosts)) });
    }
    let Some(cluster) = &mut pipeline.cluster else { return without_hosts(args) };
    let hosts = cluster.hosts()?;
    if let Some(processes) = args.processes.filter(|processes| *processes != hosts.len()) {
        let there = hosts.len();
        return Err(format!("--processes {processes}, but there are hosts for {there}; give each process a host"));
    }
    let process = args.process.or(cluster.process).or_else(|| (hosts.len() == 1).then_some(0));
    let last = hosts.len() - 1;
    match process {
        None => {
            return Err(format!("which of the processes is this? say --process, or INFLIGHT_PROCESS: 0 to {last}"));
        }
        Some(process) if process > last => {
            return Err(format!("there is no process {process} among {}; they are 0 to {last}", hosts.len()));
        }
        Some(_) => {}
    }
    (cluster.hosts, cluster.process) = (Hosts::List(hosts), process);
    pipeline.check_cluster().map_err(str::to_owned)
}

fn without_hosts(args: &RunArgs) -> Result<(), String> {
    match (args.processes, args.process) {
        (None | Some(1), None | Some(0)) => Ok(()),
        (Some(processes), _) => Err(format!("--processes {processes} needs hosts; name them with --hosts FILE")),
        (None, Some(process)) => Err(format!(
            "--process {process} (or INFLIGHT_PROCESS) is for one of several processes; name their hosts with --hosts FILE"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::file;

    /// The pipeline with these keys, changed by these arguments.
    fn changed(keys: &str, args: &[&str]) -> Result<Pipeline, String> {
        let text = format!(
            "source: {{ file: {{ path: in.csv }} }}\nsink: {{ file: {{ path: out.csv }} }}\n\
             enrich: {{ a: {{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }} }} }}\n{keys}\n"
        );
        let mut pipeline = Pipeline::check(file::parse("p.yaml", &text).unwrap()).unwrap();
        let line = ["inflight", "run", "p.yaml"].into_iter().chain(args.iter().copied());
        let Command::Run(args) = Cli::try_parse_from(line).map_err(|error| error.to_string())?.command else {
            panic!("it is no run");
        };
        change(&mut pipeline, &args).map(|()| pipeline)
    }

    const CLUSTER: &str = "cluster: { hosts: [a:1, b:1, c:1] }";

    #[test]
    fn the_command_line_wins_over_the_file() {
        let both = changed("workers: 2\ncheckpoint: { dir: x, keep: 7 }", &["--workers", "4", "--checkpoint", "y"]);
        let pipeline = both.unwrap();
        assert_eq!((pipeline.workers, pipeline.checkpoint), (4, Some(Checkpoint { keep: 7, ..Checkpoint::new("y") })));
        let only = changed("", &["--checkpoint", "y", "--accept", "enrich", "--accept", "sink"]).unwrap();
        assert_eq!((only.workers, only.checkpoint), (1, Some(Checkpoint::new("y"))));
        let of_file = changed("cluster: { hosts: [a:1, b:1], process: 1, silent_after: 3s }", &[]).unwrap();
        assert_eq!(of_file.cluster.unwrap().process, Some(1));
        let member = changed(CLUSTER, &["--process", "flights-2", "--processes", "3"]).unwrap().cluster.unwrap();
        assert_eq!((member.process, member.hosts().unwrap().len()), (Some(2), 3));
    }

    #[test]
    fn hosts_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let path = path.to_str().unwrap();
        assert!(changed("", &["--hosts", path, "--process", "0"]).unwrap_err().contains("cannot be read"));
        std::fs::write(path, "a:1\nb:1\n").unwrap();
        let cluster = changed(CLUSTER, &["--hosts", path, "--process", "1"]).unwrap().cluster.unwrap();
        assert_eq!((cluster.hosts, cluster.process), (Hosts::List(vec!["a:1".into(), "b:1".into()]), Some(1)));
        std::fs::write(path, "a:1\n").unwrap();
        assert_eq!(changed("", &["--hosts", path]).unwrap().cluster.unwrap().process, Some(0));
    }

    #[test]
    fn contradictions_are_refused() {
        for (keys, args, expected) in [
            ("", &["--workers", "0"][..], "0 workers cannot be; 1 to 64"),
            ("", &["--workers", "65"], "65 workers cannot be; 1 to 64"),
            ("", &["--processes", "3"], "--processes 3 needs hosts; name them with --hosts FILE"),
            ("", &["--process", "1"], "--process 1 (or INFLIGHT_PROCESS) is for one of several processes"),
            ("", &["--from-scratch"], "--from-scratch is about checkpoints, and there are none"),
            ("", &["--accept", "sink"], "--accept is about checkpoints, and there are none"),
            ("", &["--checkpoint", "c", "--from-scratch", "--accept", "sink"], "cannot be used with"),
            ("", &["--checkpoint", "c", "--accept", "all"], "invalid value 'all'"),
            ("", &["--checkpoint", "c", "--source", "-"], "standard input cannot be read again"),
            ("", &["--checkpoint", "out.csv"], "the folder out.csv cannot be for checkpoints: the sink is out.csv"),
            ("checkpoint: { dir: c }", &["--sink", "c/o.csv"], "the sink is c/o.csv"),
            (CLUSTER, &[], "which of the processes is this? say --process, or INFLIGHT_PROCESS: 0 to 2"),
            (CLUSTER, &["--process", "3"], "there is no process 3 among 3; they are 0 to 2"),
            (CLUSTER, &["--process", "0", "--processes", "2"], "--processes 2, but there are hosts for 3"),
            (CLUSTER, &["--process", "0", "--source", "-"], "several processes cannot read standard input"),
        ] {
            let refused = changed(keys, args).unwrap_err();
            assert!(refused.contains(expected), "{args:?}: {refused}");
        }
    }
}
