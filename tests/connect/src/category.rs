//! The categories of items and the built-in fields that each comes with.
//! Field IDs and labels are those of 1Password's own examples; in other
//! languages the labels differ and the IDs do not.

/// A built-in field of a category.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltIn {
    pub(crate) id: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) purpose: &'static str,
    pub(crate) label: &'static str,
}

const CATEGORIES: [&str; 22] = [
    "LOGIN",
    "PASSWORD",
    "API_CREDENTIAL",
    "SERVER",
    "DATABASE",
    "CREDIT_CARD",
    "MEMBERSHIP",
    "PASSPORT",
    "SOFTWARE_LICENSE",
    "OUTDOOR_LICENSE",
    "SECURE_NOTE",
    "WIRELESS_ROUTER",
    "BANK_ACCOUNT",
    "DRIVER_LICENSE",
    "IDENTITY",
    "REWARD_PROGRAM",
    "DOCUMENT",
    "EMAIL_ACCOUNT",
    "SOCIAL_SECURITY_NUMBER",
    "MEDICAL_RECORD",
    "SSH_KEY",
    "CUSTOM",
];

/// The types that a field may be written with: the published list, the `OTP`
/// that the server really uses, and those that the Go SDK defines.
const FIELD_TYPES: [&str; 17] = [
    "STRING",
    "EMAIL",
    "CONCEALED",
    "URL",
    "OTP",
    "DATE",
    "MONTH_YEAR",
    "MENU",
    "ADDRESS",
    "CREDIT_CARD_NUMBER",
    "CREDIT_CARD_TYPE",
    "GENDER",
    "PHONE",
    "REFERENCE",
    "FILE",
    "SSHKEY",
    "UNKNOWN",
];

const fn field(id: &'static str, kind: &'static str, label: &'static str) -> BuiltIn {
    BuiltIn { id, kind, purpose: "", label }
}

const fn purpose(id: &'static str, kind: &'static str, purpose: &'static str) -> BuiltIn {
    BuiltIn { id, kind, purpose, label: id }
}

const NOTES: BuiltIn = purpose("notesPlain", "STRING", "NOTES");
const USERNAME: BuiltIn = purpose("username", "STRING", "USERNAME");
const PASSWORD: BuiltIn = purpose("password", "CONCEALED", "PASSWORD");
/// In databases and servers these two have no purpose.
const PLAIN_USERNAME: BuiltIn = field("username", "STRING", "username");
const PLAIN_PASSWORD: BuiltIn = field("password", "CONCEALED", "password");

const LOGIN_FIELDS: [BuiltIn; 3] = [USERNAME, PASSWORD, NOTES];
const PASSWORD_FIELDS: [BuiltIn; 2] = [PASSWORD, NOTES];
const API_CREDENTIAL_FIELDS: [BuiltIn; 8] = [
    NOTES,
    PLAIN_USERNAME,
    field("credential", "CONCEALED", "credential"),
    field("type", "MENU", "type"),
    field("filename", "STRING", "filename"),
    field("validFrom", "DATE", "valid from"),
    field("expires", "DATE", "expires"),
    field("hostname", "STRING", "hostname"),
];
const DATABASE_FIELDS: [BuiltIn; 10] = [
    NOTES,
    field("database_type", "MENU", "type"),
    field("hostname", "STRING", "server"),
    field("port", "STRING", "port"),
    field("database", "STRING", "database"),
    PLAIN_USERNAME,
    PLAIN_PASSWORD,
    field("sid", "STRING", "SID"),
    field("alias", "STRING", "alias"),
    field("options", "STRING", "connection options"),
];
const SERVER_FIELDS: [BuiltIn; 4] = [NOTES, field("url", "STRING", "URL"), PLAIN_USERNAME, PLAIN_PASSWORD];
const SSH_KEY_FIELDS: [BuiltIn; 5] = [
    NOTES,
    field("private_key", "SSHKEY", "private key"),
    field("public_key", "STRING", "public key"),
    field("fingerprint", "STRING", "fingerprint"),
    field("key_type", "STRING", "key type"),
];
const OTHER_FIELDS: [BuiltIn; 1] = [NOTES];

/// Whether the API knows this category.
pub(crate) fn is_known(category: &str) -> bool {
    CATEGORIES.contains(&category)
}

/// Whether items of this category can be made through the API.
pub(crate) fn is_creatable(category: &str) -> bool {
    is_known(category) && !matches!(category, "CUSTOM" | "DOCUMENT")
}

/// Whether a field may be written with this type.
pub(crate) fn is_field_type(kind: &str) -> bool {
    FIELD_TYPES.contains(&kind)
}

/// The fields that every item of a category has, filled or empty.
pub(crate) fn built_in(category: &str) -> &'static [BuiltIn] {
    match category {
        "LOGIN" => &LOGIN_FIELDS,
        "PASSWORD" => &PASSWORD_FIELDS,
        "API_CREDENTIAL" => &API_CREDENTIAL_FIELDS,
        "DATABASE" => &DATABASE_FIELDS,
        "SERVER" => &SERVER_FIELDS,
        "SSH_KEY" => &SSH_KEY_FIELDS,
        _ => &OTHER_FIELDS,
    }
}
