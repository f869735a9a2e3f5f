//! Which environment variables of restic's a repository's credentials may hold.
//!
//! The list is VolSync's (so that its Secrets work as they are) without rclone and sftp, whose programs the image
//! does not have, and with restic's own knobs. What runs a command or reads a file of the pod is refused: whoever
//! writes the Secret would otherwise run code, or read files, where all backups are read.

/// What is done with a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// It is given to restic.
    Allowed(Content),
    /// It is not, for this reason.
    Refused(&'static str),
}

/// What an allowed variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A secret: redacted wherever it turns up.
    Secret,
    /// A URL, of which only user and password are secret.
    Url,
    /// The content of a file, which is secret and is given to restic as a file.
    File,
    /// Nothing secret.
    Plain,
}

use Content::{File, Plain, Secret, Url};

const ALLOWED: &[(&str, Content)] = &[
    ("RESTIC_REPOSITORY", Url),
    ("RESTIC_PASSWORD", Secret),
    ("RESTIC_COMPRESSION", Plain),
    ("RESTIC_PACK_SIZE", Plain),
    ("RESTIC_READ_CONCURRENCY", Plain),
    ("RESTIC_REST_USERNAME", Plain),
    ("RESTIC_REST_PASSWORD", Secret),
    ("AWS_ACCESS_KEY_ID", Secret),
    ("AWS_SECRET_ACCESS_KEY", Secret),
    ("AWS_SESSION_TOKEN", Secret),
    ("AWS_DEFAULT_REGION", Plain),
    ("AWS_REGION", Plain),
    ("RESTIC_AWS_ASSUME_ROLE_ARN", Plain),
    ("RESTIC_AWS_ASSUME_ROLE_SESSION_NAME", Plain),
    ("RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID", Secret),
    ("RESTIC_AWS_ASSUME_ROLE_POLICY", Plain),
    ("RESTIC_AWS_ASSUME_ROLE_REGION", Plain),
    ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", Url),
    ("ST_AUTH", Url),
    ("ST_USER", Plain),
    ("ST_KEY", Secret),
    ("OS_AUTH_URL", Url),
    ("OS_AUTH_TOKEN", Secret),
    ("OS_STORAGE_URL", Url),
    ("OS_REGION_NAME", Plain),
    ("OS_USERNAME", Plain),
    ("OS_USER_ID", Plain),
    ("OS_PASSWORD", Secret),
    ("OS_TENANT_ID", Plain),
    ("OS_TENANT_NAME", Plain),
    ("OS_USER_DOMAIN_NAME", Plain),
    ("OS_USER_DOMAIN_ID", Plain),
    ("OS_PROJECT_NAME", Plain),
    ("OS_PROJECT_DOMAIN_NAME", Plain),
    ("OS_PROJECT_DOMAIN_ID", Plain),
    ("OS_TRUST_ID", Secret),
    ("OS_APPLICATION_CREDENTIAL_ID", Plain),
    ("OS_APPLICATION_CREDENTIAL_NAME", Plain),
    ("OS_APPLICATION_CREDENTIAL_SECRET", Secret),
    ("SWIFT_DEFAULT_CONTAINER_POLICY", Plain),
    ("B2_ACCOUNT_ID", Secret),
    ("B2_ACCOUNT_KEY", Secret),
    ("AZURE_ACCOUNT_NAME", Plain),
    ("AZURE_ACCOUNT_KEY", Secret),
    ("AZURE_ACCOUNT_SAS", Secret),
    ("AZURE_ENDPOINT_SUFFIX", Plain),
    ("AZURE_TENANT_ID", Plain),
    ("AZURE_CLIENT_ID", Plain),
    ("GOOGLE_PROJECT_ID", Plain),
    ("GOOGLE_APPLICATION_CREDENTIALS", File),
    ("GOOGLE_ACCESS_TOKEN", Secret),
    ("HTTP_PROXY", Url),
    ("HTTPS_PROXY", Url),
    ("NO_PROXY", Plain),
    ("http_proxy", Url),
    ("https_proxy", Url),
    ("no_proxy", Plain),
];

const RUNS_A_COMMAND: &str = "it would run a command in the mover";
const READS_A_FILE: &str = "it would read a file of the mover's pod; give the value itself";
const NO_RCLONE: &str = "the mover's image does not have rclone";
const OTHER_FIELD: &str = "the operator decides it";

/// What is done with a variable of that name in a repository's credentials.
pub fn restic_variable(name: &str) -> Variable {
    if let Some((_, content)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) {
        return Variable::Allowed(*content);
    }
    Variable::Refused(match name {
        "RESTIC_PASSWORD_COMMAND" | "RESTIC_FROM_PASSWORD_COMMAND" => RUNS_A_COMMAND,
        "RESTIC_CACERT" => "name the certificate in the repository's field ca",
        "RESTIC_CACHE_DIR" | "RESTIC_HOST" | "RESTIC_PROGRESS_FPS" | "TMPDIR" => OTHER_FIELD,
        "AWS_PROFILE" | "RESTIC_TLS_CLIENT_CERT" => READS_A_FILE,
        _ if name.starts_with("RCLONE_") => NO_RCLONE,
        _ if name.ends_with("_FILE") => READS_A_FILE,
        _ => "it is none of the variables of restic's that are taken",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_runs_a_command_or_reads_a_file_is_taken() {
        let decisions = [
            "RESTIC_PASSWORD",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "RESTIC_PASSWORD_COMMAND",
            "RESTIC_PASSWORD_FILE",
            "RESTIC_REPOSITORY_FILE",
            "RESTIC_FROM_REPOSITORY_FILE",
            "RESTIC_CACERT",
            "RESTIC_HOST",
            "AWS_PROFILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AZURE_FEDERATED_TOKEN_FILE",
            "RCLONE_CONFIG_PASS",
            "LD_PRELOAD",
            "PATH",
            "GODEBUG",
            "restic_password",
            "",
        ]
        .map(|name| format!("{name}: {:?}", restic_variable(name)));
        insta::assert_snapshot!(decisions.join("\n"));
    }
}
