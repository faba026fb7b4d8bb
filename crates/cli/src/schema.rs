//! The JSON Schema of pipeline files: what editors need to complete, explain and check while one types.

use crate::file::Sections;

/// The schema as JSON text. It comes from the types of [`crate::file`], whose comments become the descriptions.
///
/// # Errors
/// When the schema cannot be written as JSON, which is not known to happen.
pub fn schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(Sections);
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}
