//! Metrics as data: what a page says about declared objects.

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// These labels and more of them.
pub fn with<const N: usize>(labels: &Labels, more: [(&'static str, &str); N]) -> Labels {
    labels.iter().cloned().chain(more.map(|(name, value)| (name, value.to_owned()))).collect()
}

/// Gauges of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, without the project's prefix.
    pub name: &'static str,
    /// What is measured.
    pub help: &'static str,
    /// The values that are known.
    pub samples: Vec<(Labels, i64)>,
}

impl Family {
    /// A family without values.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: vec![] }
    }

    /// Adds a value.
    pub fn add(&mut self, labels: Labels, value: i64) {
        self.samples.push((labels, value));
    }

    /// Adds a value where it is known.
    pub fn add_some(&mut self, labels: &Labels, value: Option<i64>) {
        if let Some(value) = value {
            self.add(labels.clone(), value);
        }
    }
}
