//! The ExternalSecrets of a store that changes hands.

use serde_json::{Value, json};

use crate::eso;

/// The store that changes hands, and one that stays with External Secrets Operator.
pub(crate) const STORE: &str = "takeover";
pub(crate) const THEIRS: &str = "takeover-theirs";
pub(crate) const PLACES: [&str; 2] = ["takeover-a", "takeover-b"];
/// How many ExternalSecrets each namespace has.
const EACH: usize = 20;
/// An ExternalSecret that refers to both stores.
pub(crate) const BOTH: &str = "half-and-half";

/// An ExternalSecret of External Secrets Operator.
pub(crate) struct App {
    pub(crate) place: &'static str,
    pub(crate) name: String,
    spec: Value,
}

impl App {
    pub(crate) fn new(place: &'static str, name: &str, mut spec: Value) -> Self {
        spec["refreshInterval"] = "10s".into();
        spec["secretStoreRef"] = reference(STORE);
        if spec["target"]["creationPolicy"] == "Merge" {
            spec["target"]["name"] = format!("shared-{name}").into();
        }
        Self { place, name: name.to_owned(), spec }
    }

    pub(crate) fn object(&self) -> Value {
        json!({"apiVersion": eso::VERSION, "kind": "ExternalSecret",
            "metadata": {"name": self.name, "namespace": self.place}, "spec": self.spec})
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.place, self.name)
    }

    pub(crate) fn target(&self) -> &str {
        self.spec["target"]["name"].as_str().unwrap_or(&self.name)
    }

    /// Its Secret.
    pub(crate) fn secret(&self) -> String {
        format!("{}/{}", self.place, self.target())
    }

    pub(crate) fn merges(&self) -> bool {
        self.target() != self.name
    }

    /// The Secret that is there before it.
    pub(crate) fn before(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.target(), "namespace": self.place},
            "stringData": {"FOREIGN": "foreign"}})
    }
}

/// Both stores, and the token that they read with. Both read the same: a look at one store disturbs what External
/// Secrets Operator just reads from another one.
pub(crate) fn stores(token: &str) -> [Value; 3] {
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "takeover-token", "namespace": "connect"}, "stringData": {"token": token}});
    let reference = json!({"name": "takeover-token", "namespace": "connect", "key": "token"});
    let provider = json!({"onepassword": {"connectHost": "http://connect.connect.svc.cluster.local",
        "vaults": {"Takeover": 1}, "auth": {"secretRef": {"connectTokenSecretRef": reference}}}});
    let store = |name: &str| {
        json!({"apiVersion": eso::VERSION, "kind": "ClusterSecretStore", "metadata": {"name": name},
            "spec": {"provider": provider}})
    };
    [secret, store(STORE), store(THEIRS)]
}

fn reference(store: &str) -> Value {
    json!({"kind": "ClusterSecretStore", "name": store})
}

pub(crate) fn data(item: &str, keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({"secretKey": key, "remoteRef": {"key": item, "property": key}})).collect()
}

/// What users write, by the name; `CreateOrMerge` is refused by the definitions of this External Secrets Operator.
fn shapes() -> [(&'static str, Value); 9] {
    let data = data("stays", &["KEY", "MORE"]);
    let rendered = json!({"metadata": {"labels": {"own": "label"}},
        "data": {"KEY": "{{ .KEY }}", "URL": "https://{{ .KEY }}:{{ .MORE }}@example.net"}});
    let typed = json!({"type": "kubernetes.io/basic-auth", "data": {"KEY": "{{ .KEY }}", "password": "{{ .MORE }}"}});
    [
        ("data", json!({"data": data})),
        ("extract", json!({"dataFrom": [{"extract": {"key": "moves"}}]})),
        ("template", json!({"data": data, "target": {"template": rendered}})),
        ("typed", json!({"data": data, "target": {"template": typed}})),
        ("orphan", json!({"data": data, "target": {"creationPolicy": "Orphan"}})),
        ("merge", json!({"data": data, "target": {"creationPolicy": "Merge"}})),
        ("with-a-name-that-is-longer-than-forty-characters", json!({"data": data})),
        ("merge-with-a-name-that-is-longer-than-forty", json!({"data": data, "target": {"creationPolicy": "Merge"}})),
        ("delete", json!({"data": data, "target": {"deletionPolicy": "Delete"}})),
    ]
}

/// For names of more than 27 characters the field manager of External Secrets Operator is a hash.
pub(crate) fn all() -> Vec<App> {
    let shapes = shapes();
    let places = PLACES.iter().flat_map(|place| (0..EACH).map(move |n| (*place, n)));
    let named = places.map(|(place, n)| (place, n, &shapes[n % shapes.len()]));
    named.map(|(place, n, (shape, spec))| App::new(place, &format!("{shape}-{n}"), spec.clone())).collect()
}

/// One that refers to both stores, and one of the other store.
pub(crate) fn beside() -> [App; 2] {
    let mut both = data("fixed", &["KEY", "MORE"]);
    both[1]["sourceRef"] = json!({"storeRef": reference(THEIRS)});
    let mut theirs = App::new(PLACES[0], "theirs", json!({"data": data("fixed", &["KEY"])}));
    theirs.spec["secretStoreRef"] = reference(THEIRS);
    [App::new(PLACES[0], BOTH, json!({"data": both})), theirs]
}
