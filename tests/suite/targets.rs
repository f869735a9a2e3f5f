//! What becomes of the Secret of an ExternalSecret while its templates, its name and time change.

use serde_json::{Value, json};

use crate::{
    declared::declare,
    secrets::{put_item, secret_value},
    support::{SOON, apply, beside_others, eventually, get, kubectl, namespace, ready, try_kubectl},
};

/// An ExternalSecret that takes the whole item named like its namespace.
fn with_target(place: &str, target: &Value) {
    declare(place, "app", &json!({"target": target, "dataFrom": [{"extract": {"key": place}}]}));
}

#[test]
fn a_one_time_password_is_the_present_one() {
    let _guard = beside_others();
    namespace("t-otp");
    put_item("t-otp", &json!({"one-time password": "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"}));
    declare(
        "t-otp",
        "app",
        &json!({"data": [{"secretKey": "CODE", "remoteRef": {"key": "t-otp", "property": "one-time password?attribute=otp"}}]}),
    );
    ready("externalsecret", "t-otp", "app", "True", "");
    let code = || secret_value("t-otp", "app", "CODE").expect("the Secret has the key");
    let first = code();
    assert!(first.len() == 6 && first.chars().all(|c| c.is_ascii_digit()), "that is no code: {first}");
    eventually("the next code follows", SOON, || (code() != first).then_some(()));
}

#[test]
fn a_template_in_a_secret_that_changes_is_rendered_again() {
    let _guard = beside_others();
    namespace("t-from");
    put_item("t-from", &json!({"KEY": "value"}));
    let source = |text: &str| {
        apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: source, namespace: t-from}}\n\
             stringData: {{config: '{text}'}}\n"
        ));
    };
    source("one {{ .KEY }}");
    let from = json!({"templateFrom": [{"secret": {"name": "source", "items": [{"key": "config"}]}}]});
    with_target("t-from", &json!({"template": from}));
    ready("externalsecret", "t-from", "app", "True", "");
    assert_eq!(secret_value("t-from", "app", "config").as_deref(), Some("one value"));
    source("two {{ .KEY }}");
    eventually("the Secret follows its template", SOON, || {
        (secret_value("t-from", "app", "config")? == "two value").then_some(())
    });
}

#[test]
fn a_secret_gets_the_finalizers_of_the_template() {
    let _guard = beside_others();
    namespace("t-final");
    put_item("t-final", &json!({"KEY": "value"}));
    with_target("t-final", &json!({"template": {"metadata": {"finalizers": ["strongroom.test/keep"]}}}));
    ready("externalsecret", "t-final", "app", "True", "");
    let finalizers = || get("secret", "t-final", "app").map(|secret| secret["metadata"]["finalizers"].clone());
    assert_eq!(finalizers(), Some(json!(["strongroom.test/keep"])));
    // Without the declaration it goes, so that the Secret can be deleted.
    with_target("t-final", &json!({"template": {}}));
    eventually("the finalizer is taken back", SOON, || finalizers()?.is_null().then_some(()));
}

#[test]
fn under_another_name_the_old_secret_goes_unless_it_is_an_orphan() {
    let _guard = beside_others();
    for (place, policy, stays) in [("t-owner", "Owner", false), ("t-orphan", "Orphan", true)] {
        namespace(place);
        put_item(place, &json!({"KEY": "value"}));
        let named = |name: &str| with_target(place, &json!({"name": name, "creationPolicy": policy}));
        named("old");
        ready("externalsecret", place, "app", "True", "");
        assert_eq!(secret_value(place, "old", "KEY").as_deref(), Some("value"));
        named("new");
        eventually("the Secret has its new name", SOON, || {
            let object = get("externalsecret", place, "app")?;
            (object["status"]["binding"]["name"] == "new" && secret_value(place, "new", "KEY").is_some()).then_some(())
        });
        if stays {
            assert_eq!(secret_value(place, "old", "KEY").as_deref(), Some("value"), "{policy}");
        } else {
            eventually("the old one goes", SOON, || get("secret", place, "old").is_none().then_some(()));
        }
    }
}

#[test]
fn chance_changes_nothing_when_a_sync_is_asked_for() {
    let _guard = beside_others();
    namespace("t-still");
    put_item("t-still", &json!({"USER": "me", "PASS": "hunter2"}));
    let data = json!({"ENTRY": "{{ htpasswd .USER .PASS }}", "DRAWN": "{{ randAlphaNum 8 }}"});
    with_target("t-still", &json!({"template": {"data": data}}));
    ready("externalsecret", "t-still", "app", "True", "");
    let version = || get("secret", "t-still", "app").map(|secret| secret["metadata"]["resourceVersion"].clone());
    let first = version().expect("the Secret is there");
    for look in 0..5 {
        let wish = format!("force-sync=look-{look}");
        kubectl(&["-n", "t-still", "annotate", "externalsecret", "app", "--overwrite", &wish]);
        eventually("the sync was done", SOON, || {
            let handled = get("externalsecret", "t-still", "app")?["status"]["lastHandledForceAt"].clone();
            (handled == format!("look-{look}")).then_some(())
        });
        assert_eq!(version().as_ref(), Some(&first), "look {look} wrote the Secret");
    }
}

#[test]
fn what_an_admission_policy_refuses_is_tried_again() {
    let _guard = beside_others();
    let place = "t-admission";
    namespace(place);
    put_item(place, &json!({"KEY": "canary-admission-1"}));
    let kind = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy";
    let of_place = format!("{{matchLabels: {{kubernetes.io/metadata.name: {place}}}}}");
    let policy = format!(
        "{kind}\nmetadata: {{name: {place}}}\nspec:\n  failurePolicy: Fail\n  matchConstraints: {{resourceRules: \
         [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [secrets]}}]}}\n  \
         validations: [{{expression: 'false', message: not today}}]\n---\n{kind}Binding\nmetadata: {{name: {place}}}\n\
         spec: {{policyName: {place}, validationActions: [Deny], matchResources: {{namespaceSelector: {of_place}}}}}\n"
    );
    apply(&policy);
    eventually("the policy is in force", SOON, || {
        let probe = ["-n", place, "create", "secret", "generic", "probe", "--dry-run=server"];
        try_kubectl(&probe, None).is_err_and(|error| error.contains("not today")).then_some(())
    });
    with_target(place, &json!({}));
    let message = ready("externalsecret", place, "app", "False", "ClusterError");
    assert!(message.contains("an admission policy of the cluster refuses Secret app"), "{message}");
    let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    kubectl(&["delete", kinds, place]);
    ready("externalsecret", place, "app", "True", "Synced");
}
