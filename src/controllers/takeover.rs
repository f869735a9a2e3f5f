//! Stores and ExternalSecrets of External Secrets Operator's group that are ours: noticed when ESO's kinds appear,
//! reconciled in place, given back.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{WatchStreamExt, controller::Action, events::EventType, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{
    api::{
        common::{Condition, ESO_GROUP, Group, Time},
        eso::{EsoExternalSecret, FINALIZER, MANAGED},
        external_secret::{ExternalSecret, ExternalSecretStatus},
    },
    clients::{cluster, guarded::Guarded},
    controllers::{
        context::{Context, Handle, Stores},
        external_secret,
        runner::{PAGE, Reconcile},
    },
    core::{
        problem::{Problem, Reason},
        secret,
        store::StoreKey,
        takeover::{self, Hold, Holds, Role, Users},
    },
};

/// How often it is looked whether ESO's kinds are there.
const INTERVAL: Duration = Duration::from_secs(15);
/// What wakes ESO, which looks at an ExternalSecret when its annotations change. It is taken off again at once.
const TOUCH: &str = "strongroom.dev/given-back";

/// What of ESO's is ours.
#[derive(Debug)]
pub struct Takeover {
    /// Whether ESO's kinds are there.
    served: watch::Sender<bool>,
    /// ESO's stores that matter, and how often that has changed.
    holds: watch::Sender<(u64, Holds)>,
    /// The ExternalSecrets that nobody reconciles because of us, by uid.
    mixed: Mutex<HashSet<String>>,
    /// The change after which the ExternalSecrets have been listed.
    listed: AtomicU64,
}

impl Default for Takeover {
    fn default() -> Self {
        Self {
            served: watch::Sender::new(false),
            holds: watch::Sender::new((0, Holds::new())),
            mixed: Mutex::default(),
            listed: AtomicU64::new(0),
        }
    }
}

impl Takeover {
    /// Notes what a store is to us.
    pub(crate) fn hold(&self, store: &StoreKey, hold: Option<Hold>) {
        self.holds.send_if_modified(|(count, holds)| {
            let old = match hold {
                Some(hold) => holds.insert(store.clone(), hold),
                None => holds.remove(store),
            };
            *count += u64::from(old != hold);
            old != hold
        });
    }

    fn mixed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mixed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn held(&self, store: &StoreKey) -> Option<Hold> {
        self.holds.borrow().1.get(store).copied()
    }

    /// Whether ESO's kinds are in the cluster.
    pub(crate) fn is_served(&self) -> bool {
        *self.served.borrow()
    }

    /// Notes which of ESO's kinds are there. When its chart is uninstalled, they go one after the other.
    fn note(&self, is_served: impl Fn(&str) -> bool) {
        if !is_served("ExternalSecret") {
            self.holds.send_if_modified(|(_, holds)| !std::mem::take(holds).is_empty());
        }
        let all = ["ExternalSecret", "SecretStore", "ClusterSecretStore"].into_iter().all(is_served);
        self.served.send_if_modified(|served| std::mem::replace(served, all) != all);
    }

    fn role(&self, object: &EsoExternalSecret) -> Role {
        let was_mixed = object.metadata.uid.as_ref().is_some_and(|uid| self.mixed().contains(uid));
        takeover::role(object, &self.holds.borrow().1, was_mixed)
    }

    /// Whether every ExternalSecret that concerns us is known, since the stores are what they are.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst) == self.holds.borrow().0
    }
}

/// Sees whether ESO's kinds are in the cluster.
pub(crate) async fn discover(ctx: Arc<Context>) {
    let version = format!("{ESO_GROUP}/v1");
    loop {
        match ctx.client.list_api_group_resources(&version).await {
            Ok(list) => ctx.takeover.note(|kind| list.resources.iter().any(|resource| resource.kind == kind)),
            Err(kube::Error::Api(status)) if status.is_not_found() => ctx.takeover.note(|_| false),
            // The API does not answer: nothing is known that was not known before.
            Err(error) => tracing::debug!(%error, "cannot see whether ESO's kinds are there"),
        }
        sleep(INTERVAL).await;
    }
}

type Events<K> = stream::BoxStream<'static, watcher::Result<watcher::Event<K>>>;

/// The events of a kind of ESO's while it is there; without it, there are no objects.
pub(crate) fn events<K>(ctx: &Context) -> Events<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::all(ctx.client.clone());
    switched(ctx.takeover.served.subscribe(), move |served| served.then(|| watched(api.clone())))
}

