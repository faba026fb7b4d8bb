//! Whether databases are spoken to in secret.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// Whether a connection is encrypted, and whether the server must prove who it is; the words are those of PostgreSQL.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can do it; its certificate is not checked.
    Prefer,
    /// Encrypted; the certificate is not checked, so somebody in between can pretend to be the server.
    Require,
    /// Encrypted, with a certificate of that host signed by one of `sslrootcert`.
    VerifyFull,
}

impl SslMode {
    /// Whether it fits the file of certificates to trust.
    pub(crate) fn check(mode: Option<Self>, root: Option<&Path>) -> Result<(), Error> {
        let problem = match (mode, root) {
            (Some(Self::VerifyFull), None) => {
                "`sslmode: verify-full` needs `sslrootcert`, a file of certificates to trust"
            }
            (mode, Some(_)) if mode != Some(Self::VerifyFull) => {
                "`sslrootcert` is only looked at with `sslmode: verify-full`; set that, or remove it"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}
