//! The loop of every kind: watch, wake, reconcile, retry, report.

use std::{
    convert::Infallible,
    fmt::Debug,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Future, FutureExt, Stream, StreamExt, future::Shared, stream};
use kube::{
    Api, Resource,
    runtime::{
        Predicate, PredicateConfig, WatchStreamExt,
        controller::{self, Config, Controller},
        events::EventType,
        predicates,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::{
    api::common::{Condition, Time},
    clients::{cluster, guarded::Guarded},
    controllers::{
        context::{Context, Feed, Handle, Stores},
        fate::{Fate, fate},
        later::Later,
        metrics::{KindLabels, ProblemLabels},
        retries::{Retries, key},
        routine::Routine,
    },
    core::{
        conditions,
        problem::{Problem, Reason},
    },
};

/// Objects in a page of a list: pages take memory that is not given back.
pub(crate) const PAGE: u32 = 50;
/// Objects of one kind that are worked on at once.
const CONCURRENCY: u16 = 32;
/// Of these, how many without a user's doing: because of a start, or of something else that changed.
const ROUTINE: usize = 28;

/// When an object is looked at again without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action(Option<Duration>);

impl Action {
    /// After a time, as routine.
    pub(crate) fn requeue(after: Duration) -> Self {
        Self(Some(after))
    }

    /// Not before something changes.
    pub(crate) fn await_change() -> Self {
        Self(None)
    }
}

/// A kind that is reconciled.
pub(crate) trait Reconcile:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind's name.
    const KIND: &'static str;

    /// The objects of this kind.
    fn handle(stores: &Stores) -> &Handle<Self>;

    /// Where objects like this one are read and written.
    fn api(&self, ctx: &Context) -> Api<Self>;

    /// Looks at an object and does what is to be done.
    fn reconcile(object: Arc<Self>, ctx: Arc<Context>) -> impl Future<Output = Result<Action, Problem>> + Send;

    /// The object with a status that says what is wrong; none where the status says enough already.
    fn with_problem(&self, problem: &Problem, now: Time) -> Option<Self>;

    /// The conditions of the object's status.
    fn conditions(&self) -> Vec<Condition>;

    /// What the API tells of the objects of this kind.
    fn events(
        ctx: &Arc<Context>,
    ) -> impl Stream<Item = watcher::Result<watcher::Event<Guarded<Self>>>> + Send + 'static {
        let config = watcher::Config::default().page_size(PAGE);
        watcher(Api::<Guarded<Self>>::all(ctx.client.clone()), config).default_backoff()
    }

    /// Another kind may depend on this object, which appeared or changed (its status too).
    fn changed(&self, _ctx: &Context) {}

    /// All objects of this kind have been listed, at first or anew.
    fn listed(_ctx: &Context) {}

    /// A look at the object ended in a problem.
    fn failed(&self, _ctx: &Context, _problem: &Problem) {}

    /// The object is gone.
    fn deleted(&self, _ctx: &Context) {}
}

/// Runs the loop of a kind until `shutdown`.
pub(crate) async fn serve<K: Reconcile>(
    ctx: Arc<Context>,
    feed: Feed<K>,
    shutdown: Shared<impl Future<Output = ()> + Send + 'static>,
) {
    let pace = Arc::new(Pace::<K>::new());
    let later = {
        let (ctx, pace) = (ctx.clone(), pace.clone());
        async move { pace.later.run(|object| K::handle(&ctx.stores).wake_named(object)).await }
    };
    let Feed { writer, wake, filled } = feed;
    let objects = changed(&ctx, &pace, writer, filled);
    let (waiting, looked) = (ctx.clone(), ctx.clone());
    let exists = move |object: &ObjectRef<K>| K::handle(&looked.stores).store.get(object).is_some();
    let woken = pace.routine.clone().admitted(wake, exists);
    let woken = stream::once(async move { K::handle(&waiting.stores).filled().await }.map(|()| woken)).flatten();
    let controller = Controller::for_stream(objects, K::handle(&ctx.stores).store.clone())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(Duration::from_millis(2)))
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown)
        .run(move |object, ctx| look(object, ctx, pace.clone()), |_, never: &Infallible, _| match *never {}, ctx)
        .for_each(|_| std::future::ready(()));
    tokio::select! {
        () = controller => {}
        () = later => {}
    }
}

