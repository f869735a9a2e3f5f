//! Columns for people, as kubectl prints them, and times as they read best in one.

use crate::api::common::Time;

/// What stands between two columns.
const GAP: &str = "   ";

/// A table: each column as wide as its widest cell, the last one as long as it is.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        std::iter::once(&head).chain(rows).map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join(GAP).trim_end());
        text.push('\n');
    }
    text
}

/// A text in one line, without what could move a terminal's cursor: messages quote what others wrote.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long ago something was, in one unit: `45s`, `12m`, `3h`, `8d`.
pub fn age(time: Time, now: Time) -> String {
    length((now - time).num_seconds())
}

/// When something will be: `in 12m`, or `now` where it should have been.
pub fn ahead(time: Time, now: Time) -> String {
    let seconds = (time - now).num_seconds();
    if seconds <= 0 { "now".to_owned() } else { format!("in {}", length(seconds)) }
}

/// A number of seconds in one unit, as kubectl shows ages: two minutes are `120s`, two days `48h`.
pub fn length(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..10_800 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            ["a", "", "short"].map(str::to_owned).to_vec(),
            ["ä long one", "\u{1b}[2Jx\ny", ""].map(str::to_owned).to_vec(),
        ];
        insta::assert_snapshot!(table(&["NAME", "B", "STATUS"], &rows));
    }

    #[test]
    fn times_are_in_one_unit() {
        let lengths = [-5, 0, 119, 120, 10_799, 10_800, 172_799, 172_800].map(length);
        assert_eq!(lengths, ["0s", "0s", "119s", "2m", "179m", "3h", "47h", "2d"]);
        let now: Time = "2026-09-24T12:00:00Z".parse().unwrap();
        let then = now + chrono::Duration::minutes(5);
        assert_eq!((ahead(then, now), ahead(now, then)), ("in 5m".to_owned(), "now".to_owned()));
        assert_eq!(age(now, then), "5m");
    }
}
