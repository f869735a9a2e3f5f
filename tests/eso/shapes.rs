//! The ExternalSecrets: what users write of a source, combined with what they write of a target.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The sources that every target is combined with: they yield the keys that targets use.
const CROSSED: [&str; 3] = ["plain", "several", "picked"];

type Parts = BTreeMap<String, Map<String, Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Targets {
    always: Parts,
    some: Parts,
    templates: Parts,
}

/// One ExternalSecret.
pub(crate) struct Shape {
    pub(crate) name: String,
    /// What it is combined of.
    pub(crate) parts: Vec<String>,
    fields: Map<String, Value>,
}

impl Shape {
    fn new(source: (&String, &Map<String, Value>), target: (&String, &Map<String, Value>)) -> Self {
        let mut fields = source.1.clone();
        fields.extend(target.1.clone());
        Self { name: format!("{}.{}", source.0, target.0), parts: vec![source.0.clone(), target.0.clone()], fields }
    }

    /// The object for one side.
    pub(crate) fn object(&self, version: &str, namespace: &str) -> Value {
        let mut spec = self.fields.clone();
        spec.remove("before");
        let mut metadata = spec.remove("metadata").unwrap_or_else(|| json!({}));
        metadata["name"] = self.name.clone().into();
        metadata["namespace"] = namespace.into();
        spec.entry("secretStoreRef").or_insert_with(|| json!({"kind": "ClusterSecretStore", "name": "peers"}));
        let object = json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": metadata, "spec": spec});
        let text = object.to_string().replace("$NAME-", &format!("{}-", self.name));
        serde_json::from_str(&text).expect("it stays JSON")
    }

    /// The Secret that is there before it.
    pub(crate) fn before(&self, namespace: &str) -> Option<Value> {
        let mut secret = self.fields.get("before")?.clone();
        secret["apiVersion"] = "v1".into();
        secret["kind"] = "Secret".into();
        secret["metadata"]["name"] = self.name.clone().into();
        secret["metadata"]["namespace"] = namespace.into();
        Some(secret)
    }

    /// The name of its Secret.
    pub(crate) fn target(&self) -> String {
        let name = self.fields.get("target").and_then(|target| target["name"].as_str()).unwrap_or("$NAME");
        name.replace("$NAME", &self.name)
    }
}

/// All combinations.
pub(crate) fn all() -> Vec<Shape> {
    let sources: Parts = crate::yaml(include_str!("sources.yaml"));
    let mut targets: Targets = crate::yaml(include_str!("targets.yaml"));
    for template in targets.templates.values_mut() {
        let data = std::mem::take(template);
        template.insert("target".to_owned(), json!({"template": {"data": data}}));
    }
    let mut shapes = vec![];
    for source in &sources {
        shapes.extend(targets.always.iter().map(|target| Shape::new(source, target)));
        if CROSSED.contains(&source.0.as_str()) {
            shapes.extend(targets.some.iter().map(|target| Shape::new(source, target)));
        }
        if source.0 == CROSSED[0] {
            shapes.extend(targets.templates.iter().map(|target| Shape::new(source, target)));
        }
    }
    shapes
}
