//! Templates that stand in a ConfigMap, in another Secret, or in the object itself (`templateFrom`).

use crate::{
    api::external_secret::{ExternalSecretSpec, TemplateAs, TemplateSource},
    core::{
        problem::{Problem, Reason},
        sensitive::{Sensitive, SensitiveMap},
    },
};

/// The kind of an object that templates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OriginKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// An object that templates come from, as it is now.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its kind.
    pub kind: OriginKind,
    /// Its name.
    pub name: String,
    /// Its uid and resourceVersion; none where there is no such object.
    pub version: Option<String>,
    /// Its content.
    pub data: SensitiveMap,
}

impl Origin {
    /// What changes when the object does.
    pub fn version(&self) -> String {
        format!("{:?}/{}@{}", self.kind, self.name, self.version.as_deref().unwrap_or_default())
    }
}

/// Where the result of a template goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Keys of the Secret.
    Data,
    /// Its annotations.
    Annotations,
    /// Its labels.
    Labels,
}

/// A template of `templateFrom`.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where it stands, for messages.
    pub place: String,
    /// The key that its result gets; none where the result is a map of keys and values.
    pub key: Option<String>,
    /// The template.
    pub text: Sensitive,
    /// Where the result goes.
    pub goal: Goal,
    /// Whether the template itself must not be shown.
    pub is_secret: bool,
}

/// The objects that templates come from, each once.
pub fn origins(spec: &ExternalSecretSpec) -> Vec<(OriginKind, String)> {
    let from = spec.target.template.iter().flat_map(|template| &template.template_from);
    let mut origins: Vec<(OriginKind, String)> = from
        .flat_map(|from| {
            let map = from.config_map.iter().map(|source| (OriginKind::ConfigMap, source.name.clone()));
            map.chain(from.secret.iter().map(|source| (OriginKind::Secret, source.name.clone())))
        })
        .collect();
    origins.sort();
    origins.dedup();
    origins
}

/// The templates in their order.
pub fn texts(spec: &ExternalSecretSpec, origins: &[Origin]) -> Result<Vec<Text>, Problem> {
    let mut texts = Vec::new();
    let from = spec.target.template.iter().flat_map(|template| &template.template_from);
    for (index, from) in from.enumerate() {
        let place = format!("spec.target.template.templateFrom[{index}]");
        let goal = goal(from.target.as_deref(), &place)?;
        if let Some(literal) = &from.literal {
            let text = Sensitive::from(literal.as_str());
            texts.push(Text { place: format!("{place}.literal"), key: None, text, goal, is_secret: false });
        }
        let sources = [(OriginKind::ConfigMap, &from.config_map), (OriginKind::Secret, &from.secret)];
        for (kind, source) in sources.into_iter().filter_map(|(kind, source)| Some((kind, source.as_ref()?))) {
            let origin = origins.iter().find(|origin| (origin.kind, &origin.name) == (kind, &source.name));
            texts.extend(of_origin(source, origin, kind, goal, &place)?);
        }
    }
    Ok(texts)
}

fn of_origin(
    source: &TemplateSource,
    origin: Option<&Origin>,
    kind: OriginKind,
    goal: Goal,
    place: &str,
) -> Result<Vec<Text>, Problem> {
    let name = &source.name;
    let missing = |what: String| Problem::new(Reason::TemplateNotFound, format!("{place}: {kind:?} {name} {what}"));
    let origin = origin
        .filter(|origin| origin.version.is_some())
        .ok_or_else(|| missing("does not exist in this namespace: create it, or correct the name".to_owned()))?;
    let one = |item: &crate::api::external_secret::TemplateSourceItem| {
        let text = origin.data.get(&item.key).cloned().ok_or_else(|| {
            let keys: Vec<&String> = origin.data.keys().collect();
            missing(format!("has no key {:?}; its keys are {keys:?}", item.key))
        })?;
        Ok(Text {
            place: format!("{place}: {kind:?} {name} key {}", item.key),
            key: (item.template_as.unwrap_or_default() == TemplateAs::Values).then(|| item.key.clone()),
            text,
            goal,
            is_secret: kind == OriginKind::Secret,
        })
    };
    source.items.iter().map(one).collect()
}

fn goal(target: Option<&str>, place: &str) -> Result<Goal, Problem> {
    match target.unwrap_or("Data").to_ascii_lowercase().as_str() {
        "data" => Ok(Goal::Data),
        "annotations" => Ok(Goal::Annotations),
        "labels" => Ok(Goal::Labels),
        other => {
            let message = format!("{place}.target {other:?} is none of Data, Annotations and Labels");
            Err(Problem::new(Reason::InvalidSpec, message))
        }
    }
}
