//! SecretStore and ClusterSecretStore: reads token and certificates, hands them to the hub, says what the server tells.

use std::{sync::Arc, time::Duration};

use futures::Stream;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt, runtime::watcher};

use crate::{
    api::{
        annotations,
        common::{Condition, Group, Time},
        eso::{EsoClusterSecretStore, EsoSecretStore},
        store::{
            CaProvider, CaProviderType, ClusterSecretStore, DEFAULT_POLL_INTERVAL, OnePassword, SecretStore, StoreSpec,
            StoreStatus,
        },
    },
    clients::{cluster, guarded::Guarded},
    controllers::{
        connect::{Place, Registration, Source, problem},
        context::{Context, Handle, Stores},
        runner::{Action, Reconcile},
        takeover::{events, is_left, users},
    },
    core::{
        problem::{Class, Problem, Reason},
        sensitive::Sensitive,
        store::{
            DEFAULT_CA_KEY, DEFAULT_TOKEN_KEY, Seen, StoreKey, ca_bundle, is_ours, of_eso, order, status, token_expiry,
            vaults,
        },
        takeover::{self, Hold, Users},
    },
};

/// How often token and certificates are read again while the server cannot be used with them.
const RETRY: Duration = Duration::from_secs(15);
/// How long a server's first answer is waited for here; it wakes the store when it takes longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is counted who uses a store of External Secrets Operator's.
const COUNT: Duration = Duration::from_secs(30);
/// The shortest interval at which a server is asked for changes.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How a certificate in PEM form begins.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What every kind of store is.
trait AnyStore: Reconcile {
    const GROUP: Group = Group::Strongroom;

    fn declared(&self) -> Result<StoreSpec, Problem>;
    fn known(&self) -> Option<StoreStatus>;
    fn with_status(&self, status: StoreStatus, users: Option<&Users>, now: Time) -> Self;
    fn says_the_same_as(&self, other: &Self) -> bool;

    fn key(&self) -> StoreKey {
        StoreKey { group: Self::GROUP, namespace: self.namespace(), name: self.name_any() }
    }
}

macro_rules! store {
    ($kind:ident, $handle:ident, $api:expr) => {
        impl AnyStore for $kind {
            fn declared(&self) -> Result<StoreSpec, Problem> {
                Ok(self.spec.store.clone())
            }

            fn known(&self) -> Option<StoreStatus> {
                self.status.clone()
            }

            fn with_status(&self, status: StoreStatus, _: Option<&Users>, _: Time) -> Self {
                Self { status: Some(status), ..self.clone() }
            }

            fn says_the_same_as(&self, other: &Self) -> bool {
                self.status == other.status
            }
        }

        impl Reconcile for $kind {
            const KIND: &'static str = stringify!($kind);

            fn handle(stores: &Stores) -> &Handle<Self> {
                &stores.$handle
            }

            fn api(&self, ctx: &Context) -> Api<Self> {
                $api(self, ctx)
            }

            async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
                reconcile(&*object, &ctx, None).await
            }

            fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
                failed(self, problem, now)
            }

            fn conditions(&self) -> Vec<Condition> {
                self.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default()
            }

            fn deleted(&self, ctx: &Context) {
                ctx.connect.forget_store(&self.key());
            }
        }
    };
}

/// The same for a kind of External Secrets Operator's.
macro_rules! eso_store {
    ($kind:ident, $name:literal, $handle:ident, $api:expr) => {
        impl AnyStore for $kind {
            const GROUP: Group = Group::ExternalSecrets;

            fn declared(&self) -> Result<StoreSpec, Problem> {
                of_eso(&self.spec.store, &self.key())
            }

            fn known(&self) -> Option<StoreStatus> {
                self.status.as_ref().map(takeover::store_in_our_terms)
            }

            fn with_status(&self, status: StoreStatus, users: Option<&Users>, now: Time) -> Self {
                Self { status: Some(takeover::store_status(self.status.as_ref(), &status, users, now)), ..self.clone() }
            }

            fn says_the_same_as(&self, other: &Self) -> bool {
                self.status == other.status
            }
        }

        impl Reconcile for $kind {
            const KIND: &'static str = $name;

            fn handle(stores: &Stores) -> &Handle<Self> {
                &stores.$handle
            }

            fn api(&self, ctx: &Context) -> Api<Self> {
                $api(self, ctx)
            }

            fn events(
                ctx: &Arc<Context>,
            ) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<Self>>>> + Send + 'static {
                events(ctx)
            }

            fn changed(&self, ctx: &Context) {
                let (key, is_ours) = (self.key(), self.spec.store.0.is_some());
                // One that was made anew without our name is left as well.
                let leaves = takeover::is_taken_over(self.status.as_ref()) || ctx.takeover.held(&key).is_some();
                ctx.takeover.hold(&key, if is_ours { Some(Hold::Ours) } else { leaves.then_some(Hold::Leaving) });
            }

            async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
                let key = object.key();
                match ctx.takeover.held(&key) {
                    Some(Hold::Ours) => {
                        let users = users(&ctx, &key).await;
                        reconcile(&*object, &ctx, Some(&users)).await.map(|_| Action::requeue(COUNT))
                    }
                    Some(Hold::Leaving) if !is_left(&ctx, &key) => {
                        ctx.connect.forget_store(&key);
                        Ok(Action::requeue(Duration::from_secs(1)))
                    }
                    Some(Hold::Leaving) => {
                        let left =
                            Self { status: object.status.as_ref().map(takeover::left_status), ..(*object).clone() };
                        cluster::write_status(&object.api(&ctx), &left).await?;
                        ctx.takeover.hold(&key, None);
                        Ok(Action::await_change())
                    }
                    None => {
                        ctx.connect.forget_store(&key);
                        Ok(Action::await_change())
                    }
                }
            }

            fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
                // Of a store that is not ours we say nothing.
                self.spec.store.0.as_ref().and_then(|_| failed(self, problem, now))
            }

            fn conditions(&self) -> Vec<Condition> {
                self.known().unwrap_or_default().conditions
            }

            fn deleted(&self, ctx: &Context) {
                // Its ExternalSecrets stay ours: they may be deleted next, with nobody else there to let them go.
                ctx.connect.forget_store(&self.key());
            }
        }
    };
}

