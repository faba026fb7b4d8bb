//! Moments as people and programs both read them.

use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;
/// Days from 0000-03-01 to 1970-01-01. Years that begin in March have their leap day at the end.
const BEFORE_1970: i64 = 719_468;
const FOUR_CENTURIES: i64 = 146_097;

/// The moment so long after the beginning of 1970, in UTC, as RFC 3339 has it, to the millisecond.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(inflight_timely::checkpoint::rfc3339(Duration::from_millis(951_827_696_789)), "2000-02-29T12:34:56.789Z");
/// ```
#[must_use]
pub fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(i64::try_from(seconds / DAY).unwrap_or(i64::MAX / 2));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_1970.subsec_millis())
}

/// How long after the beginning of 1970 a moment is that [`rfc3339`] wrote; nothing for any other text.
#[must_use]
pub fn since_1970(moment: &str) -> Option<Duration> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = moment.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = days * DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let found = Duration::from_millis(seconds * 1000 + number(20, 23)?);
    (rfc3339(found) == moment).then_some(found)
}

fn date(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + BEFORE_1970;
    let (era, day_of_era) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month, day) = (year.cast_signed(), month.cast_signed(), day.cast_signed());
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * FOUR_CENTURIES + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    u64::try_from(days - BEFORE_1970).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        let (mut last, mut day) = (String::new(), 0);
        while day < 800 * 366 {
            let moment = Duration::from_millis((day * DAY + day % DAY) * 1000 + day % 1000);
            let text = rfc3339(moment);
            assert!(text > last, "{text} after {last}");
            assert_eq!(since_1970(&text), Some(moment), "{text}");
            (last, day) = (text, day + 1);
        }
    }

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (68_169_600, "1972-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in
            ["", "now", "2026-02-30T00:00:00.000Z", "2026-01-01T00:00:00Z", "1969-12-31T00:00:00.000Z", "ÄÄÄÄÄÄÄÄÄÄÄÄ"]
        {
            assert_eq!(since_1970(text), None, "{text}");
        }
    }
}
