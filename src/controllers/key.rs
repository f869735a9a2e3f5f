//! The key of this cluster's fingerprints: made once, and kept in a Secret in the operator's namespace.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    api::{MANAGER, annotations, labels},
    core::{fingerprint::Fingerprints, sensitive::Sensitive},
};

/// Name of the Secret.
const NAME: &str = "strongroom-fingerprints";
/// Its key.
const KEY: &str = "key";

/// The key as the cluster has it; a new one where it has none yet. With a new one every Secret is rendered once more.
/// Also whether something was taken over, which is noted there.
pub(super) async fn read(api: &Api<Secret>) -> Result<(Fingerprints, bool), kube::Error> {
    loop {
        if let Some(secret) = api.get_opt(NAME).await? {
            let taken = secret.annotations().contains_key(annotations::TAKEN_OVER);
            let key = secret.data.and_then(|mut data| data.remove(KEY));
            let key = key.filter(|key| key.0.len() >= Fingerprints::KEY_BYTES);
            return key.map(|key| (Fingerprints::new(Sensitive::from(key.0)), taken)).ok_or_else(|| {
                kube::Error::Service(
                    format!("Secret {NAME} holds no {KEY} of ours: delete it, and it is made anew").into(),
                )
            });
        }
        let mut key = vec![0; Fingerprints::KEY_BYTES];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut key).map_err(|_| kube::Error::Service("the system gives no random bytes".into()))?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), MANAGER.to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key))])),
            ..Secret::default()
        };
        match api.create(&PostParams::default(), &secret).await {
            // Another controller may have been faster: what there is then is read.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            result => drop(result?),
        }
    }
}

/// Notes whether something of External Secrets Operator's is, or was, ours.
pub(super) async fn note_taken_over(api: &Api<Secret>, taken: bool) -> Result<(), kube::Error> {
    let value = taken.then_some("true");
    let patch = json!({"metadata": {"annotations": {annotations::TAKEN_OVER: value}}});
    api.patch_metadata(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
