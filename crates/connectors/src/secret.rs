//! Texts that are not for everybody.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A password, or a URL with one in it: read from a configuration, and never shown. Not by `{:?}`, and not when the
/// configuration is written out again.
///
/// ```
/// let secret: inflight_connectors::Secret = serde_json::from_str("\"hunter2\"").unwrap();
/// assert_eq!(format!("{secret:?}"), "(hidden)");
/// assert_eq!(secret.reveal(), "hunter2");
/// ```
#[derive(Clone, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who asks for the secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

const HIDDEN: &str = "(hidden)";
