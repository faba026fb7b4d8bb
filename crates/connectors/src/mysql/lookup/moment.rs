//! Times of keys as MySQL writes them.

use crate::{Error, ErrorKind};

/// A date or a date with a time, without the zone, in UTC: `2026-01-31T13:00:00+01:00` as `2026-01-31 12:00:00`.
pub(super) fn in_utc(text: &str) -> Result<String, Error> {
    read(text.trim()).ok_or_else(|| {
        let message = format!("\"{text}\" is neither a date nor a time; write 2026-01-31 or 2026-01-31T12:00:00Z");
        Error::new(ErrorKind::Malformed, message)
    })
}

fn read(text: &str) -> Option<String> {
    let date = text.get(..10)?;
    let (year, month, day) = (digits(date, 0..4)?, digits(date, 5..7)?, digits(date, 8..10)?);
    let is_date = date.as_bytes()[4] == b'-' && date.as_bytes()[7] == b'-';
    if !is_date || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(date.to_owned());
    }
    let (time, offset) = time_and_offset(rest.strip_prefix(['T', 't', ' '])?)?;
    let (clock, fraction) = time.split_at(time.find('.').unwrap_or(time.len()));
    let (hour, minute) = (digits(clock, 0..2)?, digits(clock, 3..5)?);
    let second = if clock.len() == 5 { 0 } else { digits(clock, 6..8)? };
    let has_colons = clock.as_bytes()[2] == b':' && clock.as_bytes().get(5).is_none_or(|colon| *colon == b':');
    let is_fraction = fraction.is_empty() || (fraction.len() > 1 && fraction[1..].bytes().all(|b| b.is_ascii_digit()));
    if !has_colons || !is_fraction || clock.len() > 8 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let minutes = hour * 60 + minute - offset;
    let (year, month, day) = moved(year, month, day, minutes.div_euclid(24 * 60));
    let (hour, minute) = (minutes.rem_euclid(24 * 60) / 60, minutes.rem_euclid(60));
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}"))
}

/// A time, and how many minutes it is ahead of UTC.
fn time_and_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, 0)) };
    let (time, offset) = text.split_at(at);
    let minutes = match offset.len() {
        3 => 0,
        5 => digits(offset, 3..5)?,
        6 if offset.as_bytes()[3] == b':' => digits(offset, 4..6)?,
        _ => return None,
    };
    let ahead = digits(offset, 1..3)? * 60 + minutes;
    Some((time.trim_end(), if offset.starts_with('-') { -ahead } else { ahead }))
}

fn digits(text: &str, range: std::ops::Range<usize>) -> Option<i64> {
    let part = text.get(range)?;
    if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
}

/// A day before or after, by at most one: offsets are less than a day.
fn moved(year: i64, month: i64, day: i64, by: i64) -> (i64, i64, i64) {
    let days = |year: i64, month: i64| match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    match (by.signum(), month, day) {
        (-1, 1, 1) => (year - 1, 12, 31),
        (-1, _, 1) => (year, month - 1, days(year, month - 1)),
        (1, 12, 31) => (year + 1, 1, 1),
        (1, ..) if day >= days(year, month) => (year, month + 1, 1),
        (by, ..) => (year, month, day + by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone_are_in_utc() {
        for (text, expected) in [
            ("2026-01-31", "2026-01-31"),
            ("2026-01-31 12:30", "2026-01-31 12:30:00"),
            ("2026-01-31T12:30:15", "2026-01-31 12:30:15"),
            ("2026-01-31T12:30:15.25Z", "2026-01-31 12:30:15.25"),
            ("2026-01-31T13:00:00+01:00", "2026-01-31 12:00:00"),
            ("2026-01-31 13:00:00.5 +0130", "2026-01-31 11:30:00.5"),
            ("2026-01-01T00:30:00+01", "2025-12-31 23:30:00"),
            ("2024-03-01T00:30:00+01:00", "2024-02-29 23:30:00"),
            ("2026-02-28T23:30:00-01:00", "2026-03-01 00:30:00"),
            ("2026-12-31T23:30:00-01:00", "2027-01-01 00:30:00"),
        ] {
            assert_eq!(in_utc(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "7",
            "2026-1-31",
            "2026-13-01",
            "2026-01-32",
            "2026-01-31T",
            "2026-01-31T25:00",
            "2026-01-31T12",
            "2026-01-31T12:60",
            "2026-01-31T12:00:00.",
            "2026-01-31T12:00:00.x",
            "2026-01-31T12:00:00+1",
            "2026-01-31X12:00",
            "2026-01-31T12:00:000",
            "äöüäöüäöü",
            "2026-01-3ä",
            "2026-01-31T12:00:00+ä:",
            "2026-01-31Tä2:00",
        ] {
            assert!(in_utc(text).is_err(), "{text}");
        }
    }
}
