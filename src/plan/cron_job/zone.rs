//! Time zones, from the system's TZif files (RFC 9636).

/// How far a zone is ahead of UTC, in seconds, and when that changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zone {
    /// From when on (Unix time), and how far.
    changes: Vec<(i64, i32)>,
    /// Before the first change.
    first: i32,
    /// After the last.
    rule: Option<Rule>,
}

/// Two offsets, and when the second begins and ends each year.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    standard: i32,
    summer: Option<(i32, Date, Date)>,
}

/// A moment of each year, local time.
#[derive(Clone, Debug, PartialEq)]
struct Date {
    day: Day,
    seconds: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum Day {
    /// Month, week (5: the last), weekday.
    Weekday(u8, i64, i64),
    /// 1 to 365, without 29 February.
    Julian(i64),
    /// 0 to 365.
    Ordinal(i64),
}

/// The largest of the system's files has some 200.
const MOST_CHANGES: usize = 4096;
const DAY: i64 = 86_400;

impl Zone {
    /// None if the text is no such file. UTC is [`Zone::default`].
    pub fn parse(file: &[u8]) -> Option<Self> {
        let (old, counts) = header(file)?;
        // What follows the first block has 64 bits a time; the first version has one block only.
        let (block, wide, counts) = match old {
            0 => (file.get(44..)?, 4, counts),
            _ => {
                let rest = file.get(44 + size(&counts, 4)..)?;
                (rest.get(44..)?, 8, header(rest)?.1)
            }
        };
        let [_, _, _, times, kinds, _] = counts;
        if times > MOST_CHANGES || kinds == 0 || kinds > 256 {
            return None;
        }
        let (at, rest) = block.split_at_checked(times * wide)?;
        let (which, rest) = rest.split_at_checked(times)?;
        let (offsets, _) = rest.split_at_checked(kinds * 6)?;
        let offset = |kind: usize| {
            let bytes = offsets.get(kind * 6..)?.first_chunk::<4>()?;
            Some(i32::from_be_bytes(*bytes)).filter(|offset| i64::from(*offset).abs() < 2 * DAY)
        };
        let number = |bytes: &[u8]| match bytes.first_chunk::<8>() {
            Some(wide) => Some(i64::from_be_bytes(*wide)),
            None => Some(i64::from(i32::from_be_bytes(*bytes.first_chunk::<4>()?))),
        };
        let changes = at.chunks_exact(wide).zip(which);
        let changes: Option<Vec<_>> =
            changes.map(|(at, kind)| Some((number(at)?, offset(usize::from(*kind))?))).collect();
        let changes = changes.filter(|changes| changes.is_sorted_by_key(|change| change.0))?;
        let footer = block.get(size(&counts, wide)..).unwrap_or_default();
        let footer = footer.strip_prefix(b"\n").and_then(|text| text.split(|byte| *byte == b'\n').next());
        let rule = footer.and_then(|text| Rule::parse(std::str::from_utf8(text).ok()?));
        Some(Self { changes, first: offset(0)?, rule })
    }

    #[cfg(test)]
    pub fn with_rule(rule: &str) -> Self {
        Self { rule: Rule::parse(rule), ..Self::default() }
    }

    /// How many seconds local time is ahead of UTC.
    pub fn offset(&self, at: i64) -> i64 {
        let place = self.changes.partition_point(|change| change.0 <= at);
        let last = place.checked_sub(1).and_then(|place| self.changes.get(place));
        let offset = match (&self.rule, last) {
            (Some(rule), _) if place == self.changes.len() => return rule.offset(at),
            (_, Some((_, offset))) => *offset,
            (_, None) => self.first,
        };
        i64::from(offset)
    }
}

/// The version (0 for the first), and how many there are of: UT indicators, standard indicators, leap seconds, changes,
/// kinds of local time, letters.
fn header(file: &[u8]) -> Option<(u8, [usize; 6])> {
    let rest = file.strip_prefix(b"TZif")?;
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(rest.get(16..40)?.chunks_exact(4)) {
        let number = u32::from_be_bytes(*bytes.first_chunk()?);
        *count = usize::try_from(number).ok().filter(|count| *count <= 1 << 16)?;
    }
    Some((*rest.first()?, counts))
}

fn size([ut, standard, leaps, times, kinds, letters]: &[usize; 6], wide: usize) -> usize {
    times * (wide + 1) + kinds * 6 + letters + leaps * (wide + 4) + standard + ut
}

impl Rule {
    /// As POSIX has them in TZ: `CET-1CEST,M3.5.0,M10.5.0/3`.
    fn parse(text: &str) -> Option<Self> {
        let rest = name(text)?;
        let (standard, rest) = clock(rest)?;
        let standard = -i32::try_from(standard).ok()?;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let rest = name(rest)?;
        let (summer, rest) = match rest.starts_with(',') {
            true => (standard + 3600, rest),
            false => clock(rest).and_then(|(west, rest)| Some((-i32::try_from(west).ok()?, rest)))?,
        };
        let mut dates = rest.strip_prefix(',')?.split(',').map(Date::parse);
        let (from, to) = (dates.next()??, dates.next()??);
        Some(Self { standard, summer: Some((summer, from, to)) })
    }

