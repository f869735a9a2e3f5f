use super::*;

#[test]
fn durations_are_read_as_go_reads_them() {
    let nanos = |text: &str| text.parse::<Duration>().map(|duration| duration.as_std().as_nanos()).ok();
    for (text, expected) in [
        ("0", Some(0)),
        ("15s", Some(15_000_000_000)),
        ("1h30m", Some(5_400_000_000_000)),
        ("1.5h", Some(5_400_000_000_000)),
        (".5s", Some(500_000_000)),
        ("1.s", Some(1_000_000_000)),
        ("1us", Some(1_000)),
        ("2µs3ns", Some(2_003)),
        ("0.25ms", Some(250_000)),
        ("1.0000000009s", Some(1_000_000_000)),
        ("", None),
        ("1", None),
        (".s", None),
        ("1.2.3s", None),
        ("1d", None),
        ("-1h", None),
        ("h", None),
        ("99999999999999999999h", None),
        ("18446744073709551615h", None),
    ] {
        assert_eq!(nanos(text), expected, "{text}");
    }
    assert_eq!("1.5h".parse::<Duration>().unwrap().to_string(), "1h30m");
}
