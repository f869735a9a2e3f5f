//! The ExternalSecrets of the soak, and what each of them makes of an item.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{Fields, ITEMS, Item, LASTING, VAULTS, Version, label, name, title, token};

/// The namespace.
pub const PLACE: &str = "x-soak";
/// The key of a Secret to merge into that is somebody else's, and its value.
pub const FOREIGN: (&str, &str) = ("FOREIGN", "stays");

/// How an ExternalSecret takes its values.
#[derive(Clone, Copy)]
pub enum Kind {
    /// All fields of an item.
    Extract,
    /// Single fields.
    Data(&'static [&'static str]),
    /// One key, made of two fields.
    Template,
    /// The fields with this ending, of all items with a tag.
    Find(&'static str),
}

/// An ExternalSecret, and its Secret of the same name.
pub struct Shape {
    /// Its name.
    pub name: String,
    /// The items that it reads.
    pub items: Vec<usize>,
    /// How.
    pub kind: Kind,
    /// Whether the Secret is deleted with its item.
    pub deletes: bool,
    /// Whether it is merged into a Secret that exists.
    pub merges: bool,
    /// Whether it is made once and then left alone.
    pub once: bool,
    spec: Value,
}

impl Shape {
    fn new(prefix: &str, items: Vec<usize>, kind: Kind, more: &Value) -> Self {
        let mut spec = json!({"secretStoreRef": {"kind": "SecretStore", "name": name(items[0] % VAULTS)}});
        match kind {
            Kind::Extract | Kind::Template => spec["dataFrom"] = json!([{"extract": {"key": title(items[0])}}]),
            Kind::Data(fields) => spec["data"] = items.iter().flat_map(|item| data(*item, fields)).collect(),
            Kind::Find(_) => {}
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let target = &spec["target"];
        let deletes = target["deletionPolicy"] == "Delete";
        let merges = target["creationPolicy"] == "Merge";
        let once = spec["refreshPolicy"] == "CreatedOnce";
        Self { name: format!("{prefix}-{}", items[0]), items, kind, deletes, merges, once, spec }
    }

    /// What an item gives in some version; nothing where the Secret stays as it is.
    pub fn part(&self, item: usize, fields: Option<&Fields>) -> Option<Fields> {
        let Some(fields) = fields else {
            // What is searched is what there is.
            return (self.deletes || matches!(self.kind, Kind::Find(_))).then(Fields::new);
        };
        let value = |field: &str| fields.get(&label(item, field));
        match self.kind {
            Kind::Extract => Some(fields.clone()),
            Kind::Data(names) => names.iter().map(|field| Some((label(item, field), value(field)?.clone()))).collect(),
            Kind::Template => Some([(label(item, "URL"), format!("{}@{}", value("A")?, value("B")?))].into()),
            Kind::Find(ending) => {
                let fits = fields.iter().filter(|(label, _)| label.ends_with(ending));
                Some(fits.map(|(label, value)| (label.clone(), value.clone())).collect())
            }
        }
    }

    /// Whether this is what an item gave in some version.
    pub fn is_made_of(&self, item: usize, versions: &[Version], version: usize, part: &Fields) -> bool {
        let one = self.part(item, versions[version].fields.as_ref());
        if one.as_ref() == Some(part) {
            return true;
        }
        let (Kind::Find(_), Some(one)) = (self.kind, one) else { return false };
        // A search finds what was deleted until its absence is believed, beside what was made anew in its place: these
        // are two items, of which either may be the first.
        let anew = versions[version..].iter().filter(|other| other.life == versions[version].life + 2);
        anew.filter_map(|other| self.part(item, other.fields.as_ref())).any(|other| {
            let merged = |first: &Fields, second: &Fields| {
                let mut merged = second.clone();
                merged.extend(first.clone());
                merged == *part
            };
            merged(&one, &other) || merged(&other, &one)
        })
    }

    fn external_secret(&self) -> Value {
        json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "ExternalSecret",
            "metadata": {"name": self.name, "namespace": PLACE}, "spec": self.spec})
    }
}

