//! Records that all have the same fields.

use serde_json::Value;

use crate::Record;

/// A record with these fields and nothing in them. To fill in a copy of it is cheaper than to put a record together field by field: the
/// names are not hashed again.
pub(crate) fn blank<'a>(names: impl IntoIterator<Item = &'a str>) -> Record {
    names.into_iter().map(|name| (name.to_owned(), Value::Null)).collect()
}
