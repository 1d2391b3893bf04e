//! Schedules of CronJobs: five fields as cron has them, or a descriptor (`@hourly`, `@every 5m`).
//!
//! Errors are worded as those of upstream's parser (robfig/cron).

/// One field: its bounds, and names for its values.
struct Field {
    least: u32,
    most: u32,
    /// In order; the first is `least`.
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Minute, hour, day of month, month, day of week.
const FIELDS: [Field; 5] = [
    Field { least: 0, most: 59, names: &[] },
    Field { least: 0, most: 23, names: &[] },
    Field { least: 1, most: 31, names: &[] },
    Field { least: 1, most: 12, names: MONTHS },
    Field { least: 0, most: 6, names: DAYS },
];

const DESCRIPTORS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    At(Times),
    /// So many seconds after the last time.
    Every(u64),
}

/// The values of the five fields, as bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times([u64; 5]);

/// Set in a field that says nothing: `*` or `?`.
const STAR: u64 = 1 << 63;

impl Times {
    fn has(&self, field: usize, value: u8) -> bool {
        self.0[field] & 1 << (value & 63) != 0
    }

    pub fn minute(&self, minute: u8) -> bool {
        self.has(0, minute)
    }

    pub fn hour(&self, hour: u8) -> bool {
        self.has(1, hour)
    }

    /// Of day of month and day of week one is enough if both say something.
    pub fn day(&self, month: u8, day: u8, weekday: u8) -> bool {
        let (by_month, by_week) = (self.has(2, day), self.has(4, weekday));
        let stars = (self.0[2] | self.0[4]) & STAR != 0;
        self.has(3, month) && if stars { by_month && by_week } else { by_month || by_week }
    }
}

/// Parses a schedule.
pub fn parse(text: &str) -> Result<Schedule, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if let Some(duration) = text.strip_prefix("@every ") {
        return match duration_seconds(duration) {
            Some(seconds) => Ok(Schedule::Every(seconds)),
            None => Err(format!("failed to parse duration {text}: time: invalid duration \"{duration}\"")),
        };
    }
    let text = match DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        Some((_, fields)) => fields,
        None if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
        None => text,
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    let mut times = Times::default();
    for ((expression, field), bits) in fields.into_iter().zip(&FIELDS).zip(&mut times.0) {
        // As upstream's parser: empty parts between commas say nothing.
        for part in expression.split(',').filter(|part| !part.is_empty()) {
            *bits |= range(part, field)?;
        }
    }
    Ok(Schedule::At(times))
}

/// `*`, `5`, `1-5`, any of them with `/2`.
fn range(text: &str, field: &Field) -> Result<u64, String> {
    let (whole, step) = match text.split_once('/') {
        Some((_, rest)) if rest.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((whole, step)) => (whole, Some(step)),
        None => (text, None),
    };
    let (low, high) = match whole.split_once('-') {
        Some(("*" | "?", _)) => (field.least, field.most),
        Some((_, high)) if high.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((low, high)) => (number(low, field)?, number(high, field)?),
        None if matches!(whole, "*" | "?") => (field.least, field.most),
        None => {
            let low = number(whole, field)?;
            (low, if step.is_some() { field.most } else { low })
        }
    };
    let step = step.map_or(Ok(1), parse_number)?;
    let Field { least, most, .. } = field;
    if low < *least {
        return Err(format!("beginning of range ({low}) below minimum ({least}): {text}"));
    }
    if high > *most {
        return Err(format!("end of range ({high}) above maximum ({most}): {text}"));
    }
    if low > high {
        return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let star = matches!(whole.split('-').next(), Some("*" | "?")) && step == 1;
    let values = (low..=high).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    Ok(values.fold(if star { STAR } else { 0 }, |bits, value| bits | 1 << (value & 63)))
}

fn number(text: &str, field: &Field) -> Result<u32, String> {
    match field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(index) => Ok(field.least + index as u32),
        None => parse_number(text),
    }
}

fn parse_number(text: &str) -> Result<u32, String> {
    match text.parse::<i32>() {
        Ok(number) => {
            u32::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
        }
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

/// Go's `time.ParseDuration`: numbers with units, `1h30m`; in whole seconds, at least one.
fn duration_seconds(text: &str) -> Option<u64> {
    let mut rest = text.trim_start_matches(['+', '-']);
    if text.len() - rest.len() > 1 || rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() && rest != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        // Longer units first: "m" is the start of "ms".
        const UNITS: [(&str, f64); 8] = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("μs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, size) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * size;
        rest = after.strip_prefix(unit)?;
    }
    let negative = text.starts_with('-');
    Some(if negative { 1 } else { (seconds as u64).max(1) })
}

/// Checks the shape of a time zone's name: `Europe/Berlin`, `Etc/GMT+5`, `UTC`.
pub fn time_zone(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("timeZone must be nil or non-empty string".to_owned());
    }
    if name.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Err(detail.to_owned());
    }
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+');
        part.len() <= 32 && part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(plain)
    };
    let parts = name.split('/').count();
    if parts <= 3 && name.split('/').all(is_part) { Ok(()) } else { Err(format!("unknown time zone {name}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in [
            "* * * * *",
            "*/5 * * * *",
            "0 0 1 1 *",
            "0-59/15 8-18 ? jan-MAR mon-fri",
            "1,2,,3 5/2 * * SUN",
            "@hourly",
            "@every 1h30m",
            "@every 1.5s",
            "*-3 * * * *",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, detail) in [
            ("", "empty spec string"),
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@noon", "unrecognized descriptor: @noon"),
            ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
        ] {
            assert_eq!(parse(bad), Err(detail.to_owned()), "{bad}");
        }
    }

    #[test]
    fn what_they_mean() {
        for (text, seconds) in
            [("@every 1h30m", 5400), ("@every 1.5s", 1), ("@every 3ms", 1), ("@every 0", 1)]
        {
            assert_eq!(parse(text), Ok(Schedule::Every(seconds)), "{text}");
        }
        assert_eq!(parse("@weekly"), parse("0 0 * * sun"));
        let Ok(Schedule::At(times)) = parse("5-20/5 */8 13 * fri") else { panic!() };
        let minutes: Vec<u8> = (0..60).filter(|minute| times.minute(*minute)).collect();
        assert_eq!(minutes, [5, 10, 15, 20]);
        assert!(times.hour(16) && !times.hour(12));
        // Either of the two days.
        assert!(times.day(1, 13, 0) && times.day(1, 2, 5) && !times.day(1, 2, 0));
        let Ok(Schedule::At(times)) = parse("0 0 * 2 fri") else { panic!() };
        assert!(times.day(2, 9, 5) && !times.day(2, 9, 4) && !times.day(3, 9, 5));
    }

    #[test]
    fn time_zones() {
        for good in ["UTC", "Europe/Berlin", "Etc/GMT+5", "America/Argentina/Buenos_Aires"] {
            assert_eq!(time_zone(good), Ok(()), "{good}");
        }
        for bad in ["", "Local", "local", "../etc", "Europe/", "a b", "/UTC"] {
            assert!(time_zone(bad).is_err(), "{bad}");
        }
        assert_eq!(time_zone("Mars/"), Err("unknown time zone Mars/".to_owned()));
    }
}
