//! Watches of kinds that may appear and vanish, and that matter only while a store of ESO's is ours.

use std::{
    fmt::Debug,
    sync::{Arc, atomic::Ordering},
};

use futures::{StreamExt, stream};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::role;
use crate::{
    api::eso::EsoExternalSecret,
    clients::guarded::Guarded,
    controllers::{context::Context, runner::PAGE},
    core::takeover::Role,
};

type Events<K> = stream::BoxStream<'static, watcher::Result<watcher::Event<K>>>;

/// The events of a kind of ESO's while it is there; without it, there are no objects.
pub(crate) fn events<K>(ctx: &Context) -> Events<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::all(ctx.client.clone());
    switched(ctx.takeover.served.subscribe(), move |served| {
        served.contains(&*K::kind(&())).then(|| watched(api.clone()))
    })
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
pub(super) fn concerning(ctx: Arc<Context>) -> Events<Guarded<EsoExternalSecret>> {
    let api = Api::all(ctx.client.clone());
    let switch = ctx.takeover.known.subscribe();
    switched(switch, move |known| {
        let (ctx, count) = (ctx.clone(), known.changes);
        let events = known.matters().then(|| watched(api.clone()));
        let events = events?.filter_map(move |event| {
            use watcher::Event::{Apply, Delete, InitApply, InitDone};
            let concerns = |guard: &Guarded<EsoExternalSecret>| {
                guard.0.as_ref().is_ok_and(|object| role(&ctx, object) != Role::Theirs)
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
