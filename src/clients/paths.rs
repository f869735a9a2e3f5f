//! No name that a user wrote becomes a path of the Kubernetes API that means another object.
//!
//! kube puts names into the path of a request as they are: `../../victim/secrets/loot` as the name of a `ConfigMap`
//! would read a Secret of another namespace, with the operator's permissions.

use axum::http::Request;
use kube::{Client, Config, client::ClientBuilder};
use tower::{BoxError, filter::FilterLayer};

/// Why a request was not sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a name in the request is no name of an object: it may hold letters, digits, '-', '.' and ':' only")]
pub struct NoName;

/// The client of the Kubernetes API, which sends no such request.
pub fn client(config: Config) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&FilterLayer::new(admit)).build())
}

fn admit<B>(request: Request<B>) -> Result<Request<B>, BoxError> {
    let uri = request.uri();
    let named = uri.path().split('/').skip(1).all(is_name);
    // What a name adds with '?' comes before the query that kube adds with another.
    let one_query = !uri.query().is_some_and(|query| query.contains('?'));
    if named && one_query { Ok(request) } else { Err(NoName.into()) }
}

/// Whether a segment of a path is what the API calls a path segment name, and of the characters that names consist of.
fn is_name(segment: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    !matches!(segment, "" | "." | "..") && segment.chars().all(of_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sent(uri: &str) -> bool {
        admit(Request::builder().uri(uri).body(()).expect("a URI")).is_ok()
    }

    #[test]
    fn a_name_cannot_mean_another_object() {
        for name in ["app", "a.b-c", "system:role", "kube-root-ca.crt"] {
            assert!(is_sent(&format!("https://api/api/v1/namespaces/tenant/configmaps/{name}?")), "{name}");
            assert!(is_sent(&format!("https://api/api/v1/namespaces/tenant/configmaps/{name}?&fieldManager=x")));
        }
        for name in ["../../victim/secrets/loot", "..", ".", "", "a//b", "%2e%2e", "a%2Fb", "a?watch=true", "a?x"] {
            assert!(!is_sent(&format!("https://api/api/v1/namespaces/tenant/configmaps/{name}?&x=y")), "{name}");
        }
    }

    #[test]
    fn lists_and_watches_are_sent() {
        for path in [
            "/api/v1/namespaces/tenant/secrets?&labelSelector=a%3Db",
            "/apis/strongroom.dev/v1alpha1/externalsecrets?&watch=true&timeoutSeconds=290&resourceVersion=0",
            "/version",
            "/apis",
        ] {
            assert!(is_sent(&format!("https://api{path}")), "{path}");
        }
    }
}
