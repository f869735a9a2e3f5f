//! What a Secret that is there cannot become, which the API would only say in words of its own.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::{applies, manager, surplus_keys};
use crate::{
    api::external_secret::ExternalSecret,
    core::problem::{Problem, Reason},
};

/// Leaves a Secret the type that it has where none is asked for: it cannot be changed, and to leave it out would be to
/// take ours back.
pub fn keep_type(live: &Secret, wanted: &mut Secret) {
    if wanted.type_.is_none() {
        wanted.type_.clone_from(&live.type_);
    }
}

/// Whether the API would let a Secret become what it should be.
pub fn changeable(live: &Secret, wanted: &Secret, owner: &ExternalSecret) -> Result<(), Problem> {
    let name = live.name_any();
    let invalid = |what: String| {
        let message = format!("Secret {name} {what}: delete it, and it is created anew");
        Err(Problem::new(Reason::InvalidData, message))
    };
    if live.immutable == Some(true) {
        let same = |key: &String, value| live.data.as_ref().and_then(|data| data.get(key)) == Some(value);
        if !wanted.data.iter().flatten().all(|(key, value)| same(key, value)) {
            return invalid("is immutable, and what it should hold has changed".to_owned());
        }
        let surplus = surplus_keys(live, wanted, owner);
        if !surplus.is_empty() {
            return invalid(format!("is immutable, and these keys are not declared any more: {}", surplus.join(", ")));
        }
        if wanted.immutable != Some(true) && applies(live, &manager(owner), "immutable") {
            return invalid(
                "is immutable, which cannot be taken back, and target.immutable is not set any more".to_owned(),
            );
        }
    }
    match (&live.type_, &wanted.type_) {
        (Some(is), Some(should)) if is != should => {
            invalid(format!("has type {is}, which cannot be changed to {should}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owner(policy: &str) -> ExternalSecret {
        serde_json::from_value(json!({
            "apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": "radarr", "namespace": "media", "uid": "uid-1"},
            "spec": {"target": {"creationPolicy": policy}},
        }))
        .unwrap()
    }

    fn secret(more: &Value) -> Secret {
        let mut value = json!({"metadata": {"name": "radarr"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_immutable_says_so() {
        let ours = |fields: Value| json!([{"manager": "strongroom/radarr", "operation": "Apply", "fieldsV1": fields}]);
        let live = secret(&json!({
            "data": {"A": "YQ==", "B": "Yg=="}, "immutable": true, "type": "Opaque",
            "metadata": {"name": "radarr", "managedFields": ours(json!({"f:data": {"f:A": {}}, "f:immutable": {}}))},
        }));
        for (policy, wanted, expected) in [
            ("Owner", json!({"data": {"A": "YQ==", "B": "Yg=="}, "immutable": true}), None),
            (
                "Owner",
                json!({"data": {"A": "eA==", "B": "Yg=="}, "immutable": true}),
                Some("what it should hold has changed"),
            ),
            ("Owner", json!({"data": {"A": "YQ==", "B": "Yg==", "C": ""}, "immutable": true}), Some("has changed")),
            ("Owner", json!({"data": {"A": "YQ=="}, "immutable": true}), Some("not declared any more: B")),
            // The other key is somebody else's.
            ("Merge", json!({"data": {"A": "YQ=="}, "immutable": true}), None),
            ("Merge", json!({"data": {"B": "Yg=="}, "immutable": true}), Some("not declared any more: A")),
            ("Owner", json!({"data": {"A": "YQ==", "B": "Yg=="}}), Some("cannot be taken back")),
        ] {
            let found = changeable(&live, &secret(&wanted), &owner(policy));
            match expected {
                None => assert_eq!(found, Ok(()), "{policy} {wanted}"),
                Some(words) => {
                    let problem = found.unwrap_err();
                    assert_eq!(problem.reason, Reason::InvalidData);
                    assert!(problem.message.contains("is immutable") && problem.message.contains(words), "{problem}");
                }
            }
        }
        // Somebody else made it so.
        let theirs = secret(&json!({"data": {"A": "YQ=="}, "immutable": true}));
        assert_eq!(changeable(&theirs, &secret(&json!({"data": {"A": "YQ=="}})), &owner("Owner")), Ok(()));
    }

    #[test]
    fn a_type_stays() {
        let live = secret(&json!({"type": "kubernetes.io/tls"}));
        let mut wanted = secret(&json!({}));
        keep_type(&live, &mut wanted);
        assert_eq!(wanted.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(changeable(&live, &wanted, &owner("Owner")), Ok(()));
        let mut other = secret(&json!({"type": "Opaque"}));
        keep_type(&live, &mut other);
        let problem = changeable(&live, &other, &owner("Owner")).unwrap_err();
        assert_eq!(
            problem.message,
            "Secret radarr has type kubernetes.io/tls, which cannot be changed to Opaque: delete it, and it is created anew"
        );
    }
}
