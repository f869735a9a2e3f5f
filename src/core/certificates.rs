//! Certificates of the authorities that servers are trusted by.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The key of a CA certificate's object where none is named.
pub const DEFAULT_CA_KEY: &str = "ca.crt";

/// Whether a text holds a CA certificate in PEM form, as all who read it take it: what else stands there does no harm.
pub fn holds_a_certificate(pem: &[u8]) -> bool {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    RootCertStore::empty().add_parsable_certificates(certificates).0 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_one_that_can_be_read() {
        let certified = rcgen::generate_simple_self_signed(["nas".to_owned()]).unwrap();
        let (pem, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        let cut = format!("{}\n-----END CERTIFICATE-----\n", &pem[..120]);
        for (text, expected) in [
            (pem.clone(), true),
            (format!("# the NAS's own\n{key}{pem}"), true),
            (format!("{cut}{pem}"), true),
            (pem.replace('\n', "\r\n"), true),
            (cut, false),
            (pem.replace('M', "%"), false),
            ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(), false),
            (key, false),
            (pem.replace("-----", ""), false),
            (String::new(), false),
        ] {
            assert_eq!(holds_a_certificate(text.as_bytes()), expected, "{text}");
        }
    }
}