fn watched<K>(api: Api<Guarded<K>>) -> Events<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().boxed()
}

/// The events of the watch that belongs to the present value, from a list on.
fn switched<K: Send + 'static, T: Clone + Send + Sync + 'static>(
    mut switch: watch::Receiver<T>,
    watch: impl Fn(&T) -> Option<Events<K>> + Send + 'static,
) -> Events<K> {
    let start = move |value: &T| {
        let nothing =
            || stream::iter([Ok(watcher::Event::Init), Ok(watcher::Event::InitDone)]).chain(stream::pending());
        watch(value).unwrap_or_else(|| nothing().boxed())
    };
    let value = switch.borrow_and_update().clone();
    let first = start(&value);
    stream::unfold((switch, first, start), |(mut switch, mut events, start)| async move {
        loop {
            tokio::select! {
                biased;
                changed = switch.changed() => {
                    changed.ok()?;
                    let value = switch.borrow_and_update().clone();
                    events = start(&value);
                }
                event = events.next() => return Some((event?, (switch, events, start))),
            }
        }
    })
    .boxed()
}

/// The ExternalSecrets of ESO's that concern us: while no store does, none is even read.
fn concerning(ctx: Arc<Context>) -> Events<Guarded<EsoExternalSecret>> {
    let api = Api::all(ctx.client.clone());
    let switch = ctx.takeover.holds.subscribe();
    switched(switch, move |(count, holds)| {
        let (ctx, count) = (ctx.clone(), *count);
        let events = if holds.is_empty() { None } else { Some(watched(api.clone())) };
        let events = events?.filter_map(move |event| {
            use watcher::Event::{Apply, Delete, InitApply, InitDone};
            let concerns = |guard: &Guarded<EsoExternalSecret>| {
                guard.0.as_ref().is_ok_and(|object| ctx.takeover.role(object) != Role::Theirs)
            };
            std::future::ready(match event {
                Ok(Apply(object)) if !concerns(&object) => Some(Ok(Delete(object))),
                Ok(InitApply(object)) if !concerns(&object) => None,
                Ok(InitDone) => {
                    ctx.takeover.listed.store(count, Ordering::SeqCst);
                    Some(Ok(InitDone))
                }
                event => Some(event),
            })
        });
        Some(events.boxed())
    })
}

impl EsoExternalSecret {
    /// Namespace and name of its Secret.
    pub(crate) fn target(&self) -> (String, String) {
        let declared = self.spec.declared.as_ref().ok().and_then(|spec| spec.target.name.clone());
        (self.namespace().unwrap_or_default(), declared.unwrap_or_else(|| self.name_any()))
    }
}

impl Reconcile for EsoExternalSecret {
    const KIND: &'static str = "ExternalSecret.external-secrets.io";

    fn handle(stores: &Stores) -> &Handle<Self> {
        &stores.eso_external_secrets
    }

    fn api(&self, ctx: &Context) -> Api<Self> {
        ctx.api(&self.namespace().unwrap_or_default())
    }

