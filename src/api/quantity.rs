//! Quantities: `500m`, `64Mi`, `1e3` (apimachinery `resource.Quantity`).

use std::fmt;

use serde_json::Value;

const NANOS: i128 = 1_000_000_000;
/// Upstream's ceiling: 2⁶³-1 whole units.
const LIMIT: i128 = i64::MAX as i128 * NANOS;

/// An amount, exact to a billionth; what is finer is rounded up. Compares by amount: `1000m` is `1`.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// Text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseQuantityError;

impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    }
}

impl std::error::Error for ParseQuantityError {}

const BINARY: &[(&str, u32)] = &[("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
const DECIMAL: &[(&str, i32)] = &[
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];

impl Quantity {
    /// Amounts past 2⁶³-1 units become that; nothing a peer sends overflows.
    pub fn parse(text: &str) -> Result<Quantity, ParseQuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or("")),
            Some(b'+') => (false, text.get(1..).unwrap_or("")),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(ParseQuantityError);
        }
        let (power, binary, format) = parse_suffix(suffix)?;
        let size = scale(whole, fraction, power, binary);
        Ok(Quantity { nanos: if negative { -size } else { size }, format })
    }

    /// From JSON: a string or a bare number.
    pub fn from_json(value: &Value) -> Result<Quantity, ParseQuantityError> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => Err(ParseQuantityError),
        }
    }

    /// Thousandths, rounded up: a CPU's unit.
    pub fn milli(self) -> i64 {
        ceiling(self.nanos, NANOS / 1000)
    }

    /// Whole units, rounded up: bytes, pods.
    pub fn value(self) -> i64 {
        ceiling(self.nanos, NANOS)
    }

    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// So many whole units.
    pub fn of(units: i64) -> Quantity {
        Quantity { nanos: i128::from(units) * NANOS, format: Format::Decimal }
    }

    /// The sum, written as the first of the two that is not 0.
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-LIMIT, LIMIT), format }
    }

    /// The difference, written likewise.
    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(Quantity { nanos: -other.nanos, ..other })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    /// Canonical: the largest suffix that leaves a whole number, in the family it was written in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.nanos % NANOS == 0 && self.nanos.abs() >= 1024 * NANOS {
            let units = self.nanos / NANOS;
            return match BINARY.iter().find(|(_, shift)| units % (1i128 << shift) == 0) {
                Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                None => write!(f, "{units}"),
            };
        }
        for (suffix, power) in DECIMAL {
            // Every power from -9 on is a whole number of nanos.
            let unit = 10i128.pow(u32::try_from(power + 9).unwrap_or(0));
            if self.nanos % unit == 0 {
                let count = self.nanos / unit;
                return match (self.format, power) {
                    (Format::Exponent, 0) => write!(f, "{count}"),
                    (Format::Exponent, power) => write!(f, "{count}e{power}"),
                    _ => write!(f, "{count}{suffix}"),
                };
            }
        }
        Ok(())
    }
}

/// A suffix as a power of ten, a power of two and how it was written.
fn parse_suffix(suffix: &str) -> Result<(i32, u32, Format), ParseQuantityError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((*power, 0, Format::Decimal));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((0, *shift, Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseQuantityError)?;
    let power = exponent.parse::<i32>().map_err(|_| ParseQuantityError)?;
    Ok((power.clamp(-1000, 1000), 0, Format::Exponent))
}

/// `whole.fraction` × 10^power × 2^shift in nanos, rounded up, capped at the limit.
fn scale(whole: &str, fraction: &str, power: i32, shift: u32) -> i128 {
    // The digits, read as a whole number, times 10^exponent, are the nanos. Past 29 significant
    // digits only "is there anything" matters for rounding up.
    let mut size: i128 = 0;
    let mut exponent = power + 9;
    let mut inexact = false;
    for (index, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let after_point = index >= whole.len();
        if size < 10i128.pow(28) {
            size = size * 10 + i128::from(digit - b'0');
            exponent -= i32::from(after_point);
        } else {
            inexact |= digit != b'0';
            exponent += i32::from(!after_point);
        }
    }
    if size == 0 {
        return i128::from(inexact);
    }
    // Up to 10^29 × 2^60 does not fit; shift while it does.
    let mut left = shift;
    while left > 0 && size < i128::MAX >> 2 {
        size <<= 1;
        left -= 1;
    }
    while exponent < 0 {
        inexact |= size % 10 != 0;
        size /= 10;
        exponent += 1;
        while left > 0 && size < i128::MAX >> 2 {
            size <<= 1;
            left -= 1;
        }
        if size == 0 {
            return 1;
        }
    }
    while exponent > 0 && size < LIMIT {
        size = size.saturating_mul(10);
        exponent -= 1;
    }
    if left > 0 {
        return LIMIT;
    }
    (size + i128::from(inexact)).min(LIMIT)
}

fn ceiling(nanos: i128, unit: i128) -> i64 {
    let up = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, milli, value) in [
            ("500m", 500, 1),
            ("1", 1000, 1),
            ("0.5", 500, 1),
            (".5", 500, 1),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1e3", 1_000_000, 1000),
            ("1E", 1_000_000_000_000_000_000_000u128 as i64, 1_000_000_000_000_000_000),
            ("100n", 1, 1),
            ("-1500m", -1500, -1),
            ("12e-1", 1200, 2),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.value(), value, "{text}");
            if text != "1E" {
                assert_eq!(quantity.milli(), milli, "{text}");
            }
        }
        assert_eq!(Quantity::parse("99999999999999999999999999999999999E").unwrap().value(), i64::MAX);
        assert_eq!(Quantity::parse("9Ei").unwrap().value(), i64::MAX);
        assert_eq!(Quantity::parse("0.0000000000000000000000000000000000001").unwrap().nanos(), 1);
        assert_eq!(Quantity::parse("1e-999999").unwrap().nanos(), 1);
    }

    #[test]
    fn sums() {
        let parse = |text| Quantity::parse(text).unwrap();
        // What is near the limit is read back as it was.
        let least = parse("-1e30").plus(parse("5n"));
        assert_eq!(Quantity::parse(&least.to_string()), Ok(least));
        assert_eq!(parse("0").plus(parse("64Mi")).plus(parse("64Mi")).to_string(), "128Mi");
        assert_eq!(parse("1").minus(parse("1500m")).to_string(), "-500m");
        assert_eq!(parse("9E").plus(parse("9E")).value(), i64::MAX);
        assert_eq!(Quantity::of(3).to_string(), "3");
    }

    #[test]
    fn canonical() {
        for (text, canonical) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Ki", "1Mi"),
            ("1000", "1k"),
            ("1500Mi", "1500Mi"),
            ("512Ki", "512Ki"),
            ("1e3", "1e3"),
            ("0", "0"),
            ("0.1Ki", "102400m"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in ["", ".", "1.2.3", "Mi", "1mi", "1 Mi", "1e", "1e99999999999", "0x1", "1KiB", "--1"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }
}
