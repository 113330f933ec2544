//! The three notations of time that S3 uses, to and from milliseconds since the
//! Unix epoch: HTTP dates (RFC 9110 IMF-fixdate), ISO 8601 in listings, and the
//! basic form of `x-amz-date`.

const DAY_S: u64 = 86_400;
/// The last second of the year 9999: what four digits of a year can say.
const LAST_S: u64 = 253_402_300_799;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `YYYYMMDDTHHMMSSZ`, the time of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmzDate(String);

impl AmzDate {
    /// The notation of a time; a time after the year 9999 is held there.
    #[must_use]
    pub fn at(unix_ms: u64) -> Self {
        let seconds = (unix_ms / 1000).min(LAST_S);
        let (year, month, day) = civil(seconds / DAY_S);
        let second_of_day = seconds % DAY_S;
        let mut text = String::with_capacity(16);
        digits(&mut text, year, 4);
        digits(&mut text, month, 2);
        digits(&mut text, day, 2);
        text.push('T');
        digits(&mut text, second_of_day / 3600, 2);
        digits(&mut text, second_of_day / 60 % 60, 2);
        digits(&mut text, second_of_day % 60, 2);
        text.push('Z');
        Self(text)
    }

    /// The whole notation.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `YYYYMMDD`, the date in the scope of a signature.
    #[must_use]
    pub fn date(&self) -> &str {
        self.0.get(..8).unwrap_or_default()
    }
}

fn digits(text: &mut String, value: u64, width: u32) {
    for position in (0..width).rev() {
        let digit = value / 10_u64.saturating_pow(position) % 10;
        text.push(u8::try_from(digit).map_or('0', |digit| char::from(digit | b'0')));
    }
}

/// The Gregorian date of a day since 1970-01-01, at most in the year 9999.
///
/// Counts in years that start in March, so that the leap day comes last, and in
/// eras of 400 years, which all have the same number of days.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "the day is at most that of LAST_S"
)]
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Milliseconds since the epoch of a date and time; nothing before 1970, after
/// 9999, or for a day that its month does not have.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "all parts are bounded by the first check"
)]
fn unix_ms(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<u64> {
    // A leap second, 60, is the first second of the next minute.
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !in_range {
        return None;
    }
    let shifted_year = year - u64::from(month <= 2);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let year_of_era = shifted_year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (shifted_year / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    if civil(days) != (year, month, day) {
        return None;
    }
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) * 1000)
}

fn number(text: &str, from: usize, to: usize) -> Option<u64> {
    let part = text.get(from..to)?;
    part.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    part.parse().ok()
}

/// The time of an HTTP date such as `Sun, 06 Nov 1994 08:49:37 GMT`. The two
/// obsolete notations of RFC 9110 are not accepted: no store uses them.
#[must_use]
pub fn http_date_ms(text: &str) -> Option<u64> {
    let framed = text.len() == 29
        && text.get(3..5) == Some(", ")
        && text.get(7..8) == Some(" ")
        && text.get(11..12) == Some(" ")
        && text.get(16..17) == Some(" ")
        && text.get(19..20) == Some(":")
        && text.get(22..23) == Some(":")
        && text.get(25..) == Some(" GMT");
    framed.then_some(())?;
    let name = text.get(8..11)?;
    let month = (1..).zip(MONTHS).find(|(_, month)| *month == name)?.0;
    unix_ms(
        number(text, 12, 16)?,
        month,
        number(text, 5, 7)?,
        number(text, 17, 19)?,
        number(text, 20, 22)?,
        number(text, 23, 25)?,
    )
}

/// The time of an ISO 8601 date such as `2013-09-17T18:07:53.000Z`, with any
/// number of fractional digits, in UTC.
#[must_use]
pub fn iso_8601_ms(text: &str) -> Option<u64> {
    let framed = text.get(4..5) == Some("-")
        && text.get(7..8) == Some("-")
        && text.get(10..11) == Some("T")
        && text.get(13..14) == Some(":")
        && text.get(16..17) == Some(":");
    framed.then_some(())?;
    let rest = text.get(19..)?.strip_suffix('Z')?;
    let millis = match rest.strip_prefix('.') {
        None => rest.is_empty().then_some(0)?,
        Some(fraction) => {
            let digits = fraction.len();
            let plain = (1..=9).contains(&digits) && fraction.bytes().all(|b| b.is_ascii_digit());
            plain.then_some(())?;
            [fraction, "00"].concat().get(..3)?.parse().ok()?
        }
    };
    unix_ms(
        number(text, 0, 4)?,
        number(text, 5, 7)?,
        number(text, 8, 10)?,
        number(text, 11, 13)?,
        number(text, 14, 16)?,
        number(text, 17, 19)?,
    )?
    .checked_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates() {
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(
            http_date_ms("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000)
        );
        assert_eq!(http_date_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            http_date_ms("Thu, 29 Feb 2024 23:59:60 GMT"),
            Some(1_709_251_200_000)
        );
        for bad in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Növ 1994 08:49:3 GMT",
        ] {
            assert_eq!(http_date_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn iso_dates() {
        assert_eq!(
            iso_8601_ms("1994-11-06T08:49:37.123Z"),
            Some(784_111_777_123)
        );
        assert_eq!(iso_8601_ms("1994-11-06T08:49:37Z"), Some(784_111_777_000));
        assert_eq!(iso_8601_ms("1994-11-06T08:49:37.5Z"), Some(784_111_777_500));
        assert_eq!(
            iso_8601_ms("1994-11-06T08:49:37.123456789Z"),
            Some(784_111_777_123)
        );
        for bad in [
            "",
            "1994-11-06",
            "1994-11-06T08:49:37",
            "1994-11-06T08:49:37.Z",
            "1994-11-06T08:49:37+01:00",
            "1994-11-31T08:49:37Z",
            "1994-11-06T08:49:37.12x4Z",
        ] {
            assert_eq!(iso_8601_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn amz_dates_round_trip_through_every_month_and_leap_year() {
        assert_eq!(AmzDate::at(1_369_353_600_000).as_str(), "20130524T000000Z");
        assert_eq!(AmzDate::at(1_369_353_600_000).date(), "20130524");
        assert_eq!(AmzDate::at(u64::MAX).as_str(), "99991231T235959Z");
        for day in (0..400 * 365).step_by(13) {
            let ms = day * DAY_S * 1000 + 45_296_000;
            let amz = AmzDate::at(ms);
            let text = amz.as_str();
            let mut iso = text.to_owned();
            for (at, mark) in [(13, ':'), (11, ':'), (6, '-'), (4, '-')] {
                iso.insert(at, mark);
            }
            assert_eq!(iso_8601_ms(&iso), Some(ms), "{text}");
        }
    }
}