    fn events(
        ctx: &Arc<Context>,
    ) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<Self>>>> + Send + 'static {
        concerning(ctx.clone())
    }

    async fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> Result<Action, Problem> {
        match ctx.takeover.role(&object) {
            Role::Theirs => Ok(Action::await_change()),
            Role::Mixed(others) => {
                external_secret::forget(&takeover::outline(&object), &ctx);
                ctx.takeover.mixed().extend(object.uid());
                mixed(&object, &ctx, &others).await;
                Ok(Action::await_change())
            }
            Role::Ours | Role::Leaving if object.metadata.deletion_timestamp.is_some() => release(&object, &ctx).await,
            Role::Leaving => {
                external_secret::forget(&takeover::outline(&object), &ctx);
                give_back(&object, &ctx).await
            }
            Role::Ours => {
                if let Some(problem) = replaced(&object, &ctx) {
                    return Err(problem);
                }
                let declared = takeover::declared(&object).map_err(|error| {
                    let message = format!("spec is not understood: {error}");
                    Problem::new(Reason::InvalidSpec, message)
                })?;
                external_secret::look_at(&declared, &ctx).await
            }
        }
    }

    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self> {
        let ours = takeover::outline(self);
        let status = ours.with_problem(problem, now)?.status.unwrap_or_default();
        let status = Some(takeover::status(&ours, &status));
        (self.status != status).then(|| Self { status, ..self.clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        takeover::outline(self).conditions()
    }

    fn listed(ctx: &Context) {
        // They are what they were, but a store has changed hands.
        ctx.stores.eso_external_secrets.wake_where(|_| true);
    }

    fn deleted(&self, ctx: &Context) {
        if let Some(uid) = &self.metadata.uid {
            ctx.takeover.mixed().remove(uid);
        }
        external_secret::forget(&takeover::outline(self), ctx);
    }
}

/// Writes a status of ours in ESO's terms.
pub(crate) async fn set_status(
    object: &ExternalSecret,
    ctx: &Context,
    status: &ExternalSecretStatus,
) -> Result<(), Problem> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let Some(theirs) = ctx.stores.eso_external_secrets.by_name(Some(&namespace), &name) else { return Ok(()) };
    let mut status = takeover::status(object, status);
    if theirs.metadata.uid != object.metadata.uid || theirs.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api = theirs.api(ctx);
    let mut updated = EsoExternalSecret::clone(&theirs);
    updated.metadata.resource_version.clone_from(&object.metadata.resource_version);
    updated.status = Some(status.clone());
    if cluster::try_write_status(&api, &updated).await?.is_some() {
        return Ok(());
    }
    // The watch lags behind, perhaps only behind our own last write.
    let same = |live: &EsoExternalSecret| {
        live.metadata.uid == object.metadata.uid && live.metadata.generation == object.metadata.generation
    };
    if let Some(live) = cluster::get(&api, &name).await?.filter(same) {
        status.refresh_time = status.refresh_time.max(live.status.as_ref().and_then(|status| status.refresh_time));
        cluster::write_status(&api, &EsoExternalSecret { status: Some(status), ..live }).await?;
    }
    Ok(())
}

/// Takes the Secret over from the ExternalSecret of ESO's kind that this one replaces: of the same name and for the same
/// Secret, and ours.
pub(crate) async fn succeed(object: &ExternalSecret, ctx: &Context) -> Result<(), Problem> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let before = ctx.stores.eso_external_secrets.by_name(Some(&namespace), &name).filter(|before| {
        let same = before.target().1 == secret::target_name(object);
        object.spec.group == Group::Strongroom && same && ctx.takeover.role(before) == Role::Ours
    });
    let Some(before) = before else { return Ok(()) };
    let api: Api<Secret> = ctx.api(&namespace);
    let target = secret::target_name(object);
    let meta = api.get_metadata_opt(target).await;
    let meta = meta.map_err(|error| cluster::problem::<Secret>("read", target, &error))?;
    let before = takeover::declared(&before).unwrap_or_else(|_| takeover::outline(&before));
    let patch = meta.and_then(|meta| takeover::passed_on(&meta.metadata, object, &before));
    let Some(patch) = patch else { return Ok(()) };
    let result = api.patch_metadata(target, &PatchParams::default(), &Patch::Merge(patch)).await;
    result.map_err(|error| cluster::problem::<Secret>("take over", target, &error))?;
    ctx.stores.wake_declared(Group::ExternalSecrets, &namespace, &name);
    Ok(())
}

/// Why an ExternalSecret of ESO's kind is not reconciled any more: one of ours has the same name and the same Secret.
fn replaced(object: &EsoExternalSecret, ctx: &Context) -> Option<Problem> {
    let (namespace, name) = object.target();
    let by = ctx.stores.external_secrets.by_name(Some(&namespace), &object.name_any())?;
    let is_it = by.metadata.deletion_timestamp.is_none() && secret::target_name(&by) == name;
    is_it.then(|| {
        let message = format!(
            "the ExternalSecret of strongroom.dev with the same name writes Secret {name} now: delete this one"
        );
        Problem::new(Reason::Foreign, message)
    })
}

/// Says that nobody reconciles an ExternalSecret.
async fn mixed(object: &EsoExternalSecret, ctx: &Context, others: &BTreeSet<StoreKey>) {
    let names: Vec<String> = others.iter().map(ToString::to_string).collect();
    let note = format!(
        "this ExternalSecret is left alone: it refers to a store with controller strongroom and to {}, so neither \
         Strongroom nor External Secrets Operator reconciles it; declare two ExternalSecrets",
        names.join(", ")
    );
    ctx.event(&object.object_ref(&()), EventType::Warning, "MixedStores", note).await;
}