fn data(item: usize, fields: &[&str]) -> Vec<Value> {
    let entry = |field: &&str| {
        let mut entry = json!({"secretKey": label(item, field),
            "remoteRef": {"key": title(item), "property": label(item, field)}});
        if item % VAULTS == 1 {
            // Said of its own, so that one object can read from both.
            entry["sourceRef"] = json!({"storeRef": {"kind": "SecretStore", "name": name(1)}});
        }
        entry
    };
    fields.iter().map(entry).collect()
}

/// All of them.
pub fn all(items: &[Item]) -> Vec<Shape> {
    let none = json!({});
    let mut all: Vec<Shape> = Vec::new();
    let mut add = |prefix: &str, numbers: std::ops::Range<usize>, kind: Kind, more: &dyn Fn(usize) -> Value| {
        all.extend(numbers.map(|item| Shape::new(prefix, vec![item], kind, &more(item))));
    };
    let both = Kind::Data(&["A", "B"]);
    let one = Kind::Data(&["A"]);
    let template = |item: usize, open: &str, engine: &str| {
        let (a, b) = (label(item, "A"), label(item, "B"));
        let text = format!("{{{{ {open}{a} }}}}@{{{{ {open}{b} }}}}");
        json!({"target": {"template": {"engineVersion": engine, "data": {label(item, "URL"): text}}}})
    };
    add("extract", 0..10, Kind::Extract, &|_| none.clone());
    add("data", 0..8, both, &|_| none.clone());
    add("template", 0..4, Kind::Template, &|item| template(item, ".", "v2"));
    add("minijinja", 4..6, Kind::Template, &|item| template(item, "", "minijinja"));
    add("delete", 4..LASTING, Kind::Extract, &|_| json!({"target": {"deletionPolicy": "Delete"}}));
    add("merge", 12..16, one, &|_| json!({"target": {"creationPolicy": "Merge"}}));
    add("periodic", 0..4, one, &|_| json!({"refreshPolicy": "Periodic", "refreshInterval": "5s"}));
    add("once", 4..6, one, &|_| json!({"refreshPolicy": "CreatedOnce"}));
    add("restart", 14..16, both, &|_| json!({"target": {"restart": true}}));
    add("id", LASTING..ITEMS, Kind::Extract, &|item| json!({"dataFrom": [{"extract": {"key": items[item].id}}]}));
    for vault in 0..VAULTS {
        let of = |most: usize| (0..most).filter(|item| item % VAULTS == vault).collect::<Vec<_>>();
        let find =
            |tag: &str, label: &str| json!({"dataFrom": [{"find": {"tags": {tag: ""}, "name": {"regexp": label}}}]});
        all.push(Shape::new("find-every", of(ITEMS), Kind::Find("_A"), &find("soak", "_A$")));
        all.push(Shape::new("find-few", of(8), Kind::Find(""), &find("few", "^K")));
    }
    all.push(Shape::new("two", vec![0, 1], both, &none));
    all.push(Shape::new("two", vec![2, 3], one, &none));
    all
}

/// Everything that is declared: stores with their tokens, Secrets to merge into, workloads to restart, ExternalSecrets.
pub fn objects(shapes: &[Shape], poll: u64) -> Value {
    let meta = |name: &str| json!({"name": name, "namespace": PLACE});
    let secret = |name: &str, data: BTreeMap<&str, String>| json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(name), "stringData": data});
    let mut items = Vec::new();
    for vault in 0..VAULTS {
        let name = name(vault);
        let reference = json!({"name": name, "key": "token"});
        items.push(secret(&name, [("token", token(vault))].into()));
        items.push(json!({"apiVersion": "strongroom.dev/v1alpha1", "kind": "SecretStore", "metadata": meta(&name),
            "spec": {"provider": {"onepassword": {"connectHost": "http://connect.connect.svc", "vaults": {&name: 1},
                "pollInterval": format!("{poll}s"), "auth": {"secretRef": {"connectTokenSecretRef": reference}}}}}}));
    }
    for shape in shapes {
        let name = &shape.name;
        if shape.merges {
            items.push(secret(name, [(FOREIGN.0, FOREIGN.1.to_owned())].into()));
        }
        if shape.spec["target"]["restart"] == true {
            let labels = json!({"app": name});
            let container = json!({"name": "app", "image": "localhost/strongroom-test:dev",
                "envFrom": [{"secretRef": {"name": name}}]});
            // What counts is its template: no pod has to run.
            items.push(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(name),
                "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}));
        }
        items.push(shape.external_secret());
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
