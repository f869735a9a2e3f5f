//! Reading times in Go's layouts.

use chrono::{FixedOffset, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{DAYS, MONTHS, Piece, Stamp, Zone, pieces};

/// What a text says so far.
pub(super) struct Reader {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    afternoon: Option<bool>,
    ordinal: Option<u32>,
    offset: i32,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            year: 0,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            afternoon: None,
            ordinal: None,
            offset: 0,
        }
    }
}

impl Reader {
    /// Reads all of a text in a layout.
    pub(super) fn read(mut self, layout: &str, text: &str) -> Option<Stamp> {
        let mut rest = text;
        let mut after_seconds = false;
        for piece in pieces(layout) {
            let is_fraction = matches!(piece, Piece::Fraction(..));
            // As Go: a fraction may follow the seconds though the layout does not name it.
            if after_seconds
                && !is_fraction
                && rest.starts_with(['.', ','])
                && rest[1..].starts_with(|c: char| c.is_ascii_digit())
            {
                rest = self.fraction(rest, None)?;
            }
            after_seconds = false;
            rest = match piece {
                Piece::Literal(literal) => rest.strip_prefix(literal)?,
                Piece::Fraction(_, digits, short) => self.fraction(rest, (!short).then_some(digits))?,
                Piece::Part(part) => {
                    after_seconds = matches!(part, "05" | "5");
                    self.part(part, rest)?
                }
            };
        }
        if after_seconds && rest.starts_with(['.', ',']) {
            rest = self.fraction(rest, None)?;
        }
        rest.is_empty().then_some(())?;
        self.stamp()
    }

    fn part<'a>(&mut self, part: &str, text: &'a str) -> Option<&'a str> {
        let (field, digits) = match part {
            "2006" => {
                let (year, rest) = number(text, 4, 4)?;
                self.year = year.try_into().ok()?;
                return Some(rest);
            }
            "06" => {
                let (year, rest) = number(text, 2, 2)?;
                self.year = i32::try_from(year).ok()? + if year >= 69 { 1900 } else { 2000 };
                return Some(rest);
            }
            "January" | "Jan" => {
                let (index, rest) = name(text, &MONTHS, part == "Jan")?;
                self.month = index + 1;
                return Some(rest);
            }
            "Monday" | "Mon" => return name(text, &DAYS, part == "Mon").map(|(_, rest)| rest),
            "MST" => return zone_name(text),
            "PM" | "pm" => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = Some(match half {
                    "PM" | "pm" => true,
                    "AM" | "am" => false,
                    _ => return None,
                });
                return Some(rest);
            }
            "002" => {
                let (day, rest) = number(text, 3, 3)?;
                self.ordinal = Some(day);
                return Some(rest);
            }
            "01" => (&mut self.month, 2),
            "1" => (&mut self.month, 1),
            "02" => (&mut self.day, 2),
            "_2" | "2" | "__2" => (&mut self.day, 1),
            "03" => (&mut self.hour, 2),
            "15" | "3" => (&mut self.hour, 1),
            "04" => (&mut self.minute, 2),
            "4" => (&mut self.minute, 1),
            "05" => (&mut self.second, 2),
            "5" => (&mut self.second, 1),
            other => return self.zone(other, text),
        };
        let text = if part.starts_with('_') { text.trim_start_matches(' ') } else { text };
        let (value, rest) = number(text, digits, 2)?;
        *field = value;
        Some(rest)
    }

    fn fraction<'a>(&mut self, text: &'a str, digits: Option<usize>) -> Option<&'a str> {
        let Some(after) = text.strip_prefix(['.', ',']) else {
            return if digits.is_none() { Some(text) } else { None };
        };
        let count = after.chars().take_while(char::is_ascii_digit).count();
        let count = if digits.is_some_and(|digits| digits != count) { return None } else { count };
        self.nanos = format!("{:0<9.9}", &after[..count]).parse().ok()?;
        Some(&after[count..])
    }

    fn zone<'a>(&mut self, part: &str, text: &'a str) -> Option<&'a str> {
        if let (true, Some(rest)) = (part.starts_with('Z'), text.strip_prefix('Z')) {
            return Some(rest);
        }
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let mut seconds = 0;
        let count = part.chars().filter(char::is_ascii_digit).count() / 2;
        let mut rest = &text[1..];
        for (index, unit) in [3600, 60, 1].into_iter().enumerate().take(count) {
            if index > 0 && part.contains(':') {
                rest = rest.strip_prefix(':')?;
            }
            let (value, after) = number(rest, 2, 2)?;
            seconds += i32::try_from(value).ok()? * unit;
            rest = after;
        }
        self.offset = sign * seconds;
        Some(rest)
    }

    fn stamp(self) -> Option<Stamp> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = match self.ordinal {
            Some(day) => NaiveDate::from_yo_opt(self.year, day)?,
            None => NaiveDate::from_ymd_opt(self.year, self.month, self.day)?,
        };
        let local = date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)?;
        let offset = FixedOffset::east_opt(self.offset)?;
        let at = local.and_local_timezone(offset).single()?.with_timezone(&Utc);
        let zone = if self.offset == 0 { Zone::Named(Tz::UTC) } else { Zone::Fixed(offset) };
        Some(Stamp { at, zone })
    }
}

/// A number of at least and at most so many digits.
fn number(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let count = text.chars().take(most).take_while(char::is_ascii_digit).count();
    (count >= least).then(|| Some((text[..count].parse().ok()?, &text[count..]))).flatten()
}

/// The index of a name that a text begins with, whatever its case.
fn name<'a>(text: &'a str, names: &[&str], short: bool) -> Option<(u32, &'a str)> {
    let found = names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { &name[..3] } else { name };
        let (start, rest) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some((index, rest))
    });
    found.map(|(index, rest)| (u32::try_from(index).unwrap_or(0), rest))
}

/// What follows the short name of a zone. Its offset is not known from the name, as in Go.
fn zone_name(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix("UTC") {
        return Some(rest);
    }
    if text.starts_with(['+', '-']) {
        return number(&text[1..], 2, 4).map(|(_, rest)| rest);
    }
    let count = text.chars().take_while(char::is_ascii_uppercase).count();
    (3..=5).contains(&count).then(|| &text[count..])
}
