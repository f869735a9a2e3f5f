//! Sizes for people.

/// A number of bytes: `312 B`, `1.2 GiB`.
pub fn size(bytes: i64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = bytes.saturating_mul(10);
    let mut unit = "B";
    for next in units {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" || tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        let sizes = [0, 1023, 1024, 1_288_490_189, 110_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.2 GiB", "102 GiB"]);
    }
}