/// What is remembered of a kind's objects between looks.
struct Pace<K: Resource<DynamicType = ()>> {
    retries: Retries,
    routine: Arc<Routine<ObjectRef<K>>>,
    later: Later<ObjectRef<K>>,
}

impl<K: Reconcile> Pace<K> {
    fn new() -> Self {
        Self { retries: Retries::default(), routine: Routine::new(ROUTINE), later: Later::default() }
    }

    /// Another of that name is not made to wait for what this one met.
    fn forget(&self, object: &K) {
        let name = ObjectRef::from_obj(object);
        self.retries.reset(&key(object));
        self.routine.gone(&name);
        self.later.set(&name, None);
    }

    fn retain(&self, exists: impl Fn(&ObjectRef<K>) -> bool) {
        self.routine.retain(&exists);
        self.later.retain(&exists);
    }
}

/// The objects that a user made or changed.
fn changed<K: Reconcile>(
    ctx: &Arc<Context>,
    pace: &Arc<Pace<K>>,
    writer: reflector::store::Writer<K>,
    filled: watch::Sender<bool>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    let (observer, waker, pace, is_filled) = (ctx.clone(), ctx.clone(), pace.clone(), filled.subscribe());
    let invalid = ctx.clone();
    let events = K::events(ctx).filter_map(move |event| std::future::ready(valid(&invalid, event)));
    let objects = reflector::reflector(writer, events)
        .inspect(move |event| match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => object.changed(&observer),
            Ok(watcher::Event::Delete(object)) => {
                pace.forget(object);
                object.deleted(&observer);
            }
            Ok(watcher::Event::InitDone) => {
                // What vanished while the watch was away is not told of otherwise.
                pace.retain(|object| K::handle(&observer.stores).store.get(object).is_some());
                filled.send_replace(true);
                K::listed(&observer);
            }
            Ok(watcher::Event::Init) => {}
            Err(error) => tracing::warn!(kind = K::KIND, %error, "watch failed; it is tried again"),
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations).combine(predicates::labels),
            PredicateConfig::default(),
        );
    objects.filter_map(move |object| {
        // What is there at the start is routine; what comes later is a user's.
        let object = match object {
            Ok(object) if !*is_filled.borrow() => {
                K::handle(&waker.stores).wake(&object);
                None
            }
            object => Some(object),
        };
        std::future::ready(object)
    })
}

/// A look, and when the next one is due: that is routine, whoever was the reason for this one.
async fn look<K: Reconcile>(
    object: Arc<K>,
    ctx: Arc<Context>,
    pace: Arc<Pace<K>>,
) -> Result<controller::Action, Infallible> {
    let name = ObjectRef::from_obj(&*object);
    let _place = pace.routine.started(&name);
    pace.later.set(&name, None);
    let Action(next) = observed(object.clone(), &ctx, &pace.retries).await;
    // A look at an object that went away meanwhile may have noted something of it again.
    match fate(&K::handle(&ctx.stores).store, &object) {
        Fate::There => pace.later.set(&name, next),
        Fate::Replaced => {}
        Fate::Gone => {
            pace.forget(&object);
            object.deleted(&ctx);
        }
    }
    Ok(controller::Action::await_change())
}

