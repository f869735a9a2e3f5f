//! When something is due: five-field cron with `H`, IANA time zones, and a delay that spreads objects.
//!
//! A schedule's *times* are cron's times plus the object's delay. Two objects with the same schedule run at different
//! times, and one object always at the same ones: `H` and the delay come from a hash of its uid.
//! Where a clock change leaves a time out, it runs right after; where one repeats it, a fixed time runs once.

use chrono::{DateTime, SubsecRound, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use sha2::{Digest, Sha256};

use crate::{
    api::common::{Duration, Time},
    core::problem::{Problem, Reason},
};

/// The longest delay where none is declared.
const MAX_DEFAULT_JITTER: i64 = 600;
/// Name, first and last value of each of cron's fields. Days above 28 do not exist in every month: `H` avoids them.
const FIELDS: [(&str, u64, u64); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12), ("day of week", 0, 6)];
/// What cron's fields admit when they are written out.
const LAST: [u64; 5] = [59, 23, 31, 12, 7];

/// Times that repeat.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    delay: chrono::Duration,
}

/// What schedules say about now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A time has come.
    Due {
        /// The newest time that has passed. Older ones are not caught up.
        time: Time,
        /// The indices of the schedules that are due.
        which: Vec<usize>,
    },
    /// Nothing is due; the next time, where there is one.
    Next(Option<Time>),
}

impl Schedule {
    /// Parses a schedule. `seed` (an object's uid) decides `H` and the delay. Without `jitter` the longest delay is
    /// a tenth of the shortest period, at most ten minutes.
    ///
    /// Errors: `InvalidSchedule`, with the field and what is wrong with it.
    pub fn parse(text: &str, zone: Option<&str>, jitter: Option<Duration>, seed: &str) -> Result<Self, Problem> {
        let invalid = |what: String| Problem::new(Reason::InvalidSchedule, what);
        let zone_name = zone.unwrap_or("UTC");
        let zone = zone_name
            .parse()
            .map_err(|_| invalid(format!("{zone_name:?} is not an IANA time zone such as Europe/Berlin")))?;
        let pattern = expand(text, seed).map_err(|why| {
            invalid(format!("the schedule {text:?} cannot be understood: {why}. Write five-field cron, with H where any value will do, or @hourly, @daily, @weekly, @monthly, @yearly"))
        })?;
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&pattern)
            .map_err(|error| invalid(format!("the schedule {text:?} cannot be understood: {error}")))?;
        let mut schedule = Self { cron, zone, delay: chrono::Duration::zero() };
        let period = schedule.period().ok_or_else(|| invalid(format!("the schedule {text:?} has no time at all")))?;
        let longest = match jitter {
            Some(declared) => declared.as_chrono().num_seconds(),
            None => (period.num_seconds() / 10).min(MAX_DEFAULT_JITTER),
        };
        // A delay of a period or more would pass the next time.
        let longest = longest.clamp(0, period.num_seconds() - 1);
        let delay = number(seed, "delay") % (longest.unsigned_abs() + 1);
        schedule.delay = chrono::Duration::seconds(i64::try_from(delay).unwrap_or(0));
        Ok(schedule)
    }

    /// The first time after `after`.
    pub fn next(&self, after: Time) -> Option<Time> {
        self.occurrence_after(after - self.delay).map(|time| time + self.delay)
    }

    /// The last time at or before `until` that comes after `since`. It looks at no time twice, so at most one of the
    /// times between the two is returned, however many there are.
    pub fn last(&self, since: Time, until: Time) -> Option<Time> {
        let mut last = None;
        let mut at = since;
        while let Some(next) = self.next(at).filter(|next| *next <= until) {
            last = Some(next);
            // Long pauses are halved instead of walked through.
            let middle = next + (until - next) / 2;
            at = if self.next(middle).is_some_and(|time| time <= until) { middle } else { next };
        }
        last
    }

    /// Whether a time is one of this schedule's.
    pub fn has(&self, time: Time) -> bool {
        self.next(time - chrono::Duration::seconds(1)) == Some(time)
    }

    /// The shortest time between two of the next few of cron's times after a fixed date.
    fn period(&self) -> Option<chrono::Duration> {
        let mut at = Utc.with_ymd_and_hms(2024, 1, 1, 0, 0, 0).single()?;
        let mut shortest: Option<chrono::Duration> = None;
        let mut first = true;
        for _ in 0..10 {
            let Some(next) = self.occurrence_after(at) else { break };
            if !first {
                shortest = Some(shortest.map_or(next - at, |gap| gap.min(next - at)));
            }
            first = false;
            at = next;
        }
        shortest
    }

    fn occurrence_after(&self, after: Time) -> Option<Time> {
        // Cron's times are whole minutes; fractions of a second would be carried through by the search.
        let local: DateTime<Tz> = after.trunc_subsecs(0).with_timezone(&self.zone);
        self.cron.find_next_occurrence(&local, false).ok().map(|time| time.with_timezone(&Utc))
    }
}