/// Takes ESO's finalizer off an ExternalSecret that is being deleted: ESO may not be there to do it. The Secret goes
/// with its owner.
async fn release(object: &EsoExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let left: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    if left.len() < object.finalizers().len() {
        let metadata = json!({"finalizers": left, "resourceVersion": object.resource_version()});
        patch(object, ctx, "release", &json!({ "metadata": metadata })).await?;
    }
    Ok(Action::await_change())
}

/// Changes an object, unless it has changed or is gone.
async fn patch(
    object: &EsoExternalSecret,
    ctx: &Context,
    action: &str,
    patch: &serde_json::Value,
) -> Result<Option<PartialObjectMeta<EsoExternalSecret>>, Problem> {
    match object.api(ctx).patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(patched) => Ok(Some(patched)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(cluster::problem::<EsoExternalSecret>(action, &object.name_any(), &error)),
    }
}

/// Gives an ExternalSecret back to ESO: first its Secret, last the status, so that it is done again where it was
/// interrupted. ESO is woken by the change of the Secret, and sees that the status is not its own.
async fn give_back(object: &EsoExternalSecret, ctx: &Context) -> Result<Action, Problem> {
    let declared = takeover::declared(object).unwrap_or_else(|_| takeover::outline(object));
    let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
    let name = secret::target_name(&declared);
    let live = cluster::get(&api, name).await?;
    let back = live.as_ref().and_then(|live| takeover::given_back(live, &declared));
    if let Some(back) = &back {
        let result = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(back)).await;
        result.map_err(|error| cluster::problem::<Secret>("give back", name, &error))?;
    }
    let wakes = back.is_some() && live.is_some_and(|live| live.labels().contains_key(MANAGED));
    if !wakes {
        // ESO does not watch a Secret that it did not make.
        let annotate = |value: Option<String>| json!({"metadata": {"annotations": {TOUCH: value}}});
        patch(object, ctx, "wake ESO for", &annotate(Some(ctx.now().to_rfc3339()))).await?;
        patch(object, ctx, "wake ESO for", &annotate(None)).await?;
    }
    if let Some(uid) = &object.metadata.uid {
        ctx.takeover.mixed().remove(uid);
    }
    // Where ESO has been there already, the status is its own.
    let live = cluster::get(&object.api(ctx), &object.name_any()).await?;
    if live.as_ref().is_some_and(takeover::is_marked) {
        let unmarked = json!({"status": {"syncedResourceVersion": null}});
        let params = PatchParams::default();
        let result = object.api(ctx).patch_status(&object.name_any(), &params, &Patch::Merge(unmarked)).await;
        result.map_err(|error| {
            cluster::problem::<EsoExternalSecret>("write the status of", &object.name_any(), &error)
        })?;
    }
    Ok(Action::await_change())
}

/// Who uses a store of ESO's.
pub(crate) async fn users(ctx: &Context, store: &StoreKey) -> Users {
    let mut users = Users::default();
    for object in ctx.stores.eso_external_secrets.store.state() {
        if !takeover::keys(&object).contains(store) {
            continue;
        }
        match ctx.takeover.role(&object) {
            Role::Ours => users.ours += 1,
            Role::Mixed(_) => {
                users.mixed.insert(format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()));
            }
            Role::Theirs | Role::Leaving => {}
        }
    }
    users.pushed = pushed(ctx, store).await.unwrap_or_default();
    users
}

/// The PushSecrets that name a store.
async fn pushed(ctx: &Context, store: &StoreKey) -> kube::Result<BTreeSet<String>> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(ESO_GROUP, "v1alpha1", "PushSecret"));
    let api: Api<DynamicObject> = match &store.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &kind),
        None => Api::all_with(ctx.client.clone(), &kind),
    };
    let wanted = if store.namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
    let names = |object: &DynamicObject| {
        let refs = object.data.pointer("/spec/secretStoreRefs").and_then(serde_json::Value::as_array).cloned();
        refs.into_iter().flatten().any(|reference| {
            reference["name"] == *store.name && reference["kind"].as_str().unwrap_or("SecretStore") == wanted
        })
    };
    let list = api.list(&ListParams::default()).await?;
    let name = |object: DynamicObject| format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    Ok(list.items.into_iter().filter(names).map(name).collect())
}

/// Whether every ExternalSecret of a store that was ours has been given back.
pub(crate) fn is_left(ctx: &Context, store: &StoreKey) -> bool {
    let all = ctx.stores.eso_external_secrets.store.state();
    ctx.takeover.is_listed()
        && !all.iter().any(|object| takeover::is_marked(object) && takeover::keys(object).contains(store))
}
