//! CA certificates in a Secret or ConfigMap, which stores and repository objects name.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;

use crate::{
    clients::cluster,
    controllers::{
        context::Context,
        credentials::{Place, Reads},
    },
    core::{
        certificates::{DEFAULT_CA_KEY, holds_a_certificate},
        problem::{Problem, Reason},
    },
};

/// What a mover can be given in a variable.
const MOST: usize = 100_000;

/// The certificates under a key of an object, in PEM form. `field` is what names the object, for messages. What is read
/// is noted in `reads`, also where it is not there.
///
/// Errors: `CredentialsMissing`, here and not where the server is asked, so that it clears as soon as the object is
/// corrected.
pub(crate) async fn read(
    ctx: &Context,
    place: Place,
    key: Option<&str>,
    field: &str,
    reads: &mut Reads,
) -> Result<Vec<u8>, Problem> {
    let key = key.unwrap_or(DEFAULT_CA_KEY);
    let wrong = |message: String| Problem::new(Reason::CredentialsMissing, message);
    let (version, value) = match &place {
        Place::Secret(namespace, name) => {
            let secret = cluster::get(&ctx.api::<Secret>(namespace), name).await?;
            let version = secret.as_ref().and_then(ResourceExt::resource_version);
            (version, secret.map(|secret| secret.data?.remove(key).map(|bytes| bytes.0)))
        }
        Place::ConfigMap(namespace, name) => {
            let map = cluster::get(&ctx.api::<ConfigMap>(namespace), name).await?;
            let version = map.as_ref().and_then(ResourceExt::resource_version);
            (version, map.map(|map| map.data?.remove(key).map(String::into_bytes)))
        }
    };
    reads.push((place.clone(), version));
    let value = value.ok_or_else(|| {
        wrong(format!(
            "{place} does not exist: create it with CA certificates in PEM form under {key}, or correct {field}"
        ))
    })?;
    let value = value.ok_or_else(|| {
        wrong(format!("{place} has no key {key}: put the CA certificates in PEM form there, or correct {field}"))
    })?;
    if value.len() > MOST {
        return Err(wrong(format!(
            "{place} key {key} has more than {MOST} bytes: put only the certificates of the authority there that signed the server's"
        )));
    }
    if holds_a_certificate(&value) {
        return Ok(value);
    }
    Err(wrong(format!(
        "{place} key {key} holds no CA certificate in PEM form: put one there (it begins with -----BEGIN CERTIFICATE-----), or correct {field}"
    )))
}