store!(SecretStore, secret_stores, |store: &Self, ctx: &Context| ctx.api(&store.namespace().unwrap_or_default()));
store!(ClusterSecretStore, cluster_secret_stores, |_, ctx: &Context| ctx.global());
eso_store!(EsoSecretStore, "SecretStore.external-secrets.io", eso_secret_stores, |store: &Self, ctx: &Context| ctx
    .api(&store.namespace().unwrap_or_default()));
eso_store!(
    EsoClusterSecretStore,
    "ClusterSecretStore.external-secrets.io",
    eso_cluster_secret_stores,
    |_, ctx: &Context| ctx.global()
);

/// A store whose look ended in a problem, where that is new.
fn failed<K: AnyStore>(object: &K, problem: &Problem, now: Time) -> Option<K> {
    let known = object.known();
    let handled = known.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let new = status(known.as_ref(), object.meta().generation, handled, Err(problem.clone()), now);
    let updated = object.with_status(new, None, now);
    (!updated.says_the_same_as(object)).then_some(updated)
}

async fn reconcile<K: AnyStore>(object: &K, ctx: &Context, users: Option<&Users>) -> Result<Action, Problem> {
    let key = object.key();
    let spec = object.declared()?;
    if !is_ours(&spec) {
        ctx.connect.forget_store(&key);
        return Ok(Action::await_change());
    }
    let known = object.known();
    let handled = known.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let requested = object.annotations().get(annotations::REQUESTED_AT);
    // ESO's kinds have no place to note what was handled.
    let look = K::GROUP == Group::Strongroom && requested.is_some() && requested != handled;
    let seen = match observe(object, &spec, ctx, look).await {
        Err(problem) if problem.reason == Reason::ClusterError => return Err(problem),
        Ok(None) => return Ok(Action::await_change()),
        Ok(Some(seen)) => Ok(seen),
        Err(problem) => Err(problem),
    };
    // A problem waits here and not in the runner: the token is read again soon, however often it was wrong.
    let failed = seen.as_ref().err().or_else(|| seen.as_ref().ok()?.vaults.as_ref().err()).map(Problem::class);
    let new = status(known.as_ref(), object.meta().generation, requested, seen, ctx.now());
    let updated = object.with_status(new, users, ctx.now());
    if !updated.says_the_same_as(object) {
        cluster::write_status(&object.api(ctx), &updated).await?;
    }
    Ok(match failed {
        None | Some(Class::Terminal) => Action::await_change(),
        Some(Class::Transient | Class::Blocked) => Action::requeue(RETRY),
    })
}

/// Hands the store to the hub and reads what its server tells; nothing while the server is asked for the first time.
async fn observe<K: AnyStore>(
    object: &K,
    spec: &StoreSpec,
    ctx: &Context,
    look: bool,
) -> Result<Option<Seen>, Problem> {
    let key = object.key();
    let wanted = match registration(object, spec, ctx).await {
        Ok(wanted) => wanted,
        Err(problem) => {
            if problem.reason != Reason::ClusterError {
                ctx.connect.refuse(&key, &problem);
            }
            return Err(problem);
        }
    };
    let place = wanted.place.clone();
    let source = ctx.connect.register(&key, wanted).map_err(|failure| {
        let problem = problem(&failure, &place, ctx.now());
        ctx.connect.refuse(&key, &problem);
        problem
    })?;
    if look {
        source.endpoint.refresh(PATIENCE).await;
    } else {
        source.endpoint.started(PATIENCE).await;
    }
    seen(&source, ctx).transpose()
}

