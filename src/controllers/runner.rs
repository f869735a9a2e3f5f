//! The loop of every kind: watch, wake, reconcile, retry, report.

use std::{
    collections::HashMap,
    fmt::Debug,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Future, FutureExt, Stream, StreamExt, future::Shared, stream};
use kube::{
    Api, Resource,
    runtime::{
        Predicate, PredicateConfig, WatchStreamExt,
        controller::{Action, Config, Controller},
        events::EventType,
        predicates,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::common::{Condition, Time},
    clients::{cluster, guarded::Guarded},
    controllers::{
        context::{Context, Feed, Handle, Stores},
        metrics::{KindLabels, ProblemLabels},
        routine::Routine,
    },
    core::{
        conditions, names,
        problem::{Class, Problem, Reason},
    },
};

/// Objects in a page of a list: pages take memory that is not given back.
pub(crate) const PAGE: u32 = 50;
/// Objects of one kind that are worked on at once.
const CONCURRENCY: u16 = 16;
/// Of these, how many without a user's doing: because of a start, or of something else that changed.
const ROUTINE: usize = 12;

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
    let store = K::handle(&ctx.stores).store.clone();
    let observer = ctx.clone();
    let events = K::events(&ctx).filter_map(move |event| std::future::ready(valid(&observer, event)));
    let retries = Arc::new(Retries::default());
    let routine: Arc<Routine<ObjectRef<K>>> = Routine::new(ROUTINE);
    let (observer, forgotten, ended) = (ctx.clone(), retries.clone(), routine.clone());
    let (filled, is_filled) = (feed.filled.clone(), feed.filled.subscribe());
    let objects = reflector::reflector(feed.writer, events)
        .inspect(move |event| match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => object.changed(&observer),
            Ok(watcher::Event::Delete(object)) => {
                // Another of that name is not made to wait for what this one met.
                forgotten.reset(&key(object));
                ended.done(&ObjectRef::from_obj(object));
                object.deleted(&observer);
            }
            Ok(watcher::Event::InitDone) => {
                // What vanished while the watch was away is not told of otherwise.
                ended.retain(|object| K::handle(&observer.stores).store.get(object).is_some());
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
    let waker = ctx.clone();
    let objects = objects.filter_map(move |object| {
        // What is there at the start is routine; what comes later is a user's.
        let object = match object {
            Ok(object) if !*is_filled.borrow() => {
                K::handle(&waker.stores).wake(&object);
                None
            }
            object => Some(object),
        };
        std::future::ready(object)
    });
    let (waiting, looked, running) = (ctx.clone(), ctx.clone(), routine.clone());
    let exists = move |object: &ObjectRef<K>| K::handle(&looked.stores).store.get(object).is_some();
    let woken = routine.admitted(feed.wake, exists);
    let woken = stream::once(async move { K::handle(&waiting.stores).filled().await }.map(|()| woken)).flatten();
    let policy_retries = retries.clone();
    Controller::for_stream(objects, store)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(Duration::from_millis(20)))
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown)
        .run(
            move |object, ctx| {
                let (retries, routine) = (retries.clone(), running.clone());
                async move {
                    let result = observed(object.clone(), ctx, &retries).await;
                    routine.done(&ObjectRef::from_obj(&*object));
                    result
                }
            },
            move |object: Arc<K>, problem: &Problem, _| Action::requeue(policy_retries.after(&object, problem)),
            ctx,
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// A reconcile with what is the same for every kind around it.
async fn observed<K: Reconcile>(object: Arc<K>, ctx: Arc<Context>, retries: &Retries) -> Result<Action, Problem> {
    let key = key(&*object);
    let (kind, started) = (KindLabels { kind: K::KIND }, Instant::now());
    let _busy = ctx.busy.start(format!("{} {key}", K::KIND));
    let result = contained(K::reconcile(object.clone(), ctx.clone())).await;
    ctx.metrics.reconciles.get_or_create(&kind).inc();
    ctx.metrics.duration.get_or_create(&kind).observe(started.elapsed().as_secs_f64());
    match &result {
        Ok(_) => retries.reset(&key),
        Err(problem) => {
            let labels = ProblemLabels { kind: K::KIND, reason: problem.reason.as_str() };
            ctx.metrics.problems.get_or_create(&labels).inc();
            object.failed(&ctx, problem);
            tracing::warn!(kind = K::KIND, object = key, reason = %problem.reason, "{problem}");
            report(&*object, &ctx, problem).await;
        }
    }
    result
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
            Some(object)
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

fn key<K: Resource>(object: &K) -> String {
    let namespace = object.meta().namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{namespace}{}", object.meta().name.as_deref().unwrap_or_default())
}

/// How often each object failed in a row.
#[derive(Default)]
struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    fn reset(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// When to try again: by the problem's class, growing, and spread by the object's uid.
    fn after<K: Resource<DynamicType = ()>>(&self, object: &Arc<K>, problem: &Problem) -> Duration {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(key(&**object)).or_default();
        *count = (*count + 1).min(16);
        delay(problem.class(), *count, object.meta().uid.as_deref().unwrap_or_default())
    }
}

/// The delay before the `count`-th retry.
fn delay(class: Class, count: u32, seed: &str) -> Duration {
    let seconds = match class {
        Class::Transient => (1_u64 << (count - 1).min(8)).min(120),
        Class::Blocked => (5 * u64::from(count)).min(30),
        Class::Terminal => 3600,
    };
    let spread = u64::from(u16::from_str_radix(&names::hash(&[seed], 4), 16).unwrap_or_default()) % 200;
    Duration::from_millis(seconds * (900 + spread))
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

    #[test]
    fn retries_grow_and_stay_bounded() {
        let seconds = |class, count| delay(class, count, "uid").as_secs();
        assert!(seconds(Class::Transient, 1) <= 1);
        assert!((100..=132).contains(&seconds(Class::Transient, 16)));
        assert!((27..=33).contains(&seconds(Class::Blocked, 16)));
        assert!(seconds(Class::Terminal, 1) >= 3240);
        assert_ne!(delay(Class::Terminal, 1, "a"), delay(Class::Terminal, 1, "b"));
    }
}
