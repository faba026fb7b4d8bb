//! The columns that a CSV source must have: those that keys read.
//!
//! In JSON lines a field may be absent from any record, which counts as missing. A CSV file says in its header what there is, so a
//! column that is not there is a mistake, and without a word every record would be missing.

use inflight_connectors::Record;

use crate::fault::suggestion;
use crate::pipeline::Pipeline;

/// What must be in the header.
#[derive(Debug, Default)]
pub(super) struct Columns {
    source: String,
    /// The look-up, and the column that its key reads.
    needed: Vec<(String, String)>,
}

impl Columns {
    /// Those that the keys of a pipeline read; none for other sources than CSV.
    pub(super) fn needed(pipeline: &Pipeline) -> Self {
        if pipeline.replays || !pipeline.source.has_header() {
            return Self::default();
        }
        let of_a_step = |name: &String| pipeline.steps.iter().any(|step| step.name == *name);
        let needed = pipeline.steps.iter().flat_map(|step| {
            let firsts = step.key.iter().filter_map(|(_, path)| path.names().first());
            firsts.filter(|name| !of_a_step(name)).map(|name| (step.name.clone(), name.clone()))
        });
        Self { source: pipeline.source.name(), needed: needed.collect() }
    }

    #[cfg(test)]
    pub(super) fn of<const N: usize>(source: &str, needed: [(&str, &str); N]) -> Self {
        let needed = needed.map(|(step, column)| (step.to_owned(), column.to_owned()));
        Self { source: source.to_owned(), needed: needed.into() }
    }

    /// # Errors
    /// The first that this record, and so the whole file, does not have.
    pub(super) fn check(&self, record: &Record) -> Result<(), String> {
        let Some((step, column)) = self.needed.iter().find(|(_, column)| !record.contains_key(column)) else {
            return Ok(());
        };
        let there: Vec<&str> = record.keys().map(String::as_str).collect();
        let (source, hint) = (&self.source, suggestion(column, &there));
        Err(format!("{source}: there is no column `{column}`, which the key of look-up `{step}` reads; {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_that_is_not_there_is_told_with_the_one_that_was_meant() {
        let columns = Columns::of("in.csv", [("user", "id"), ("shop", "shop_id")]);
        let record = |value: serde_json::Value| value.as_object().unwrap().clone();
        assert_eq!(columns.check(&record(json!({ "id": 1, "shop_id": null }))), Ok(()));
        assert_eq!(
            columns.check(&record(json!({ "id": 1, "shopid": 2 }))).unwrap_err(),
            "in.csv: there is no column `shop_id`, which the key of look-up `shop` reads; did you mean `shopid`?"
        );
    }
}
