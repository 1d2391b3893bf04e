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

const DESCRIPTORS: &[&str] =
    &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule.
pub fn parse(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (expression, field) in fields.into_iter().zip(&FIELDS) {
        // As upstream's parser: empty parts between commas say nothing.
        expression.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, field))?;
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if let Some(duration) = text.strip_prefix("@every ") {
        return match is_duration(duration) {
            true => Ok(()),
            false => Err(format!("failed to parse duration {text}: time: invalid duration \"{duration}\"")),
        };
    }
    if DESCRIPTORS.contains(&text) { Ok(()) } else { Err(format!("unrecognized descriptor: {text}")) }
}

/// `*`, `5`, `1-5`, any of them with `/2`.
fn range(text: &str, field: &Field) -> Result<(), String> {
    let (whole, step) = match text.split_once('/') {
        Some((_, rest)) if rest.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((whole, step)) => (whole, Some(step)),
        None => (text, None),
    };
    let (low, high) = match whole.split_once('-') {
        Some((low, _)) if matches!(low, "*" | "?") => (field.least, field.most),
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
    Ok(())
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

/// Go's `time.ParseDuration`: numbers with units, `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if text.len() - rest.len() > 1 || rest.is_empty() {
        return false;
    }
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let is_number = number.bytes().any(|byte| byte != b'.') && number.matches('.').count() < 2;
        // Longer units first: "m" is the start of "ms".
        let unit =
            ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].into_iter().find(|unit| after.starts_with(unit));
        match unit.and_then(|unit| after.strip_prefix(unit)) {
            Some(after) if is_number => rest = after,
            _ => return false,
        }
    }
    true
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
            assert_eq!(parse(good), Ok(()), "{good}");
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
