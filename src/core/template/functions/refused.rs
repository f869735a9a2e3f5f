//! Functions that External Secrets Operator has and that are not here, with the reason.

/// Names, and why they are not here.
const REFUSED: &[(&[&str], &str)] = &[
    (&["env", "expandenv"], "the environment is the operator's own, and no part of a Secret"),
    (&["getHostByName"], "a rendering asks no name server: its result would change by itself"),
    (&["getSecretKey"], "a template reads no Secrets beyond those it is given: name the Secret in templateFrom"),
    (
        &[
            "buildCustomCert",
            "genCA",
            "genCAWithKey",
            "genPrivateKey",
            "genSelfSignedCert",
            "genSelfSignedCertWithKey",
            "genSignedCert",
            "genSignedCertWithKey",
        ],
        "keys and certificates are not made in templates: use cert-manager, or keep them in the item",
    ),
    (&["derivePassword"], "each call would need 32 MB of memory: keep the password in the item"),
    (
        &["encryptAES", "decryptAES"],
        "its encryption is not authenticated and its key is not derived: keep the value in the item",
    ),
    (
        &[
            "pkcs12cert",
            "pkcs12certPass",
            "pkcs12key",
            "pkcs12keyPass",
            "pemToPkcs12",
            "pemToPkcs12Pass",
            "fullPemToPkcs12",
            "fullPemToPkcs12Pass",
            "pemTruststoreToPKCS12",
            "pemTruststoreToPKCS12Pass",
        ],
        "what makes PKCS#12 rests on crates that are not finished: keep the store as a file of the item, or make it with cert-manager",
    ),
    (&["rsaDecrypt"], "there is no RSA decryption that is known to keep its key from who measures time"),
    (&["call"], "no value is a function"),
];

/// Why a function is not here, where it is one that is refused.
pub(in crate::core::template) fn why(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| *why)
}

/// The names of all functions that are refused.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().flat_map(|(names, _)| names.iter().copied())
}
