//! The JSON Schema of pipeline files: what editors need to complete, explain and check while one types.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use crate::file::Sections;

/// The schema as JSON text. It comes from the types of [`crate::file`], whose comments become the descriptions.
///
/// # Errors
/// When the schema cannot be written as JSON, which is not known to happen.
pub fn schema() -> anyhow::Result<String> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Sections>();
    RecursiveTransform(refuse_null).transform(&mut schema);
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// A key that may be left out may not be null: the program refuses a key without a value, and so must the schema.
fn refuse_null(schema: &mut Schema) {
    let null = |value: &Value| *value == "null" || value["type"] == "null";
    for key in ["anyOf", "enum", "type"] {
        if let Some(choices) = schema.get_mut(key).and_then(Value::as_array_mut) {
            choices.retain(|choice| !null(choice) && !choice.is_null());
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}
