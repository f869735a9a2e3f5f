//! What went wrong, in one line with what to do.

use std::{error::Error, io};

use kube::core::Status;

use crate::core::table::plain;

/// Why a command could not do its work, for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This is wrong.
    #[error("{0}")]
    Message(String),
    /// The output cannot be written. Nobody reads on: not worth a word.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// A failure, in one line.
    pub(super) fn new(message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::Message(plain(&message.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// What the cluster at `server` answered, when it was asked to do this.
    pub(super) fn of_cluster(action: &str, server: &str, error: &kube::Error) -> Self {
        Self::new(match error {
            kube::Error::Api(status) => refused(action, status),
            kube::Error::Auth(error) => format!("cannot log in to the cluster at {server}: {}", innermost(error)),
            kube::Error::Service(_) | kube::Error::HyperError(_) => format!(
                "cannot reach the cluster at {server}: {}; is it up, and is it the right one (--context, --kubeconfig)?",
                innermost(error)
            ),
            other => format!("cannot {action}: {}", innermost(other)),
        })
    }
}

fn refused(action: &str, status: &Status) -> String {
    let message = &status.message;
    match status.code {
        401 => format!("the cluster does not know you ({message}): log in again, or choose another --context"),
        403 => format!("access is denied: {message}; ask for a role that may do it, or choose another namespace (-n)"),
        // No object is missing but the kind.
        404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => format!(
            "cannot {action}: the cluster does not know the kind; install Strongroom with its definitions (crds/), or \
             choose another --context"
        ),
        _ => format!("cannot {action}: {message}"),
    }
}

/// The first cause: what is around it only repeats that a request failed.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: u16, message: &str, name: Option<&str>) -> String {
        let details = name.map(|name| json!({"name": name, "kind": "volumebackups"}));
        let status = json!({"status": "Failure", "message": message, "reason": "", "code": code, "details": details});
        let status: Status = serde_json::from_value(status).unwrap();
        Failure::of_cluster("list VolumeBackups", "https://k8s:6443/", &kube::Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn what_the_cluster_answers_is_one_line_with_what_to_do() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused");
        let service = kube::Error::Service(Box::new(refused));
        insta::assert_debug_snapshot!([
            said(401, "Unauthorized", None),
            said(403, "volumebackups.strongroom.dev is forbidden: User \"me\" cannot list resource", Some("")),
            said(404, "the server could not find the requested resource", None),
            said(404, "volumebackups.strongroom.dev \"radarr\" not found", Some("radarr")),
            said(500, "etcd:\nno leader", None),
            Failure::of_cluster("list VolumeBackups", "https://k8s:6443/", &service).to_string(),
        ]);
    }
}
