//! The three ways in which S3 writes a time.

use crate::clock::UnixMs;

/// A day of the proleptic Gregorian calendar.
struct Civil {
    year: i64,
    month: u32,
    day: u32,
}

/// Days from 1970-01-01 to a date. The calendar repeats every 400 years, and
/// years are counted from March so that the leap day comes last.
fn days_from_civil(date: &Civil) -> i64 {
    let year = if date.month <= 2 {
        date.year - 1
    } else {
        date.year
    };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((date.month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(date.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Civil {
        year,
        month: month as u32,
        day: day as u32,
    }
}

/// `Thu, 01 Jan 2026 00:00:00 GMT`, as `Date` and `Last-Modified` have it.
pub fn http(time: UnixMs) -> String {
    httpdate::fmt_http_date(time.system_time())
}

/// `2026-01-01T00:00:00.000Z`, as listings have it. S3 tells whole seconds.
pub fn iso(time: UnixMs) -> String {
    let seconds = iso_seconds(time);
    format!("{}.000Z", seconds.trim_end_matches('Z'))
}

/// `2026-01-01T00:00:00Z`, as errors have it.
pub fn iso_seconds(time: UnixMs) -> String {
    let seconds = time.seconds();
    let Civil { year, month, day } = civil_from_days((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `20260101T000000Z`, as signatures have it.
pub fn amz(time: UnixMs) -> String {
    let text = iso_seconds(time);
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// Reads `20260101T000000Z`, as signatures have it.
pub fn parse_amz(text: &str) -> Option<UnixMs> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        let digits = text.get(range)?;
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        if all_digits {
            digits.parse().ok()
        } else {
            None
        }
    };
    let date = Civil {
        year: i64::from(number(0..4)?),
        month: number(4..6)?,
        day: number(6..8)?,
    };
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let valid = (1..=12).contains(&date.month)
        && (1..=31).contains(&date.day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let days = u64::try_from(days_from_civil(&date)).ok()?;
    let seconds =
        days * 86_400 + u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second);
    Some(UnixMs(seconds * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let time = UnixMs(1_369_353_600_000);
        assert_eq!(http(time), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(iso(time), "2013-05-24T00:00:00.000Z");
        assert_eq!(amz(time), "20130524T000000Z");
        assert_eq!(parse_amz("20130524T000000Z"), Some(time));
        assert_eq!(iso(UnixMs(1_709_210_096_999)), "2024-02-29T12:34:56.000Z");
        for wrong in [
            "",
            "20130524T000000",
            "2013-524T000000Z",
            "20131324T000000Z",
        ] {
            assert_eq!(parse_amz(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for days in 0..146_097 {
            assert_eq!(days_from_civil(&civil_from_days(days)), days);
        }
    }
}
