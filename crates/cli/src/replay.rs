//! Dead letters that go through their pipeline again.

use inflight_connectors::file::FileSourceConfig;

use crate::args::ReplayArgs;
use crate::change::change;
use crate::pipeline::{Pipeline, Source};

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
    pipeline.source = Source::File(FileSourceConfig::new(&args.dead_letters));
    pipeline.source.check().map_err(|error| error.to_string())?;
    pipeline.replays = true;
    change(pipeline, &args.run)
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
