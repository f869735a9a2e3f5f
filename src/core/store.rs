//! What a store says about itself, and who may use it.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use kube::core::{Selector, SelectorExt};

use crate::{
    api::{
        MANAGER,
        common::{Group, StoreKind, StoreRef, Time},
        eso::EsoStore,
        store::{ChangeDetection, StorePhase, StoreSpec, StoreStatus, VaultStatus},
    },
    core::{
        conditions::{Summary, summarize},
        index::Index,
        problem::{Problem, Reason},
        rewrite::regex,
    },
};

/// The key of a token's Secret where the store names none.
pub const DEFAULT_TOKEN_KEY: &str = "token";

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey {
    /// Group.
    pub group: Group,
    /// Namespace; none for a `ClusterSecretStore`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl StoreKey {
    /// The store that a reference from a namespace means.
    pub fn of(reference: &StoreRef, namespace: &str) -> Self {
        let namespace = (reference.kind == StoreKind::SecretStore).then(|| namespace.to_owned());
        Self { group: reference.group(), namespace, name: reference.name.clone() }
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "SecretStore {namespace}/{}", self.name)?,
            None => write!(f, "ClusterSecretStore {}", self.name)?,
        }
        if self.group == Group::ExternalSecrets { write!(f, " ({})", self.group.as_str()) } else { Ok(()) }
    }
}

/// Whether a store is served by this controller.
pub fn is_ours(spec: &StoreSpec) -> bool {
    spec.controller.as_deref().is_none_or(|class| class.is_empty() || class == MANAGER)
}

/// What a store of External Secrets Operator's declares in our terms.
pub fn of_eso(store: &EsoStore, key: &StoreKey) -> Result<StoreSpec, Problem> {
    match &store.0 {
        Some(Ok(spec)) => Ok((**spec).clone()),
        Some(Err(error)) => {
            let message = format!("{key}: spec is not understood, only the provider onepassword is: {error}");
            Err(Problem::new(Reason::InvalidSpec, message))
        }
        None => {
            let message = format!("{key} is left to another controller: set its spec.controller to {MANAGER}");
            Err(Problem::new(Reason::StoreNotReady, message))
        }
    }
}

/// The store's vaults (names or ids) in its order.
pub fn order(spec: &StoreSpec) -> Vec<String> {
    let mut vaults: Vec<(&i32, &String)> =
        spec.provider.onepassword.vaults.iter().map(|(name, at)| (at, name)).collect();
    vaults.sort_unstable();
    vaults.into_iter().map(|(_, name)| name.clone()).collect()
}

/// Whether a namespace's labels are needed to say whether it may use the store.
pub fn needs_labels(spec: &StoreSpec) -> bool {
    spec.conditions.iter().any(|condition| condition.namespace_selector.is_some())
}

/// Whether a namespace may use the store: where the store has conditions, one of them must admit it.
pub fn admit(
    key: &StoreKey,
    spec: &StoreSpec,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    if spec.conditions.is_empty() {
        return Ok(());
    }
    for (index, condition) in spec.conditions.iter().enumerate() {
        if condition.namespaces.iter().any(|name| name == namespace) {
            return Ok(());
        }
        let place = format!("{key}: spec.conditions[{index}]");
        for expression in &condition.namespace_regexes {
            if regex(expression, &format!("{place}.namespaceRegexes"))?.is_match(namespace) {
                return Ok(());
            }
        }
        if let Some(selector) = &condition.namespace_selector {
            let selector = Selector::try_from(selector.clone()).map_err(|error| {
                Problem::new(Reason::InvalidSpec, format!("{place}.namespaceSelector cannot be understood: {error}"))
            })?;
            if selector.matches(labels) {
                return Ok(());
            }
        }
    }
    Err(Problem::new(
        Reason::StoreNotAllowed,
        format!("{key} does not admit namespace {namespace}: add it to the store's spec.conditions"),
    ))
}

/// The PEM text of a `caBundle`.
pub fn ca_bundle(text: &str) -> Result<Vec<u8>, Problem> {
    let plain: String = text.split_whitespace().collect();
    STANDARD.decode(plain).map_err(|_| {
        let message = "caBundle is not base64: write the PEM certificates base64-encoded, or use caProvider";
        Problem::new(Reason::InvalidSpec, message)
    })
}

/// When a token expires, where it says so. Read without verification, for hints only.
pub fn token_expiry(token: &str) -> Option<Time> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Time::from_timestamp(claims.get("exp")?.as_i64()?, 0)
}

/// What is seen of a store's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The vaults of the store, in its order; or why one of them cannot be used.
    pub vaults: Result<Vec<VaultStatus>, Problem>,
    /// Version of the server.
    pub version: Option<String>,
    /// When the token expires.
    pub token_expires_at: Option<Time>,
    /// How changes are noticed.
    pub detection: ChangeDetection,
    /// When the last change was noticed.
    pub last_change_at: Option<Time>,
}

