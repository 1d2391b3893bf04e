//! Times as Kubernetes writes them: RFC 3339 in UTC, whole seconds (`Time`) or microseconds (`MicroTime`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

/// `2026-01-02T03:04:05Z`, cut to the second. Times outside the years 0 to 9999 give year 1970.
pub fn format(time: SystemTime) -> String {
    write(time, 0)
}

/// `2026-01-02T03:04:05.678901Z`: always six digits, as in Lease and Event times.
pub fn format_micro(time: SystemTime) -> String {
    write(time, 6)
}

/// `2026-01-02T03:04:05.678901234Z`: always nine digits, as in log lines.
pub fn format_nano(time: SystemTime) -> String {
    write(time, 9)
}

/// Parses RFC 3339 with any offset and up to nine digits of a second.
pub fn parse(text: &str) -> Option<SystemTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanos = time.unix_timestamp_nanos();
    let distance = Duration::new(
        u64::try_from(nanos.unsigned_abs() / 1_000_000_000).ok()?,
        u32::try_from(nanos.unsigned_abs() % 1_000_000_000).ok()?,
    );
    if nanos < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// Whole seconds since 1970, and the nanoseconds after them.
pub fn unix(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(0), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let whole = -i64::try_from(before.as_secs()).unwrap_or(0);
            match before.subsec_nanos() {
                0 => (whole, 0),
                nanos => (whole - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

fn write(time: SystemTime, digits: usize) -> String {
    let (seconds, nanos) = unix(time);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    );
    if digits > 0 {
        let fraction = format!("{nanos:09}");
        text.push('.');
        text.push_str(fraction.get(..digits).unwrap_or(&fraction));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_digits() {
        let time = parse("2026-01-02T04:04:05.678901234+01:00").unwrap();
        assert_eq!(format(time), "2026-01-02T03:04:05Z");
        assert_eq!(format_micro(time), "2026-01-02T03:04:05.678901Z");
        assert_eq!(format_nano(time), "2026-01-02T03:04:05.678901234Z");
        assert_eq!(parse(&format_nano(time)), Some(time));
        assert_eq!(format_nano(UNIX_EPOCH - Duration::from_millis(1)), "1969-12-31T23:59:59.999000000Z");
        assert_eq!(parse("2026-01-02"), None);
        assert_eq!(parse(""), None);
    }
}