/// A reconcile with what is the same for every kind around it.
async fn observed<K: Reconcile>(object: Arc<K>, ctx: &Arc<Context>, retries: &Retries) -> Action {
    let key = key(&*object);
    let (kind, started) = (KindLabels { kind: K::KIND }, Instant::now());
    let _busy = ctx.busy.start(format!("{} {key}", K::KIND));
    let result = contained(K::reconcile(object.clone(), ctx.clone())).await;
    ctx.metrics.reconciles.get_or_create(&kind).inc();
    ctx.metrics.duration.get_or_create(&kind).observe(started.elapsed().as_secs_f64());
    let problem = match result {
        Ok(action) => {
            retries.reset(&key);
            return action;
        }
        Err(problem) => problem,
    };
    let labels = ProblemLabels { kind: K::KIND, reason: problem.reason.as_str() };
    ctx.metrics.problems.get_or_create(&labels).inc();
    if fate(&K::handle(&ctx.stores).store, &*object) != Fate::There {
        // Of an object that is gone nothing is said any more.
        return Action::await_change();
    }
    object.failed(ctx, &problem);
    tracing::warn!(kind = K::KIND, object = key, reason = %problem.reason, "{problem}");
    let retry = retries.after(&*object, &problem);
    report(&*object, ctx, &problem).await;
    Action::requeue(retry)
}

/// A panic over one object, in a template engine for instance, must not end the work for all others.
async fn contained<T>(reconcile: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    // What a reconcile shares with others is behind locks that bear it.
    AssertUnwindSafe(reconcile).catch_unwind().await.unwrap_or_else(|_| {
        let message = "the operator itself failed here: its log names the place in its code; please report it";
        Err(Problem::new(Reason::InternalError, message))
    })
}

/// Puts a problem into the object's condition, and into an Event when it is a new one.
async fn report<K: Reconcile>(object: &K, ctx: &Context, problem: &Problem) {
    let Some(updated) = object.with_problem(problem, ctx.now()) else { return };
    let reason_of =
        |object: &K| conditions::get(&object.conditions(), conditions::READY).map(|condition| condition.reason.clone());
    let is_new = reason_of(object).as_deref() != Some(problem.reason.as_str());
    if let Err(error) = cluster::write_status(&object.api(ctx), &updated).await {
        tracing::debug!(kind = K::KIND, %error, "the problem could not be written; it is tried again");
        return;
    }
    if is_new {
        ctx.event(&object.object_ref(&()), EventType::Warning, problem.reason.as_str(), problem.message.clone()).await;
    }
}

/// Leaves out what cannot be understood, so that one invalid stored object does not stall the watch of all.
fn valid<K: Reconcile>(
    ctx: &Context,
    event: watcher::Result<watcher::Event<Guarded<K>>>,
) -> Option<watcher::Result<watcher::Event<K>>> {
    use watcher::Event;
    let check = |guard: Guarded<K>| match guard.0 {
        Ok(mut object) => {
            // Half of a stored object, and of use to nobody here.
            object.meta_mut().managed_fields = None;
            // Lists that were parsed have room for more than there is; those of a copy have not.
            Some(object.clone())
        }
        Err(invalid) => {
            ctx.metrics.invalid.get_or_create(&KindLabels { kind: K::KIND }).inc();
            tracing::error!(
                kind = K::KIND,
                object = invalid.metadata.name,
                error = invalid.error,
                "invalid object ignored"
            );
            None
        }
    };
    match event {
        Ok(Event::Apply(object)) => check(object).map(|object| Ok(Event::Apply(object))),
        Ok(Event::InitApply(object)) => check(object).map(|object| Ok(Event::InitApply(object))),
        Ok(Event::Delete(object)) => check(object).map(|object| Ok(Event::Delete(object))),
        Ok(Event::Init) => Some(Ok(Event::Init)),
        Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_of_that_object_only() {
        let panics = async { if true { panic!("canary-value") } else { Ok(()) } };
        let problem = contained(panics).await.unwrap_err();
        assert_eq!(problem.reason, Reason::InternalError);
        assert!(!problem.message.contains("canary"));
    }
}
