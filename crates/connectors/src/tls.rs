//! What all encrypted connections need.

use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{Error, ErrorKind};

/// Sees to it that clients find the one cryptography library there is. Who has chosen another for the process, keeps it.
pub(crate) fn choose_cryptography() {
    let _ = ring::default_provider().install_default();
}

/// The text of a file of certificates to trust; `name` is what the configuration calls it.
pub(crate) fn certificates(name: &str, file: &Path) -> Result<Vec<u8>, Error> {
    let refuse = |problem: String| Error::new(ErrorKind::Config, format!("`{name}`: {problem}")).in_file(file);
    let text = std::fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let mut certificates = CertificateDer::pem_slice_iter(&text).peekable();
    if certificates.peek().is_none() {
        return Err(refuse("there is no certificate in it".to_owned()));
    }
    for certificate in certificates {
        certificate.map_err(|error| refuse(error.to_string()))?;
    }
    Ok(text)
}
