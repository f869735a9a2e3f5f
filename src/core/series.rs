//! Metrics as data: what a page says about declared objects.

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// These labels and more of them.
pub fn with<const N: usize>(labels: &Labels, more: [(&'static str, &str); N]) -> Labels {
    labels.iter().cloned().chain(more.map(|(name, value)| (name, value.to_owned()))).collect()
}

/// A gauge: its name, without the project's prefix, and what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric(pub &'static str, pub &'static str);

/// What is known of each metric: labels and value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page(pub Vec<(Metric, Vec<(Labels, i64)>)>);

impl Page {
    /// Adds a value.
    pub fn add(&mut self, metric: Metric, labels: Labels, value: i64) {
        match self.0.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, samples)) => samples.push((labels, value)),
            None => self.0.push((metric, vec![(labels, value)])),
        }
    }

    /// Adds a value where it is known.
    pub fn add_some(&mut self, metric: Metric, labels: &Labels, value: Option<i64>) {
        if let Some(value) = value {
            self.add(metric, labels.clone(), value);
        }
    }

    /// The page for people.
    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |name: &str, (labels, value): &(Labels, i64)| {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{name} {} {value}", labels.join(" "))
        };
        self.0.iter().flat_map(|(metric, samples)| samples.iter().map(|sample| line(metric.0, sample))).collect()
    }
}
