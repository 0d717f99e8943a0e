//! Times as people and protocols write them, from seconds since 1970 and back. UTC only, in the Gregorian calendar.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat, 12 Sep 2026 07:55:41 UTC` in seconds since 1970, as Debian's archive writes times; none for any other shape or
/// zone.
#[must_use]
pub fn parse_time(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.trim().split_once(", ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let &[day, month, year, clock, "UTC" | "GMT" | "+0000"] = words.as_slice() else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let clock: Vec<u64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[hour, minute, second] = clock.as_slice() else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of a date: years begin in March, so that a leap day is a year's last (H. Hinnant's algorithm).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Seconds since 1970 as `2026-09-12 07:55:41 UTC`.
#[must_use]
pub fn show_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    format!("{year:04}-{month:02}-{day:02} {} UTC", clock(seconds))
}

/// Seconds since 1970 as `2026-09-12T07:55:41Z` (RFC 3339).
#[must_use]
pub fn stamp(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    format!("{year:04}-{month:02}-{day:02}T{}Z", clock(seconds))
}

/// Seconds since 1970 as HTTP writes them (RFC 9110, section 5.6.7): `Sat, 12 Sep 2026 07:55:41 GMT`.
#[must_use]
pub fn http_time(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (year, month, day) = date(seconds);
    let weekday = WEEKDAYS.get((seconds / 86_400 % 7) as usize).copied().unwrap_or_default();
    let month = MONTHS.get((month - 1) as usize).copied().unwrap_or_default();
    format!("{weekday}, {day:02} {month} {year:04} {} GMT", clock(seconds))
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Year, month (1 to 12) and day of the month.
fn date(seconds: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year; day 0 is 0000-03-01.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let (month, next) = if m < 10 { (m + 3, 0) } else { (m - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_agree_with_date() {
        // From `date -u -d @…`.
        for (text, seconds, shown) in [
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741, "2026-09-12 07:55:41 UTC"),
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "1970-01-01 00:00:00 UTC"),
            ("Tue, 29 Feb 2028 23:59:59 +0000", 1_835_481_599, "2028-02-29 23:59:59 UTC"),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
            assert_eq!(show_time(seconds), shown);
            assert_eq!(stamp(seconds), shown.replacen(' ', "T", 1).replace(" UTC", "Z"));
            assert_eq!(http_time(seconds), format!("{} GMT", &text[..25]));
        }
    }

    #[test]
    fn a_time_in_another_zone_or_shape_is_not_guessed_at() {
        for text in
            ["", "Sat, 12 Sep 2026 07:55:41 +0200", "12 Sep 2026 07:55:41 UTC", "Sat, 12 Sep 2026 24:00:00 UTC"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_up_to_the_year_9999_comes_back(seconds in 0..253_402_300_800_u64) {
            prop_assert_eq!(parse_time(&http_time(seconds)), Some(seconds));
        }
    }
}
