//! Dead letters that go through their pipeline again.

use std::path::Path;

use inflight_connectors::file::FileSourceConfig;
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{self, KafkaSourceConfig};
use inflight_connectors::nats::{self, NatsSourceConfig};

use crate::args::ReplayArgs;
use crate::change::change;
use crate::pipeline::{Pipeline, Sink, Source};

/// In place of a file: what the pipeline has written to where its dead letters go.
const OWN: &str = "dead_letter";

/// Makes of a pipeline one that reads these dead letters.
///
/// # Errors
/// What is wrong with the command line, in one line.
pub(crate) fn replay(pipeline: &mut Pipeline, args: &ReplayArgs) -> Result<(), String> {
    if args.run.source.is_some() {
        return Err("--source is for `run`: a replay reads its dead letters".to_owned());
    }
    if args.run.limit.is_some() {
        return Err(
            "--limit is for `run`: of a replay, the letters that it left out would be lost; give it a file with \
                    fewer of them"
                .to_owned(),
        );
    }
    // Those of the pipeline know of another source.
    pipeline.checkpoint = pipeline.checkpoint.take().filter(|_| args.run.checkpoint.is_some());
    pipeline.source = match &pipeline.dead_letter {
        _ if args.dead_letters != Path::new(OWN) => Source::File(FileSourceConfig::new(&args.dead_letters)),
        Some(written) => read_back(written)?,
        None => return Err(format!("the pipeline has no `{OWN}`: name a file of dead letters")),
    };
    pipeline.source.check().map_err(|error| error.to_string())?;
    pipeline.replays = true;
    if pipeline.source.has_messages() {
        // What fails again goes where it came from: nobody may look for the end there when others have written already.
        if args.run.workers.unwrap_or(1) > 1 || args.run.processes.is_some() || args.run.hosts.is_some() {
            let message = "a topic or a stream is replayed by one worker: leave out --workers, --processes and --hosts";
            return Err(message.to_owned());
        }
        (pipeline.workers, pipeline.cluster) = (1, None);
    }
    change(pipeline, &args.run)
}

/// The source of what was written to a sink, up to the end that it has when it is opened.
///
/// # Errors
/// That it is a table, and what to do.
fn read_back(written: &Sink) -> Result<Source, String> {
    let export = |command: String| {
        let what = "dead letters of a table are replayed from a file";
        Err(format!("{what}: write them to one with `{command} > letters.csv`, and replay letters.csv"))
    };
    match written {
        Sink::File(config) => {
            let (format, compression, delimiter) = (config.format, config.compression, config.delimiter);
            Ok(Source::File(FileSourceConfig { format, compression, delimiter, ..FileSourceConfig::new(&config.path) }))
        }
        #[cfg(feature = "kafka")]
        Sink::Kafka(config) => Ok(Source::Kafka(KafkaSourceConfig {
            server: config.server.clone(),
            until: Some(kafka::Until::End),
            ..KafkaSourceConfig::new("", &config.topic)
        })),
        Sink::Nats(config) => Ok(Source::Nats(NatsSourceConfig {
            server: config.server.clone(),
            subject: Some(config.subject.clone()),
            until: Some(nats::Until::End),
            ..NatsSourceConfig::new("", "")
        })),
        Sink::Postgres(config) => export(format!("psql --csv -c 'select * from {}'", config.table)),
        Sink::Sqlite(config) => {
            export(format!("sqlite3 -csv -header {} 'select * from \"{}\"'", config.database.display(), config.table))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::file;

    fn replayed(keys: &str, args: &[&str]) -> Result<Pipeline, String> {
        let text = format!(
            "source: stdin\nsink: {{ file: {{ path: out.csv }} }}\n\
             enrich: {{ a: {{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }} }} }}\n{keys}\n"
        );
        let mut pipeline = Pipeline::check(file::parse("p.yaml", &text).unwrap()).unwrap();
        let line = ["inflight", "replay"].into_iter().chain(args.iter().copied());
        let Command::Replay(args) = Cli::try_parse_from(line).map_err(|error| error.to_string())?.command else {
            panic!("it is no replay");
        };
        replay(&mut pipeline, &args).map(|()| pipeline)
    }

    #[test]
    fn checkpoints_are_those_of_the_replay_or_none() {
        let letters = "dead_letter: { file: { path: dead.jsonl } }";
        let pipeline = replayed(letters, &["dead.jsonl", "p.yaml"]).unwrap();
        assert_eq!((pipeline.source, pipeline.checkpoint), (Source::File(FileSourceConfig::new("dead.jsonl")), None));
        let own = replayed(letters, &["dead.jsonl", "p.yaml", "--checkpoint", "again"]).unwrap().checkpoint.unwrap();
        assert_eq!(own.dir, Path::new("again"));
    }

    #[test]
    fn letters_are_read_back_from_where_the_pipeline_writes_them() {
        let own = |place: &str| replayed(&format!("dead_letter: {place}"), &["dead_letter", "p.yaml"]);
        let pipeline = own("{ file: { path: dead.jsonl } }").unwrap();
        assert_eq!(pipeline.source, Source::File(FileSourceConfig::new("dead.jsonl")));
        let pipeline = own("{ nats: { url: 'nats://localhost', subject: dead.orders } }").unwrap();
        let Source::Nats(config) = &pipeline.source else { panic!("{:?}", pipeline.source) };
        assert_eq!((config.subject.as_deref(), config.until), (Some("dead.orders"), Some(nats::Until::End)));
        assert!(pipeline.replays && pipeline.workers == 1);
        for (place, expected) in [
            (
                "{ postgres: { url: 'postgres://localhost/d', table: letters } }",
                "psql --csv -c 'select * from letters' > ",
            ),
            (
                "{ sqlite: { database: d.db, table: l } }",
                "sqlite3 -csv -header d.db 'select * from \"l\"' > letters.csv",
            ),
        ] {
            let refused = own(place).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let refused = replayed("", &["dead_letter", "p.yaml"]).unwrap_err();
        assert!(refused.contains("has no `dead_letter`"), "{refused}");
        let several = ["dead_letter", "p.yaml", "--workers", "2"];
        let refused = replayed("dead_letter: { nats: { url: 'nats://a', subject: d } }", &several).unwrap_err();
        assert!(refused.contains("by one worker"), "{refused}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, expected) in [
            (&["dead.jsonl", "p.yaml", "--source", "x"][..], "--source is for `run`"),
            (&["dead.jsonl", "p.yaml", "--limit", "3"], "--limit is for `run`"),
            (&["out.csv", "p.yaml"], "the sink would overwrite the file that the source reads"),
            (&["dead.txt", "p.yaml"], "dead.txt"),
        ] {
            let refused = replayed("", args).unwrap_err();
            assert!(refused.contains(expected), "{args:?}: {refused}");
        }
    }
}