fn seen(source: &Source, ctx: &Context) -> Option<Result<Seen, Problem>> {
    let overview = match source.endpoint.overview()? {
        Ok(overview) => overview,
        Err(failure) => return Some(Err(problem(&failure, &source.place, ctx.now()))),
    };
    let vaults = source.endpoint.with_index(|index| vaults(index, &source.order)).ok()?;
    // A vault that was added to the store a moment ago: the look that lists it wakes the store.
    if vaults.as_ref().is_err_and(|problem| problem.reason == Reason::StoreNotReady) {
        return None;
    }
    Some(Ok(Seen {
        vaults,
        version: overview.version,
        token_expires_at: source.place.expires_at,
        detection: overview.detection,
        last_change_at: overview.last_change_at,
    }))
}

async fn registration<K: AnyStore>(object: &K, spec: &StoreSpec, ctx: &Context) -> Result<Registration, Problem> {
    let provider = &spec.provider.onepassword;
    let reference = &provider.auth.secret_ref.connect_token_secret_ref;
    let namespace = namespace_of(object, reference.namespace.as_deref(), "connectTokenSecretRef")?;
    let name = reference.key.as_deref().unwrap_or(DEFAULT_TOKEN_KEY);
    let place = format!("Secret {namespace}/{} key {name}", reference.name);
    let missing = |what: &str| {
        let message = format!("{place} with the Connect token {what}: create it, or correct connectTokenSecretRef");
        Problem::new(Reason::TokenMissing, message)
    };
    let secret = cluster::get(&ctx.api::<Secret>(&namespace), &reference.name).await?;
    let secret = secret.ok_or_else(|| missing("does not exist"))?;
    let token = secret.data.unwrap_or_default().remove(name).ok_or_else(|| missing("does not exist"))?;
    let token = Sensitive::from(token.0);
    if token.expose().trim_ascii().is_empty() {
        return Err(missing("is empty"));
    }
    let expires_at = token.expose_str().map(str::trim).and_then(token_expiry);
    Ok(Registration {
        host: provider.connect_host.clone(),
        ca: ca(object, provider, ctx).await?,
        order: order(spec),
        interval: provider.poll_interval.unwrap_or(DEFAULT_POLL_INTERVAL).as_std().max(MIN_INTERVAL),
        place: Place { url: without_credentials(&provider.connect_host), token: place, expires_at },
        token,
    })
}

/// The namespace of a reference: the store's own, or the one that a cluster-wide store names.
fn namespace_of<K: AnyStore>(object: &K, named: Option<&str>, field: &str) -> Result<String, Problem> {
    object.namespace().or_else(|| named.map(str::to_owned)).ok_or_else(|| {
        let message = format!("{field}.namespace is missing: a ClusterSecretStore has no namespace of its own");
        Problem::new(Reason::InvalidSpec, message)
    })
}

async fn ca<K: AnyStore>(object: &K, provider: &OnePassword, ctx: &Context) -> Result<Option<Vec<u8>>, Problem> {
    match (&provider.ca_bundle, &provider.ca_provider) {
        (Some(text), _) => ca_bundle(text).map(Some),
        (None, Some(reference)) => provided_ca(object, reference, ctx).await.map(Some),
        (None, None) => Ok(None),
    }
}

async fn provided_ca<K: AnyStore>(object: &K, reference: &CaProvider, ctx: &Context) -> Result<Vec<u8>, Problem> {
    let namespace = namespace_of(object, reference.namespace.as_deref(), "caProvider")?;
    let (name, key) = (&reference.name, reference.key.as_deref().unwrap_or(DEFAULT_CA_KEY));
    let found = match reference.type_ {
        CaProviderType::Secret => {
            let secret = cluster::get(&ctx.api::<Secret>(&namespace), name).await?;
            secret.and_then(|secret| secret.data?.remove(key)).map(|bytes| bytes.0)
        }
        CaProviderType::ConfigMap => {
            let map = cluster::get(&ctx.api::<ConfigMap>(&namespace), name).await?;
            map.and_then(|map| map.data?.remove(key)).map(String::into_bytes)
        }
    };
    // Checked here, where it clears as soon as the object is corrected.
    let found = found.filter(|bytes| bytes.windows(PEM.len()).any(|window| window == PEM));
    found.ok_or_else(|| {
        let kind = reference.type_;
        let message = format!("{kind:?} {namespace}/{name} key {key} with CA certificates in PEM form does not exist: create it, or correct caProvider");
        Problem::new(Reason::CredentialsMissing, message)
    })
}

/// A URL without user name and password, for messages.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.trim_end_matches('/').split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_messages_has_no_credentials() {
        for (url, expected) in [
            ("http://connect:8080/", "http://connect:8080"),
            ("http://u:p@connect/x", "http://connect/x"),
            ("http://u:p@x@connect", "http://connect"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
