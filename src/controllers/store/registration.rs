//! What a store wants of its server: its token and its certificates, read where they are.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::AnyStore;
use crate::{
    api::store::{CaProvider, CaProviderType, DEFAULT_POLL_INTERVAL, OnePassword, StoreSpec},
    clients::cluster,
    controllers::{
        certificates,
        connect::{Place as Origin, Registration},
        context::Context,
        credentials::{Place, Reads},
    },
    core::{
        problem::{Problem, Reason},
        sensitive::Sensitive,
        store::{DEFAULT_TOKEN_KEY, ca_bundle, order, token_expiry},
    },
};

/// The shortest interval at which a server is asked for changes.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What a store wants of the hub. What is read for that is noted in `reads`, also where it is not there.
pub(super) async fn registration<K: AnyStore>(
    object: &K,
    spec: &StoreSpec,
    ctx: &Context,
    reads: &mut Reads,
) -> Result<Registration, Problem> {
    let provider = &spec.provider.onepassword;
    let reference = &provider.auth.secret_ref.connect_token_secret_ref;
    let namespace = namespace_of(object, reference.namespace.as_deref(), "connectTokenSecretRef")?;
    let name = reference.key.as_deref().unwrap_or(DEFAULT_TOKEN_KEY);
    let place = format!("Secret {namespace}/{} key {name}", reference.name);
    let missing = |what: &str| {
        let message = format!("{place} with the Connect token {what}: create it, or correct connectTokenSecretRef");
        Problem::new(Reason::TokenMissing, message)
    };
    let secret = cluster::get(&ctx.api::<Secret>(&namespace), &reference.name).await?;
    reads.push((
        Place::Secret(namespace.clone(), reference.name.clone()),
        secret.as_ref().and_then(ResourceExt::resource_version),
    ));
    let secret = secret.ok_or_else(|| missing("does not exist"))?;
    let token = secret.data.unwrap_or_default().remove(name).ok_or_else(|| missing("does not exist"))?;
    let token = Sensitive::from(token.0);
    if token.expose().trim_ascii().is_empty() {
        return Err(missing("is empty"));
    }
    let expires_at = token.expose_str().map(str::trim).and_then(token_expiry);
    Ok(Registration {
        host: provider.connect_host.clone(),
        ca: ca(object, provider, ctx, reads).await?,
        order: order(spec),
        interval: provider.poll_interval.unwrap_or(DEFAULT_POLL_INTERVAL).as_std().max(MIN_INTERVAL),
        place: Origin { url: without_credentials(&provider.connect_host), token: place, expires_at },
        token,
    })
}

/// The namespace of a reference: the store's own, or the one that a cluster-wide store names.
fn namespace_of<K: AnyStore>(object: &K, named: Option<&str>, field: &str) -> Result<String, Problem> {
    object.namespace().or_else(|| named.map(str::to_owned)).ok_or_else(|| {
        let message = format!("{field}.namespace is missing: a ClusterSecretStore has no namespace of its own");
        Problem::new(Reason::InvalidSpec, message)
    })
}

async fn ca<K: AnyStore>(
    object: &K,
    provider: &OnePassword,
    ctx: &Context,
    reads: &mut Reads,
) -> Result<Option<Vec<u8>>, Problem> {
    match (&provider.ca_bundle, &provider.ca_provider) {
        (Some(text), _) => ca_bundle(text).map(Some),
        (None, Some(reference)) => provided_ca(object, reference, ctx, reads).await.map(Some),
        (None, None) => Ok(None),
    }
}

async fn provided_ca<K: AnyStore>(
    object: &K,
    reference: &CaProvider,
    ctx: &Context,
    reads: &mut Reads,
) -> Result<Vec<u8>, Problem> {
    let namespace = namespace_of(object, reference.namespace.as_deref(), "caProvider")?;
    let name = reference.name.clone();
    let place = match reference.type_ {
        CaProviderType::Secret => Place::Secret(namespace, name),
        CaProviderType::ConfigMap => Place::ConfigMap(namespace, name),
    };
    certificates::read(ctx, place, reference.key.as_deref(), "caProvider", reads).await
}

/// A URL without user name and password, for messages.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.trim_end_matches('/').split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_messages_has_no_credentials() {
        for (url, expected) in [
            ("http://connect:8080/", "http://connect:8080"),
            ("http://u:p@connect/x", "http://connect/x"),
            ("http://u:p@x@connect", "http://connect"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
