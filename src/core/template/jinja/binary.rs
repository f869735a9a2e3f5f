//! A value that is no text, in Jinja's engine: it can be shown as it is, compared, and given to our functions. Whoever
//! wants its text otherwise (a filter of Jinja's own, `~`) would get what stands for it, so that is noted as an error.

use std::{
    cmp::Ordering,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use minijinja::{
    Error, Output, State, Value,
    value::{DynObject, Enumerator, Object, ObjectRepr},
};

use super::bytes;

/// What takes the output of a part of the template and makes a text of it.
const CAPTURES: [&str; 3] = ["set", "filter", "recursive"];

/// Whether a value that is no text was taken for one.
#[derive(Clone, Debug, Default)]
pub(super) struct Misuse(Arc<AtomicBool>);

impl Misuse {
    pub(super) fn note(&self) {
        self.0.store(true, Relaxed);
    }

    pub(super) fn happened(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A value that is no text, as a string of the engines carries it.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) carried: Arc<str>,
    misuse: Misuse,
}

impl Object for Binary {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        // Of the others the engine would say without asking that nothing is in them.
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.misuse.note();
        Enumerator::Empty
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        Some(bytes::meant(&self.carried).cmp(&bytes::meant(&other.carried)))
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misuse.note();
        Ok(())
    }
}

/// A text of the other engine, whatever it carries.
pub(super) fn text(text: &Arc<str>, misuse: &Misuse) -> Value {
    if bytes::is_plain(text) {
        return Value::from(text.clone());
    }
    Value::from_object(Binary { carried: text.clone(), misuse: misuse.clone() })
}

/// Shows values as they are, where the output is the result and no text that the template goes on with.
pub(super) fn formatter(
    template: &str,
    misuse: &Misuse,
) -> impl Fn(&mut Output, &mut State, &Value) -> Result<(), Error> + Send + Sync + 'static {
    // A `set` that assigns makes no text of output, but is not told apart from one that does.
    let captures = super::words(template).iter().any(|word| CAPTURES.contains(word));
    let misuse = misuse.clone();
    move |output, state, value| match value.downcast_object_ref::<Binary>() {
        Some(binary) => {
            if captures {
                misuse.note();
            }
            output.write_str(&binary.carried).map_err(Error::from)
        }
        None => minijinja::escape_formatter(output, state, value),
    }
}
