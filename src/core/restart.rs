//! Which workloads use a Secret, and what has their pods replaced when its data changes.

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde_json::{Value, json};

use crate::{api::annotations, core::names};

/// The annotation of a pod template that tells for which data of a Secret the pods were started.
pub fn annotation(secret: &str) -> String {
    format!("{}{}", annotations::SECRET, names::label(secret))
}

/// The change of a workload that replaces its pods; nothing where they do not use the Secret, or were started for this
/// data already.
pub fn patch(template: &PodTemplateSpec, secret: &str, data: &str) -> Option<Value> {
    let name = annotation(secret);
    let now = template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref()?.get(&name));
    if now.is_some_and(|now| now == data) || !template.spec.as_ref().is_some_and(|spec| uses(spec, secret)) {
        return None;
    }
    Some(json!({"spec": {"template": {"metadata": {"annotations": {name: data}}}}}))
}

/// Whether pods take something from a Secret: as variables or as files.
fn uses(spec: &PodSpec, secret: &str) -> bool {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut volumes = spec.volumes.iter().flatten();
    containers.into_iter().any(|container| is_in_variables(container, secret))
        || volumes.any(|volume| {
            let whole = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
            let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            let mut parts = projected.filter_map(|source| source.secret.as_ref());
            whole == Some(secret) || parts.any(|part| part.name == secret)
        })
}

fn is_in_variables(container: &Container, secret: &str) -> bool {
    let mut all = container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref());
    let one =
        container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    all.any(|from| from.name == secret) || one.into_iter().any(|key| key.name == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_pods_that_use_the_secret_once_for_each_data() {
        let container = |more: Value| {
            let mut one = json!({"name": "app"});
            one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"containers": [one]})
        };
        let volume = |volume: Value| json!({"containers": [], "volumes": [volume]});
        for (spec, expected) in [
            (container(json!({"envFrom": [{"secretRef": {"name": "radarr"}}]})), true),
            (container(json!({"envFrom": [{"configMapRef": {"name": "radarr"}}]})), false),
            (
                container(
                    json!({"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "radarr", "key": "k"}}}]}),
                ),
                true,
            ),
            (
                container(
                    json!({"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}),
                ),
                false,
            ),
            (
                json!({"containers": [], "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "radarr"}}]}]}),
                true,
            ),
            (volume(json!({"name": "v", "secret": {"secretName": "radarr"}})), true),
            (volume(json!({"name": "v", "projected": {"sources": [{"secret": {"name": "radarr"}}]}})), true),
            (volume(json!({"name": "radarr", "configMap": {"name": "radarr"}})), false),
        ] {
            let template = |annotations: Value| {
                serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).unwrap()
            };
            let found = patch(&template(json!({})), "radarr", "data-1");
            assert_eq!(found.is_some(), expected, "{spec}");
            let again = json!({"secret.strongroom.dev/radarr": "data-1"});
            assert_eq!(patch(&template(again), "radarr", "data-1"), None);
            let changed = json!({"secret.strongroom.dev/radarr": "data-0"});
            assert_eq!(patch(&template(changed), "radarr", "data-1").is_some(), expected, "{spec}");
        }
        assert!(annotation(&"x".repeat(253)).len() <= "secret.strongroom.dev/".len() + 63);
    }
}