/// The vaults of a store in an index.
pub fn vaults(index: &Index, order: &[String]) -> Result<Vec<VaultStatus>, Problem> {
    let status = |name: &String| {
        let vault = index.readable(name)?;
        Ok(VaultStatus { id: vault.id.clone(), name: vault.name.clone(), items: vault.items })
    };
    order.iter().map(status).collect()
}

/// The store's new status.
pub fn status(
    old: Option<&StoreStatus>,
    generation: Option<i64>,
    requested_at: Option<&String>,
    seen: Result<Seen, Problem>,
    now: Time,
) -> StoreStatus {
    let mut status = old.cloned().unwrap_or_default();
    status.observed_generation = generation.unwrap_or_default();
    status.last_handled_reconcile_at = requested_at.cloned();
    let summary = match seen {
        Ok(seen) => {
            status.connect_version = seen.version;
            status.token_expires_at = seen.token_expires_at;
            status.change_detection = Some(seen.detection);
            status.last_change_at = seen.last_change_at.or(status.last_change_at);
            match seen.vaults {
                Ok(vaults) => {
                    let names: Vec<&str> = vaults.iter().map(|vault| vault.name.as_str()).collect();
                    status.vault_names = Some(names.join(", "));
                    let message = format!("Connect answers; vaults: {}", names.join(", "));
                    status.vaults = vaults;
                    Summary::Ready("Ready", message)
                }
                Err(problem) => Summary::NotReady(problem),
            }
        }
        Err(problem) => Summary::NotReady(problem),
    };
    let ready = matches!(summary, Summary::Ready(..));
    status.phase = Some(if ready { StorePhase::Ready } else { StorePhase::NotReady });
    summarize(&mut status.conditions, &summary, generation, now);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &serde_json::Value) -> StoreSpec {
        let mut value = serde_json::json!({"provider": {"onepassword": {
            "connectHost": "http://connect", "vaults": {"B": 2, "A": 3, "C": 1},
            "auth": {"secretRef": {"connectTokenSecretRef": {"name": "token"}}}}}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn vaults_are_ordered_by_number() {
        assert_eq!(order(&spec(&serde_json::json!({}))), ["C", "B", "A"]);
    }

    #[test]
    fn serves_its_own_class_only() {
        for (class, ours) in [(None, true), (Some(""), true), (Some("strongroom"), true), (Some("eso"), false)] {
            assert_eq!(is_ours(&spec(&serde_json::json!({"controller": class}))), ours, "{class:?}");
        }
    }

    #[test]
    fn admits_namespaces_by_name_expression_and_label() {
        let key = StoreKey { group: Group::Strongroom, namespace: None, name: "onepassword".into() };
        let conditions = serde_json::json!([
            {"namespaces": ["media"]},
            {"namespaceRegexes": ["^team-"]},
            {"namespaceSelector": {"matchLabels": {"secrets": "yes"}}},
        ]);
        let spec = spec(&serde_json::json!({ "conditions": conditions }));
        assert!(needs_labels(&spec));
        let labelled = BTreeMap::from([("secrets".to_owned(), "yes".to_owned())]);
        for (namespace, labels, admitted) in [
            ("media", BTreeMap::new(), true),
            ("team-a", BTreeMap::new(), true),
            ("my-team-a", BTreeMap::new(), false),
            ("other", labelled, true),
            ("other", BTreeMap::new(), false),
        ] {
            let result = admit(&key, &spec, namespace, &labels);
            assert_eq!(result.is_ok(), admitted, "{namespace}");
            if let Err(problem) = result {
                assert_eq!(problem.reason, Reason::StoreNotAllowed);
            }
        }
    }

    #[test]
    fn reads_when_a_token_expires() {
        let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(token_expiry(&token(r#"{"exp": 1900000000}"#)), Time::from_timestamp(1_900_000_000, 0));
        for token in [token("{}"), token("x"), "abc".to_owned(), String::new()] {
            assert_eq!(token_expiry(&token), None, "{token}");
        }
    }

    #[test]
    fn status_says_what_is_seen_and_keeps_what_was() {
        let now = Time::from_timestamp(1_900_000_000, 0).unwrap();
        let seen = Seen {
            vaults: Ok(vec![VaultStatus { id: "v1".into(), name: "Kubernetes".into(), items: 3 }]),
            version: Some("1.8.1".into()),
            token_expires_at: None,
            detection: ChangeDetection::VaultVersion,
            last_change_at: Some(now),
        };
        let ready = status(None, Some(2), None, Ok(seen), now);
        let problem = Problem::new(Reason::TokenRejected, "Connect rejects the token");
        let failed = status(Some(&ready), Some(2), None, Err(problem), now);
        insta::assert_yaml_snapshot!((ready, failed));
    }
}
