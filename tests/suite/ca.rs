//! A repository server with a certificate of a private authority, which the repository object names.

use serde_json::{Value, json};

use crate::{
    apps::nothing_left,
    support::{SOON, apply, beside_others, condition, eventually, get, kubectl, namespace, ready},
    tls::Authority,
};

const PLACE: &str = "s-ca";

/// Puts a Secret.
fn secret(namespace: &str, name: &str, data: &Value) {
    let object = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace}, "stringData": data});
    apply(&object.to_string());
}

/// A rest-server that shows the certificate of the Secret `tls`, under a Service.
fn server(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {PLACE}}}\nspec:\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec:\n      automountServiceAccountToken: false\n      terminationGracePeriodSeconds: 1\n      \
         securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n      \
         containers:\n        - name: app\n          image: localhost/strongroom-test:dev\n          \
         imagePullPolicy: Never\n          command: [/bin/rest-server, --no-auth, --path, /tmp/data, --listen, \
         ':8000', --tls, --tls-cert, /tls/tls.crt, --tls-key, /tls/tls.key]\n          \
         readinessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}\n          \
         volumeMounts: [{{name: tls, mountPath: /tls}}, {{name: data, mountPath: /tmp}}]\n          \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}\n      \
         volumes: [{{name: tls, secret: {{secretName: tls}}}}, {{name: data, emptyDir: {{}}}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {PLACE}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{port: 8000}}]}}\n"
    )
}

/// Waits until the object is not ready for this reason, with a message that says all this.
fn says(reason: &str, all: &[&str]) {
    eventually(&format!("the repository object says {all:?}"), SOON, || {
        let (status, why, message) = condition(&get("resticrepository", PLACE, "nas")?, "Ready")?;
        (status == "False" && why == reason && all.iter().all(|words| message.contains(words))).then_some(())
    });
}

#[test]
fn a_private_ca_is_read_noticed_and_trusted() {
    let _guard = beside_others();
    namespace(PLACE);
    let authority = Authority::new(&format!("rest.{PLACE}.svc"));
    secret(PLACE, "tls", &json!({"tls.crt": authority.certificate, "tls.key": authority.key}));
    secret(PLACE, "restic", &json!({"RESTIC_PASSWORD": "canary-ca"}));
    apply(&server("rest"));
    let repository = |ca: &Value| {
        let spec = json!({"url": format!("rest:https://rest.{PLACE}.svc:8000/shared"), "ca": ca,
            "credentials": {"secretRef": {"name": "restic"}}});
        let object = json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "ResticRepository",
            "metadata": {"name": "nas", "namespace": PLACE}, "spec": spec});
        apply(&object.to_string());
    };

    // What is missing is named, and noticed when it comes.
    repository(&json!({"secretName": "own-ca"}));
    says("CredentialsMissing", &["Secret s-ca/own-ca does not exist", "correct ca"]);
    secret(PLACE, "own-ca", &json!({"other": authority.ca}));
    says("CredentialsMissing", &["Secret s-ca/own-ca has no key ca.crt"]);
    secret(PLACE, "own-ca", &json!({"ca.crt": "canary-no-certificate"}));
    says("CredentialsMissing", &["Secret s-ca/own-ca key ca.crt holds no CA certificate"]);
    secret(PLACE, "own-ca", &json!({"ca.crt": Authority::new("other").ca}));
    says("RepositoryUnreachable", &["certificate signed by unknown authority"]);
    secret(PLACE, "own-ca", &json!({"ca.crt": authority.ca}));
    let message = ready("resticrepository", PLACE, "nas", "False", "BaseMissing");
    let id = message.rsplit_once("accept=").expect("it names the id").1.trim_end_matches('`').to_owned();
    let accept = format!("strongroom.dev/accept={id}");
    kubectl(&["-n", PLACE, "annotate", "resticrepository", "nas", "--overwrite", &accept]);
    ready("resticrepository", PLACE, "nas", "True", "");

    // A ConfigMap does as well, and a change of it is noticed while all goes well.
    let map = |pem: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "own-ca", "namespace": PLACE}, "data": {"root.pem": pem}});
        apply(&object.to_string());
    };
    map(&authority.ca);
    repository(&json!({"configMapName": "own-ca", "key": "root.pem"}));
    eventually("it was asked again", SOON, || {
        let object = get("resticrepository", PLACE, "nas")?;
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        (current && condition(&object, "Ready")?.0 == "True").then_some(())
    });
    map(&Authority::new("other").ca);
    says("RepositoryUnreachable", &["certificate signed by unknown authority"]);
    map(&authority.ca);
    ready("resticrepository", PLACE, "nas", "True", "");
    kubectl(&["delete", "namespace", PLACE, "--timeout=120s"]);
    nothing_left(PLACE);
}
