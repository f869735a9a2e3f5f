//! What someone may have meant: names that are similar to one that is not there.

/// At most this many similar names are proposed.
const MAX: usize = 3;

/// The candidates most similar to `wanted`: first those that differ in case and spaces only, then those that a few
/// typing errors apart, then those that contain it or are contained in it.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let plain = simplify(wanted);
    let mut found: Vec<(usize, &str)> =
        candidates.into_iter().filter_map(|candidate| Some((distance(&plain, candidate)?, candidate))).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX).map(|(_, candidate)| candidate).collect()
}

/// ` Did you mean "a" or "b"?`, or nothing where nothing is similar.
pub fn did_you_mean<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = near(wanted, candidates).into_iter().map(|name| format!("{name:?}")).collect();
    if names.is_empty() { String::new() } else { format!(" Did you mean {}?", names.join(" or ")) }
}

/// How far a candidate is from a simplified text; none where it is not similar.
fn distance(plain: &str, candidate: &str) -> Option<usize> {
    let other = simplify(candidate);
    if other.is_empty() || plain.is_empty() {
        return None;
    }
    // One typing error in three characters, at most three.
    let allowed = (plain.chars().count().max(other.chars().count()) / 3).min(3);
    let errors = edits(plain, &other);
    if errors <= allowed {
        return Some(errors);
    }
    let short = plain.len().min(other.len());
    (short >= 3 && (plain.contains(&other) || other.contains(plain))).then_some(allowed + 1)
}

/// Lower case, without what people write differently.
fn simplify(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(100).collect()
}

/// Characters to insert, delete, replace or swap with their neighbour to get from one text to another.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposes_what_is_similar_and_nothing_else() {
        let items = ["radarr", "sonarr", "Nextcloud (Admin)", "OVHcloud", "cloudnative-pg"];
        for (wanted, expected) in [
            ("Radarr", vec!["radarr"]),
            ("radar", vec!["radarr"]),
            ("sonrar", vec!["sonarr"]),
            ("nextcloud admin", vec!["Nextcloud (Admin)"]),
            ("OVHCloud", vec!["OVHcloud"]),
            ("cloudnative", vec!["cloudnative-pg"]),
            ("grafana", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(near(wanted, items), expected, "{wanted}");
        }
    }

    #[test]
    fn writes_a_question() {
        assert_eq!(did_you_mean("radar", ["radarr"]), r#" Did you mean "radarr"?"#);
        assert_eq!(did_you_mean("xyz", ["radarr"]), "");
    }
}
