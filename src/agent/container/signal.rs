//! Names of signals (signal(7)).

pub const SIGTERM: u32 = 15;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names of some.
const ALIASES: [(&str, &str); 3] = [("CLD", "CHLD"), ("IOT", "ABRT"), ("POLL", "IO")];

/// As the API spells it: `SIGTERM`, `SIGRTMIN+3`.
pub fn name(number: u32) -> String {
    let named = number.checked_sub(1).and_then(|index| NAMES.get(index as usize));
    match (named, number) {
        (Some(name), _) => format!("SIG{name}"),
        (None, 34) => "SIGRTMIN".into(),
        (None, 64) => "SIGRTMAX".into(),
        (None, 50..64) => format!("SIGRTMAX-{}", 64 - number),
        (None, _) => format!("SIGRTMIN+{}", number.saturating_sub(34)),
    }
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; SIGTERM for what is none.
pub fn number(name: &str) -> u32 {
    if let Ok(number) = name.parse() {
        return if (1..=64).contains(&number) { number } else { SIGTERM };
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |text: &str, base: u32, down: bool| {
        let offset: u32 = if text.is_empty() { 0 } else { text.get(1..)?.parse().ok()? };
        if down { base.checked_sub(offset) } else { base.checked_add(offset) }
    };
    if let Some(number) = name.strip_prefix("RTMIN").and_then(|text| real_time(text, 34, false)) {
        return number.min(64);
    }
    if let Some(number) = name.strip_prefix("RTMAX").and_then(|text| real_time(text, 64, true)) {
        return number.max(34);
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    let index = NAMES.iter().position(|known| *known == name);
    index.and_then(|index| u32::try_from(index + 1).ok()).unwrap_or(SIGTERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, expected) in [
            ("", 15),
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGNO", 15),
            ("SIGPOLL", 29),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
        for name in ["SIGHUP", "SIGSYS", "SIGRTMIN", "SIGRTMIN+15", "SIGRTMAX-14", "SIGRTMAX-1", "SIGRTMAX"] {
            assert_eq!(super::name(number(name)), name);
        }
    }
}
