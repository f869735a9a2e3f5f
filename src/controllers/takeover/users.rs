//! Who uses a store of ESO's that is ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::ResourceExt;
use tokio::time::{sleep, timeout};

use super::{pushes::Listed, role};
use crate::{
    controllers::{connect::Wake, context::Context, wake},
    core::{
        store::StoreKey,
        takeover::{self, Role, Users},
    },
};

/// How long the first list of PushSecrets is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// What changes together is counted once.
const SETTLES: Duration = Duration::from_secs(1);

/// Who uses a store of ESO's, for its status.
pub(crate) async fn users(ctx: &Context, store: &StoreKey) -> Users {
    let mut listed = ctx.takeover.pushes.listed.subscribe();
    // Otherwise every start would say for a moment that they are not known.
    let _ = timeout(PATIENCE, listed.wait_for(|listed| *listed != Listed::NotYet)).await;
    let users = count(ctx, store);
    ctx.takeover.tell(store, Some(users.clone()));
    users
}

/// Has the stores looked at whose users are not those that their status says.
pub(crate) async fn recount(ctx: Arc<Context>) {
    loop {
        ctx.takeover.recount.notified().await;
        sleep(SETTLES).await;
        for store in ctx.takeover.ours() {
            let told = ctx.takeover.told(&store);
            if told.is_some_and(|told| told != count(&ctx, &store)) {
                wake::wake(&ctx.stores, Wake::Store(store));
            }
        }
    }
}

fn count(ctx: &Context, store: &StoreKey) -> Users {
    let mut users = Users::default();
    for object in ctx.stores.eso_external_secrets.store.state() {
        if !takeover::keys(&object).contains(store) {
            continue;
        }
        match role(ctx, &object) {
            Role::Ours => users.ours += 1,
            Role::Mixed(_) => {
                users.mixed.insert(format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()));
            }
            Role::Theirs | Role::Leaving => {}
        }
    }
    users.pushed = pushed(ctx, store);
    users
}

/// The PushSecrets that refer to a store; none where they are not known.
fn pushed(ctx: &Context, store: &StoreKey) -> Option<BTreeSet<String>> {
    let of = &ctx.takeover.pushes;
    if *of.listed.borrow() != Listed::Done {
        return None;
    }
    let labels = labels(ctx, store);
    let all = of.all();
    let refer =
        all.iter().filter(|((namespace, _), spec)| takeover::pushes_to(spec, namespace, store, labels.as_ref()));
    Some(refer.map(|((namespace, name), _)| format!("{namespace}/{name}")).collect())
}

fn labels(ctx: &Context, store: &StoreKey) -> Option<BTreeMap<String, String>> {
    match store.namespace.as_deref() {
        Some(namespace) => ctx.stores.eso_secret_stores.by_name(Some(namespace), &store.name)?.metadata.labels.clone(),
        None => ctx.stores.eso_cluster_secret_stores.by_name(None, &store.name)?.metadata.labels.clone(),
    }
}

/// Whether every ExternalSecret of a store that was ours has been given back.
pub(crate) fn is_left(ctx: &Context, store: &StoreKey) -> bool {
    let all = ctx.stores.eso_external_secrets.store.state();
    ctx.takeover.is_listed()
        && !all.iter().any(|object| takeover::is_marked(object) && takeover::keys(object).contains(store))
}
