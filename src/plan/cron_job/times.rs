//! When a schedule is due.

use super::zone::{Zone, civil, weekday};
use crate::api::cron::{Schedule, Times};

const DAY: i64 = 86_400;
/// A schedule that is not due within so many days never is: 29 February comes within eight years.
const FAR: i64 = 9 * 366;

/// The first time after `after` (Unix time). Times that the clocks skip are skipped, those they repeat come twice.
pub fn next(schedule: &Schedule, zone: &Zone, after: i64) -> Option<i64> {
    match schedule {
        Schedule::Every(seconds) => after.checked_add(i64::try_from(*seconds).ok()?),
        Schedule::At(times) => next_at(times, zone, after),
    }
}

/// The last time after `after` and not after `now`, and about how many there were.
pub fn latest(schedule: &Schedule, zone: &Zone, after: i64, now: i64) -> Option<(i64, i64)> {
    let first = next(schedule, zone, after).filter(|first| *first <= now)?;
    let Some(second) = next(schedule, zone, first).filter(|second| *second <= now) else {
        return Some((first, 1));
    };
    let missed = (now - first) / (second - first).max(1) + 1;
    if let Schedule::Every(_) = schedule {
        return Some((first + (missed - 1) * (second - first), missed));
    }
    // The last moment after which there is one still.
    let (mut from, mut to) = (first, now);
    while from < to {
        let middle = from + (to - from + 1) / 2;
        match next(schedule, zone, middle) {
            Some(at) if at <= now => from = middle,
            _ => to = middle - 1,
        }
    }
    Some((next(schedule, zone, from)?, missed))
}

fn next_at(times: &Times, zone: &Zone, after: i64) -> Option<i64> {
    let small = |number: i64| u8::try_from(number).unwrap_or(0);
    let local = |at: i64| at + zone.offset(at);
    let mut at = after.checked_add(60)?.div_euclid(60) * 60;
    // Zones were whole minutes off only since 1972.
    at -= local(at).rem_euclid(60);
    let end = at.checked_add(FAR * DAY)?;
    while at < end {
        let here = local(at);
        let (day, second) = (here.div_euclid(DAY), here.rem_euclid(DAY));
        let (_, month, date) = civil(day);
        if !times.day(month, date, small(weekday(day))) {
            at += DAY - second;
            // The clocks went forward that day.
            let over = local(at).rem_euclid(DAY);
            if over < DAY / 2 && local(at - over).div_euclid(DAY) > day {
                at -= over;
            }
        } else if !times.hour(small(second / 3600)) {
            at += 3600 - second % 3600;
        } else if !times.minute(small(second % 3600 / 60)) || at <= after {
            at += 60;
        } else {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{cron, time};

    fn unix(text: &str) -> i64 {
        time::unix(time::parse(text).unwrap()).0
    }

    #[test]
    fn the_next_time() {
        let berlin = Zone::with_rule("CET-1CEST,M3.5.0,M10.5.0/3");
        let utc = Zone::default();
        for (schedule, zone, after, expected) in [
            ("* * * * *", &utc, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/15 8-9 * * *", &utc, "2026-01-01T09:45:00Z", "2026-01-02T08:00:00Z"),
            ("0 0 29 2 *", &utc, "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@monthly", &utc, "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
            ("0 12 13 * fri", &utc, "2026-01-02T12:00:00Z", "2026-01-09T12:00:00Z"),
            ("@every 90s", &utc, "2026-01-01T00:00:07Z", "2026-01-01T00:01:37Z"),
            ("0 9 * * *", &berlin, "2026-03-28T12:00:00Z", "2026-03-29T07:00:00Z"),
            ("0 0 * * *", &berlin, "2026-03-29T12:00:00Z", "2026-03-29T22:00:00Z"),
            // 02:30 is skipped in March, and comes twice in October.
            ("30 2 * * *", &berlin, "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
            ("30 2 * * *", &berlin, "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", &berlin, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("0 0 * * *", &berlin, "2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z"),
        ] {
            let found = next(&cron::parse(schedule).unwrap(), zone, unix(after));
            assert_eq!(found, Some(unix(expected)), "{schedule} after {after}");
        }
        assert_eq!(next(&cron::parse("0 0 31 2 *").unwrap(), &utc, 0), None);
    }

    #[test]
    fn the_latest_time() {
        let utc = Zone::default();
        for (schedule, after, now, expected) in [
            ("0 * * * *", "2026-01-01T00:30:00Z", "2026-01-01T00:59:59Z", None),
            ("0 * * * *", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z", Some(("2026-01-01T01:00:00Z", 1))),
            ("0 * * * *", "2026-01-01T00:30:00Z", "2026-01-01T04:10:00Z", Some(("2026-01-01T04:00:00Z", 4))),
            (
                "*/2 3 1 1 *",
                "1970-01-01T00:00:00Z",
                "2026-07-01T00:00:00Z",
                Some(("2026-01-01T03:58:00Z", 14_850_990)),
            ),
            (
                "@every 1m",
                "1970-01-01T00:00:07Z",
                "2026-07-01T00:00:00Z",
                Some(("2026-06-30T23:59:07Z", 29_714_879)),
            ),
        ] {
            let found = latest(&cron::parse(schedule).unwrap(), &utc, unix(after), unix(now));
            assert_eq!(
                found.map(|found| found.0),
                expected.map(|(at, _)| unix(at)),
                "{schedule} after {after}"
            );
            if let (Some((_, count)), Some((_, wanted))) = (found, expected) {
                assert!(count == wanted || count > 100 && wanted > 100, "{schedule}: {count}");
            }
        }
    }
}
