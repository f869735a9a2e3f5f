//! What a rendering has done and may still do: bytes, steps, and what it draws by chance.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use gotmpl::Value;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Moment, Values, bytes, functions::Failure};
use crate::api::common::Time;

/// Bytes that all calls of one template may read and make together.
pub(super) const BUDGET: usize = 32 << 20;
/// Steps of one template together: each action, condition and argument that is reached is one.
const MAX_STEPS: usize = 500_000;
/// How deep lists and dictionaries may hold each other: far more than anyone writes, and no danger for the stack.
pub(super) const MAX_DEPTH: usize = 64;

/// The state of one rendering.
pub(super) struct Work {
    now: Time,
    data: Arc<BTreeMap<Arc<str>, Value>>,
    /// The key of the stream of chance.
    key: Vec<u8>,
    drawn: AtomicU64,
    spent: AtomicUsize,
    steps: AtomicUsize,
}

impl Work {
    /// For one template. Templates in different places draw different things from the same seed.
    pub(super) fn new(moment: &Moment, place: &str, values: &Values) -> Self {
        Self {
            now: moment.now,
            data: values.map.clone(),
            key: code(&moment.seed, place.as_bytes()),
            drawn: AtomicU64::new(0),
            spent: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
        }
    }

    /// Whether a value is all the values that the template is given.
    pub(super) fn is_data(&self, value: &Value) -> bool {
        matches!(value, Value::Map(map) if Arc::ptr_eq(map, &self.data))
    }

    /// The time of the rendering.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Takes bytes from what may be read and made.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Failure> {
        let bytes = bytes.saturating_add(16).min(BUDGET + 1);
        let before = self.spent.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > BUDGET { Err("the template makes too much".into()) } else { Ok(()) }
    }

    /// Takes steps from what may be done.
    pub(super) fn step(&self, count: usize) -> Result<(), Failure> {
        let before = self.steps.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > MAX_STEPS { Err("the template does too much".into()) } else { Ok(()) }
    }

    /// The next 32 bytes of the stream of chance.
    pub(super) fn draw(&self) -> Vec<u8> {
        let index = self.drawn.fetch_add(1, Ordering::Relaxed);
        code(&self.key, &index.to_be_bytes())
    }
}

/// HMAC-SHA256.
fn code(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // An HMAC takes keys of any length.
        return vec![];
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// What a value holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    /// About how many bytes.
    pub(super) bytes: usize,
    /// Whether a part of it is no text.
    pub(super) binary: bool,
}

/// What a value holds, where it is not nested too deep.
pub(super) fn weigh(value: &Value) -> Result<Weight, Failure> {
    let mut weight = Weight::default();
    measure(value, 0, &mut weight)?;
    Ok(weight)
}

/// About how many bytes a value holds, where it is not nested too deep.
pub(super) fn size(value: &Value) -> Result<usize, Failure> {
    weigh(value).map(|weight| weight.bytes)
}

fn measure(value: &Value, depth: usize, sum: &mut Weight) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err("the value is nested too deep".into());
    }
    sum.bytes = sum.bytes.saturating_add(16);
    // What is more than the budget need not be counted, and would take its time where the parts are shared.
    if sum.bytes > BUDGET {
        return Ok(());
    }
    let text = |text: &str, sum: &mut Weight| {
        sum.bytes = sum.bytes.saturating_add(text.len());
        sum.binary = sum.binary || !bytes::is_plain(text);
    };
    match value {
        Value::String(value) => text(value, sum),
        Value::List(list) => list.iter().try_for_each(|value| measure(value, depth + 1, sum))?,
        Value::Map(map) => map.iter().try_for_each(|(key, value)| {
            text(key, sum);
            measure(value, depth + 1, sum)
        })?,
        _ => {}
    }
    Ok(())
}