/// What is due, given the next time that was promised (the status' `nextRun`). Only a promise that is one of the
/// schedules' times makes something due: so nothing runs because an object was created or its schedule changed, and
/// after a pause of whatever length each schedule runs once.
pub fn due(schedules: &[Schedule], promised: Option<Time>, now: Time) -> Verdict {
    if let Some(promised) = promised.filter(|promised| *promised <= now)
        && schedules.iter().any(|schedule| schedule.has(promised))
    {
        let since = promised - chrono::Duration::seconds(1);
        let lasts: Vec<Option<Time>> = schedules.iter().map(|schedule| schedule.last(since, now)).collect();
        let which = (0..lasts.len()).filter(|index| lasts[*index].is_some()).collect();
        if let Some(time) = lasts.into_iter().flatten().max() {
            return Verdict::Due { time, which };
        }
    }
    Verdict::Next(next(schedules, now))
}

/// The first time of any of the schedules after `after`.
pub fn next(schedules: &[Schedule], after: Time) -> Option<Time> {
    schedules.iter().filter_map(|schedule| schedule.next(after)).min()
}

/// A number from a hash, the same for the same texts.
fn number(seed: &str, what: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed).chain_update([0]).chain_update(what).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Replaces nicknames and `H`, `H/n`, `H(a-b)` and `H(a-b)/n` by plain cron.
fn expand(text: &str, seed: &str) -> Result<String, String> {
    let text = text.trim();
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ if text.starts_with('@') => return Err(format!("{text} is not known")),
        _ => text,
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("it has {} fields instead of 5", fields.len()));
    }
    let fields = fields.iter().enumerate().map(|(index, field)| {
        let parts: Result<Vec<_>, _> = field.split(',').map(|part| expand_part(part, index, seed)).collect();
        parts.map(|parts| parts.join(","))
    });
    Ok(fields.collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn expand_part(part: &str, index: usize, seed: &str) -> Result<String, String> {
    let Some(rest) = part.strip_prefix('H') else { return Ok(part.to_owned()) };
    let (name, mut first, mut last) = FIELDS[index];
    let wrong = || format!("{part:?} in the field {name} is not H, H/n, H(a-b) or H(a-b)/n");
    let (range, step) = match rest.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u64>().map_err(|_| wrong())?)),
        None => (rest, None),
    };
    if !range.is_empty() {
        let range = range.strip_prefix('(').and_then(|range| range.strip_suffix(')')).ok_or_else(wrong)?;
        let (from, to) = range.split_once('-').ok_or_else(wrong)?;
        let bounds = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
        if bounds.0 > bounds.1 || bounds.0 < first || bounds.1 > LAST[index] {
            return Err(wrong());
        }
        (first, last) = bounds;
    }
    let number = number(seed, name);
    match step {
        None => Ok((first + number % (last - first + 1)).to_string()),
        Some(step) if step == 0 || step > last - first => Err(wrong()),
        Some(step) => Ok(format!("{}-{last}/{step}", first + number % step)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn plain(text: &str, zone: &str) -> Schedule {
        Schedule::parse(text, Some(zone), Some(Duration::from_secs(0)), "uid").unwrap()
    }

    #[test]
    fn clock_changes() {
        // In Berlin, 02:30 does not exist on 2026-03-29 and exists twice on 2026-10-25.
        let night = plain("30 2 * * *", "Europe/Berlin");
        let spring = night.next(time("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(spring, time("2026-03-29T01:00:00Z"));
        assert_eq!(night.next(spring), Some(time("2026-03-30T00:30:00Z")));
        let autumn = night.next(time("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(autumn, time("2026-10-25T00:30:00Z"));
        assert_eq!(night.next(autumn), Some(time("2026-10-26T01:30:00Z")));
        // What repeats within the day runs in every real hour.
        let hourly = plain("0 * * * *", "Europe/Berlin");
        assert_eq!(hourly.next(time("2026-10-25T00:00:00Z")), Some(time("2026-10-25T01:00:00Z")));
    }

    #[test]
    fn any_value_will_do() {
        let parse = |text: &str, seed: &str| expand(text, seed);
        let of = |seed: &str| parse("H H(1-5) * * H", seed).unwrap();
        assert_eq!(of("a"), of("a"));
        let many: BTreeSet<String> = (0..50).map(|seed| of(&seed.to_string())).collect();
        assert!(many.len() > 40, "{many:?}");
        assert_eq!(parse("@hourly", "a").unwrap(), "0 * * * *");
        let quarter = parse("H/15 * * * *", "a").unwrap();
        assert!(quarter.ends_with("-59/15 * * * *"), "{quarter}");
        for (schedule, why) in [
            ("* * * *", "it has 4 fields instead of 5"),
            ("@often", "@often is not known"),
            ("H/0 * * * *", "\"H/0\" in the field minute is not H, H/n, H(a-b) or H(a-b)/n"),
            ("* H(5-30) * * *", "\"H(5-30)\" in the field hour is not H, H/n, H(a-b) or H(a-b)/n"),
        ] {
            assert_eq!(parse(schedule, "a"), Err(why.to_owned()));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let messages: Vec<String> =
            [("61 * * * *", None), ("0 0 30 2 *", None), ("0 0 * * * 2030", None), ("* * * * *", Some("Mars"))]
                .into_iter()
                .map(|(text, zone)| {
                    let problem = Schedule::parse(text, zone, None, "uid").unwrap_err();
                    assert_eq!(problem.reason, Reason::InvalidSchedule);
                    problem.message
                })
                .collect();
        insta::assert_yaml_snapshot!(messages);
    }

    #[test]
    fn only_a_promise_makes_due() {
        let schedules = [plain("0 * * * *", "UTC"), plain("30 * * * *", "UTC")];
        let now = time("2026-09-24T12:10:00Z");
        let next = Verdict::Next(Some(time("2026-09-24T12:30:00Z")));
        // A new object, and one whose schedule was another when the promise was made.
        assert_eq!(due(&schedules, None, now), next);
        assert_eq!(due(&schedules, Some(time("2026-09-24T12:05:00Z")), now), next);
        let one = Verdict::Due { time: time("2026-09-24T12:00:00Z"), which: vec![0] };
        assert_eq!(due(&schedules, Some(time("2026-09-24T12:00:00Z")), now), one);
        // After a pause, both: once.
        let both = Verdict::Due { time: time("2026-09-24T12:00:00Z"), which: vec![0, 1] };
        assert_eq!(due(&schedules, Some(time("2026-09-20T07:30:00Z")), now), both);
    }

    fn any_zone() -> impl Strategy<Value = Tz> {
        proptest::sample::select(chrono_tz::TZ_VARIANTS.to_vec())
    }

    /// Clocks that change by an hour, by half of one, at midnight (until 2019), and never.
    const ZONES: [Tz; 5] = [
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::America__Sao_Paulo,
        Tz::Asia__Kathmandu,
    ];

    /// When a clock on the wall shows this minute of a day: the first time where it does so twice, and right after the
    /// change where it never does.
    fn shown(zone: Tz, wall: chrono::NaiveDateTime) -> Time {
        let mut minutes = (0..).map(|minute| wall + chrono::Duration::minutes(minute));
        minutes.find_map(|wall| zone.from_local_datetime(&wall).earliest()).unwrap().to_utc()
    }

    fn days(year: i32) -> impl Iterator<Item = chrono::NaiveDate> {
        let first = chrono::NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
        first.iter_days().take_while(move |day| chrono::Datelike::year(day) == year)
    }

    /// Its times from one to another.
    fn times(schedule: &Schedule, from: Time, to: Time) -> Vec<Time> {
        let first = schedule.next(from - chrono::Duration::seconds(1));
        std::iter::successors(first, |time| schedule.next(*time)).take_while(|time| *time <= to).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Over a year, a daily time comes once on each day of the calendar, also where clocks change.
        #[test]
        fn a_year_has_each_day_once(year in 2015_i32..2035, hour in 0_u32..24, minute in 0_u32..60, zone in proptest::sample::select(ZONES.to_vec())) {
            let schedule = plain(&format!("{minute} {hour} * * *"), zone.name());
            let expected: Vec<Time> = days(year).map(|day| shown(zone, day.and_hms_opt(hour, minute, 0).unwrap())).collect();
            prop_assert_eq!(times(&schedule, expected[0], expected[expected.len() - 1]), expected);
        }

        /// Over a year, an hourly time comes once in each hour that passes, whatever clocks show. Where they change by half
        /// an hour, it goes by what they show.
        #[test]
        fn a_year_has_each_hour_once(year in 2015_i32..2035, minute in 0_u32..60, zone in proptest::sample::select(ZONES.to_vec())) {
            let schedule = plain(&format!("{minute} * * * *"), zone.name());
            let start = shown(zone, days(year).next().unwrap().and_hms_opt(0, minute, 0).unwrap());
            let end = shown(zone, days(year + 1).next().unwrap().and_hms_opt(0, minute, 0).unwrap());
            let times = times(&schedule, start, end);
            let gaps: BTreeSet<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]).num_minutes()).collect();
            let usual = if zone == Tz::Australia__Lord_Howe { vec![30, 60, 90] } else { vec![60] };
            prop_assert!(gaps.is_subset(&usual.into_iter().collect()), "{gaps:?}");
            prop_assert_eq!((times[0], times[times.len() - 1]), (start, end));
        }

        #[test]
        fn the_next_time_is_later_and_spread(seed in "[a-z0-9]{1,8}", start in 1_700_000_000_i64..1_900_000_000, zone in any_zone(), jitter in 0_u64..4000, text in proptest::sample::select(vec!["0 * * * *", "H * * * *", "H/20 * * * *", "H H * * *", "30 2 * * *", "H 4 * * 0", "@monthly"])) {
            let schedule = Schedule::parse(text, Some(zone.name()), Some(Duration::from_secs(jitter)), &seed).unwrap();
            let start = Utc.timestamp_opt(start, 0).unwrap();
            let next = schedule.next(start).unwrap();
            prop_assert!(next > start);
            prop_assert!(schedule.has(next));
            prop_assert!(schedule.delay.num_seconds() <= i64::try_from(jitter).unwrap());
            // No time lies between, wherever one asks from.
            let middle = start + (next - start) / 2;
            prop_assert_eq!(schedule.next(middle), Some(next));
        }

        /// A controller that looks at random times, with random pauses, runs each time once, in order, and never
        /// more often than there are times.
        #[test]
        fn each_time_once(seed in "[a-z0-9]{1,8}", start in 1_700_000_000_i64..1_900_000_000, zone in any_zone(), pauses in proptest::collection::vec(1_i64..9000, 1..60)) {
            let schedules = [Schedule::parse("H * * * *", Some(zone.name()), None, &seed).unwrap(), Schedule::parse("30 */6 * * *", Some(zone.name()), None, &seed).unwrap()];
            let mut now = Utc.timestamp_opt(start, 0).unwrap();
            let mut promised = None;
            let mut ran = vec![];
            for pause in pauses {
                match due(&schedules, promised, now) {
                    Verdict::Due { time, which } => {
                        prop_assert!(time <= now && !which.is_empty());
                        ran.push(time);
                        promised = next(&schedules, now);
                    }
                    Verdict::Next(at) => {
                        prop_assert!(at.unwrap() > now);
                        // Nothing was missed since the last look.
                        if let Some(promised) = promised { prop_assert!(promised > now); }
                        promised = at;
                    }
                }
                now += chrono::Duration::seconds(pause);
            }
            prop_assert!(ran.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn the_last_time_is_the_last(start in 1_700_000_000_i64..1_900_000_000, length in 0_i64..40_000_000, zone in any_zone()) {
            let schedule = Schedule::parse("H * * * *", Some(zone.name()), None, "uid").unwrap();
            let since = Utc.timestamp_opt(start, 0).unwrap();
            let until = since + chrono::Duration::seconds(length);
            match schedule.last(since, until) {
                Some(last) => {
                    prop_assert!(since < last && last <= until && schedule.has(last));
                    prop_assert!(schedule.next(last).unwrap() > until);
                }
                None => prop_assert!(schedule.next(since).unwrap() > until),
            }
        }
    }
}
