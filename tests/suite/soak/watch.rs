//! Every state that a Secret of the soak is ever in, as the API server tells it, held against what its items were.

use std::{
    collections::BTreeMap,
    io::BufReader,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use base64::Engine;
use serde_json::Value;

use super::{
    shapes::{FOREIGN, PLACE, Shape},
    world::{Fields, World},
};

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    /// How many states of Secrets.
    pub states: usize,
    /// What should never be.
    pub wrong: Vec<String>,
    /// By Secret and item, the version that it was made of.
    floors: BTreeMap<(String, usize), usize>,
}

/// A watch of the Secrets; it ends with this.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    child: Arc<Mutex<Child>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> Child {
    let mut command = Command::new("kubectl");
    command.args(["get", "secrets", "-n", PLACE, "--watch", "--output-watch-events", "-o", "json"]);
    command.stdout(Stdio::piped()).spawn().expect("kubectl is in PATH")
}

impl Watch {
    /// Begins.
    pub fn new(world: Arc<Mutex<World>>, shapes: Arc<Vec<Shape>>) -> Self {
        let (seen, ends) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let child = Arc::new(Mutex::new(start()));
        let (one, other, end) = (seen.clone(), child.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            // The API server ends a watch after a while; the next one begins with everything.
            while !end.load(Ordering::SeqCst) {
                let output = lock(&other).stdout.take().expect("its output is piped");
                let events = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
                for event in events.map_while(Result::ok) {
                    // First the world: what is sent to the server is noted in it.
                    let world = lock(&world);
                    lock(&one).take(&event, &world, &shapes);
                }
                let mut child = lock(&other);
                let _ = child.wait();
                if !end.load(Ordering::SeqCst) {
                    *child = start();
                }
            }
        });
        Self { seen, child, ends, thread: Some(thread) }
    }

    /// What was seen so far; it fails where anything was wrong.
    pub fn seen(&self) -> usize {
        let seen = lock(&self.seen);
        assert!(seen.wrong.is_empty(), "what should never be:\n{}", seen.wrong.join("\n"));
        seen.states
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = lock(&self.child).kill();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A Secret's keys and values.
pub fn data(secret: &Value) -> Fields {
    let decode = |value: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let data = secret["data"].as_object().into_iter().flatten();
    // Every item of its category has notes, which are empty.
    let data = data.map(|(key, value)| (key.clone(), decode(value)));
    data.filter(|(key, value)| key != "notesPlain" || !value.is_empty()).collect()
}

impl Seen {
    fn take(&mut self, event: &Value, world: &World, shapes: &[Shape]) {
        let secret = &event["object"];
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        let Some(shape) = shapes.iter().find(|shape| shape.name == name) else { return };
        self.states += 1;
        let mut data = if event["type"] == "DELETED" { Fields::new() } else { data(secret) };
        let foreign = data.remove(FOREIGN.0);
        if shape.merges && foreign.as_deref() != Some(FOREIGN.1) {
            self.wrong.push(format!("{name}: the key of somebody else is {foreign:?}"));
        }
        for item in &shape.items {
            let prefix = format!("K{item}_");
            let (part, rest) = data.into_iter().partition(|(key, _)| key.starts_with(&prefix));
            data = rest;
            self.judge(shape, *item, &part, world);
        }
        if !data.is_empty() {
            self.wrong.push(format!("{name}: nobody declared {data:?}"));
        }
    }

    /// Whether a Secret holds of an item exactly what that was in one version, and no older one than before.
    fn judge(&mut self, shape: &Shape, item: usize, part: &Fields, world: &World) {
        let versions = &world.items[item].versions;
        let place = (shape.name.clone(), item);
        let floor = self.floors.get(&place).copied();
        if floor.is_none() && part.is_empty() {
            // Not made yet.
            return;
        }
        let made = |version: &usize| shape.is_made_of(item, versions, *version, part);
        let oldest = floor.map_or(0, |floor| world.oldest(item, floor));
        let last = if shape.once { floor.map_or(versions.len(), |floor| floor + 1) } else { versions.len() };
        let newer = (floor.unwrap_or(0)..last).find(made);
        if let Some(version) = newer.or_else(|| (oldest..floor.unwrap_or(0)).rfind(made)) {
            self.floors.insert(place, version);
            return;
        }
        let ever = (0..versions.len()).filter(made).collect::<Vec<_>>();
        self.wrong.push(format!(
            "{}: of item {item}, in version {} now, it holds {part:?}: once right in {ever:?}; it was made of version \
             {floor:?}, and may be made of {oldest} at the oldest",
            shape.name,
            versions.len() - 1,
        ));
    }
}
