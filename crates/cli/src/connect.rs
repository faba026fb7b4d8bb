//! `check --connect`: whether everything outside that a pipeline names answers.

use std::fmt;
use std::time::Duration;

use inflight_connectors::Error;

use crate::pipeline::{Lookup, Pipeline};

/// How long a look-up may take until it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// What came of asking one of the things outside. `Display` says it in one sentence, secrets hidden.
#[derive(Clone, Debug)]
pub struct Contact {
    /// `look-up `user` (postgres)`.
    what: String,
    /// How it is, or what is wrong.
    outcome: Result<&'static str, String>,
}

impl Contact {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.outcome.is_ok()
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Ok(sentence) | Err(sentence)) = self.outcome.as_ref().map(|well| *well).map_err(String::as_str);
        write!(f, "{}: {sentence}", self.what)
    }
}

/// Opens the source, each look-up, the sink and the dead letters, one after the other, and closes them again. Look-ups are asked for
/// nothing, or for what is not there; nothing is written.
///
/// # Errors
/// When it cannot be tried.
pub fn connect(pipeline: &Pipeline) -> anyhow::Result<Vec<Contact>> {
    let contact = |what: String, result: Result<&'static str, Error>| {
        let outcome = result.map_err(|error| pipeline.secrets.hide(&error.to_string()));
        Contact { what, outcome }
    };
    let mut contacts = Vec::new();
    let source = &pipeline.source;
    contacts.push(contact(format!("source ({})", source.system()), source.check_connect().map(|()| "can be read")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for step in &pipeline.steps {
        let what = format!("look-up `{}` ({})", step.name, step.lookup.system());
        let key: Vec<String> = step.key.iter().map(|(column, _)| column.clone()).collect();
        if is_yet_to_be_built(pipeline, &step.lookup) {
            contacts.push(contact(what, Ok("`setup` will build it")));
            continue;
        }
        let answered =
            runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, step.lookup.check_connect(&key)).await });
        contacts.push(match answered {
            Ok(result) => contact(what, result.map(|()| "answers")),
            Err(_) => {
                let outcome = Err(format!("does not answer within {} s", ANSWERS_WITHIN.as_secs()));
                Contact { what, outcome }
            }
        });
    }
    let sinks = [("sink", Some(&pipeline.sink)), ("dead letters", pipeline.dead_letter.as_ref())];
    for (what, sink) in sinks.into_iter().filter_map(|(what, sink)| Some((what, sink?))) {
        contacts.push(contact(format!("{what} ({})", sink.system()), sink.check_connect().map(|()| "can be written")));
    }
    Ok(contacts)
}

fn is_yet_to_be_built(pipeline: &Pipeline, lookup: &Lookup) -> bool {
    let built = pipeline.setup.as_ref().map(|setup| setup.database.as_path());
    built.is_some_and(|built| lookup.database() == Some(built) && !built.exists())
}
