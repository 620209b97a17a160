//! Whom Herald trusts: the system's certificate authorities and those of `tls.ca_file`.

use std::{error::Error, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::ProviderError;

/// The TLS settings of a client; `alpn` names the protocols that it offers (RFC 7301).
///
/// # Errors
///
/// When `ca_file` cannot be read or holds no certificate, or when nobody at all would be trusted although
/// TLS is `required`.
pub(super) fn client_config(
    provider: &'static str,
    ca_file: Option<&Path>,
    alpn: &[&[u8]],
    required: bool,
) -> Result<ClientConfig, ProviderError> {
    let problem = |problem: String| ProviderError { provider, problem };
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(provider, %error, "some of the system's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(file) = ca_file {
        let name = file.display();
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| {
                problem(format!("the certificate authorities in {name} cannot be read: {error}"))
            })?;
        if certificates.is_empty() {
            return Err(problem(format!("{name} holds no PEM certificate")));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| {
                problem(format!("{name} holds a certificate that cannot be used: {error}"))
            })?;
        }
    }
    if required && roots.is_empty() {
        return Err(problem(
            "no certificate authority is known: install the system's (ca-certificates) or set tls.ca_file"
                .into(),
        ));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The TLS error at the root of a failed connection.
pub(super) fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // `io::Error::source` leaves out the very error that it wraps.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Whether time will not mend it: the peer is not trusted, or does not speak TLS as we do.
pub(super) const fn needs_an_operator(error: &rustls::Error) -> bool {
    use rustls::Error::{InvalidCertificate, InvalidMessage, PeerIncompatible};
    matches!(error, InvalidCertificate(_) | InvalidMessage(_) | PeerIncompatible(_))
}
