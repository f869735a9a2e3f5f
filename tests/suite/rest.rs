//! A restic REST server: a repository that is reached over the network.

/// One in this namespace, under a Service `rest`; with the certificate of the Secret `tls`, where it has one.
pub fn server(namespace: &str, tls: bool) -> String {
    let (arguments, mount, volume) = if tls {
        (
            ", --tls, --tls-cert, /tls/tls.crt, --tls-key, /tls/tls.key",
            "{name: tls, mountPath: /tls}, ",
            "{name: tls, secret: {secretName: tls}}, ",
        )
    } else {
        ("", "", "")
    };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: rest, namespace: {namespace}}}\nspec:\n  \
         selector: {{matchLabels: {{app: rest}}}}\n  template:\n    metadata: {{labels: {{app: rest}}}}\n    \
         spec:\n      automountServiceAccountToken: false\n      terminationGracePeriodSeconds: 1\n      \
         securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n      \
         containers:\n        - name: app\n          image: localhost/strongroom-test:dev\n          \
         imagePullPolicy: Never\n          command: [/bin/rest-server, --no-auth, --path, /tmp/data, --listen, \
         ':8000'{arguments}]\n          readinessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}\n          \
         volumeMounts: [{mount}{{name: data, mountPath: /tmp}}]\n          \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}\n      \
         volumes: [{volume}{{name: data, emptyDir: {{}}}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: rest, namespace: {namespace}}}\n\
         spec: {{selector: {{app: rest}}, ports: [{{port: 8000}}]}}\n"
    )
}
