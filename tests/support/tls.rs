//! Certificates for servers of tests.
//!
//! A plain module: a suite takes it with `#[path = "support/tls.rs"] mod tls;`.
#![allow(clippy::unwrap_used, dead_code, reason = "for tests; each suite uses a part")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// An authority and a server's certificate by it, all in PEM form.
pub(crate) struct Authority {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new one, for a server of that name or address.
    pub(crate) fn new(server: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([server.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { ca, certificate: leaf.pem(), key: key.serialize_pem() }
    }

    /// What the server shows.
    pub(crate) fn server(&self) -> ServerConfig {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }
}
