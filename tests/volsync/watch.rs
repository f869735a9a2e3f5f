//! When objects say something, as a watch tells it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::support::{eventually, kubectl};

/// The last value of each object, and since when it has it.
type Seen = Arc<Mutex<BTreeMap<String, (String, DateTime<Utc>)>>>;

/// A watch on one field of all objects of a kind in a namespace.
pub(crate) struct Watch {
    process: Child,
    seen: Seen,
    namespace: String,
    kind: String,
}

impl Watch {
    pub(crate) fn start(namespace: &str, kind: &str, field: &str) -> Self {
        let path = format!("jsonpath={{.metadata.name}} {field}{{\"\\n\"}}");
        let mut process = Command::new("kubectl")
            .args(["-n", namespace, "get", kind, "--watch", "-o", &path])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let seen = Seen::default();
        let (lines, notes) = (BufReader::new(process.stdout.take().expect("a pipe")), Arc::clone(&seen));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let (name, value) = line.split_once(' ').unwrap_or((&line, ""));
                let mut seen = notes.lock().expect("nobody panicked");
                if seen.get(name).is_none_or(|(old, _)| old != value) {
                    seen.insert(name.to_owned(), (value.to_owned(), Utc::now()));
                }
            }
        });
        Self { process, seen, namespace: namespace.to_owned(), kind: kind.to_owned() }
    }

    /// What these say now; nothing where they are not there.
    pub(crate) fn now<'a>(&self, names: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
        let there = kubectl(&["-n", &self.namespace, "get", &self.kind, "-o", "jsonpath={.items[*].metadata.name}"]);
        eventually("the watch has begun", Duration::from_mins(1), || {
            let seen = self.seen.lock().expect("nobody panicked");
            there.split_whitespace().all(|name| seen.contains_key(name)).then_some(())
        });
        let seen = self.seen.lock().expect("nobody panicked");
        names
            .map(|name| (name.to_owned(), seen.get(name).map(|(value, _)| value.clone()).unwrap_or_default()))
            .collect()
    }

    /// When each of these said something else.
    pub(crate) fn changed(
        &self,
        before: &BTreeMap<String, String>,
        limit: Duration,
    ) -> BTreeMap<String, DateTime<Utc>> {
        eventually("all have said something else", limit, || {
            let seen = self.seen.lock().expect("nobody panicked");
            let of = |(name, before): (&String, &String)| {
                let (value, at) = seen.get(name)?;
                (value != before).then(|| (name.clone(), *at))
            };
            before.iter().map(of).collect()
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