    fn offset(&self, at: i64) -> i64 {
        let standard = i64::from(self.standard);
        let Some((summer, from, to)) = &self.summer else { return standard };
        let summer = i64::from(*summer);
        let (year, ..) = civil((at + standard).div_euclid(DAY));
        let (from, to) = (from.in_year(year) - standard, to.in_year(year) - summer);
        let is_summer = if from < to { from <= at && at < to } else { at < to || from <= at };
        if is_summer { summer } else { standard }
    }
}

/// Skips a zone's short name: letters, or anything in `<>`.
fn name(text: &str) -> Option<&str> {
    let rest = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?.1,
        None => text.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    (rest.len() < text.len()).then_some(rest)
}

/// `[+-]h[:m[:s]]` in seconds, and what follows.
fn clock(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '+' | '-' | ':')).unwrap_or(text.len());
    let (clock, rest) = text.split_at_checked(end)?;
    let (sign, clock) = match clock.strip_prefix('-') {
        Some(clock) => (-1, clock),
        None => (1, clock.strip_prefix('+').unwrap_or(clock)),
    };
    let mut seconds = 0;
    for (part, unit) in clock.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok().filter(|part| (0..=167).contains(part))? * unit;
    }
    Some((sign * seconds, rest))
}

impl Date {
    fn parse(text: &str) -> Option<Self> {
        let (day, at) = text.split_once('/').unwrap_or((text, "2"));
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| (0..=366).contains(number));
        let day = if let Some(day) = day.strip_prefix('M') {
            let mut parts = day.split('.').map(number);
            let month = u8::try_from(parts.next()??).ok().filter(|month| (1..=12).contains(month))?;
            Day::Weekday(month, parts.next()??.clamp(1, 5), parts.next()?? % 7)
        } else if let Some(day) = day.strip_prefix('J') {
            Day::Julian(number(day)?)
        } else {
            Day::Ordinal(number(day)?)
        };
        Some(Self { day, seconds: clock(at)?.0 })
    }

    /// In seconds of local time since 1970.
    fn in_year(&self, year: i64) -> i64 {
        let day = match self.day {
            Day::Weekday(month, week, weekday) => {
                let first = days(year, month, 1);
                let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                let day = first + (weekday - self::weekday(first)).rem_euclid(7) + (week - 1) * 7;
                if day < next { day } else { day - 7 }
            }
            Day::Julian(day) if day >= 60 => days(year, 3, 1) + day - 60,
            Day::Julian(day) => days(year, 1, 1) + day - 1,
            Day::Ordinal(day) => days(year, 1, 1) + day,
        };
        day * DAY + self.seconds
    }
}

/// 0 is Sunday; `day` counts from 1970.
pub fn weekday(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

/// Days since 1970.
fn days(year: i64, month: u8, day: i64) -> i64 {
    let month = i64::from(month);
    // Years that begin in March have their leap day last.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

/// Year, month and day of a day since 1970.
pub fn civil(day: i64) -> (i64, u8, u8) {
    let day = day + 719_468;
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + day.div_euclid(146_097) * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(1), u8::try_from(date).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates() {
        for (day, date) in
            [(0, (1970, 1, 1)), (-1, (1969, 12, 31)), (11_016, (2000, 2, 29)), (20_454, (2026, 1, 1))]
        {
            assert_eq!((civil(day), days(date.0, date.1, i64::from(date.2))), (date, day));
        }
        assert_eq!(weekday(20_454), 4);
    }

    #[test]
    fn rules_after_the_last_change() {
        let zone = |rule: &str| Zone { rule: Some(Rule::parse(rule).unwrap()), ..Zone::default() };
        // (rule, moment, offset): both sides of both changes of 2026.
        for (rule, at, offset) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_745_999, 3600),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_774_746_000, 7200),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_792_889_999, 7200),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 1_792_890_000, 3600),
            ("EST5EDT,M3.2.0,M11.1.0", 1_772_953_199, -18_000),
            ("EST5EDT,M3.2.0,M11.1.0", 1_772_953_200, -14_400),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_767_225_600, 39_600),
            ("<+0545>-5:45", 1_767_225_600, 20_700),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1_774_745_999, -7200),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1_774_746_000, -3600),
            ("A0B,J60/0,J365/0", 1_772_323_200, 3600),
            ("A0B,59/0,300/0", 1_772_323_199, 0),
        ] {
            assert_eq!(zone(rule).offset(at), offset, "{rule} at {at}");
        }
        for bad in ["", "CET", "CET-1CEST", "CET-1CEST,M3", "C1D,M13.1.0,M1.1.0", "<+1", "X999"] {
            assert_eq!(Rule::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn files() {
        let file = |version: u8, block: &[u8], footer: &str| {
            let counts: [u32; 6] = [0, 0, 0, 1, 2, 4];
            let head = [b"TZif", &[version][..], &[0; 15], &counts.map(u32::to_be_bytes).concat()].concat();
            let mut old = head.clone();
            old.extend([&500_i32.to_be_bytes()[..], &[1], block].concat());
            if version > 0 {
                old.extend([&head[..], &1000_i64.to_be_bytes(), &[1], block, footer.as_bytes()].concat());
            }
            old
        };
        let block =
            [&3600_i32.to_be_bytes()[..], &[0, 0], &7200_i32.to_be_bytes(), &[1, 0], b"A\0B\0"].concat();
        let new = file(b'2', &block, "\nB-2\n");
        let zone = Zone::parse(&new).unwrap();
        assert_eq!(
            (zone.offset(999), zone.offset(1000), zone.offset(i64::from(u32::MAX))),
            (3600, 7200, 7200)
        );
        let old = Zone::parse(&file(0, &block, "")).unwrap();
        assert_eq!((old.offset(499), old.offset(500)), (3600, 7200));
        // Cut anywhere, or with any byte changed: never more than no zone.
        for end in 0..new.len() {
            drop(Zone::parse(&new[..end]));
            let mut changed = new.clone();
            changed[end] ^= 0xff;
            let _ = Zone::parse(&changed).map(|zone| zone.offset(5000));
        }
        assert_eq!(Zone::parse(b"# not a zone"), None);
    }
}
