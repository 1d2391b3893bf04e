//! The log: `log` through `env_logger` on stderr. Under systemd a line starts with its priority
//! (sd-daemon(3), "<3>" for an error) and has no time, since journald has both.

use crate::api::time;
use env_logger::Builder;
use log::{Level, LevelFilter};
use std::io::Write;
use std::time::SystemTime;

/// Starts the log. `MIDGE_LOG` overrides what `debug` sets, in `env_logger`'s syntax:
/// `MIDGE_LOG=info,midge::link=trace`.
pub fn start(debug: bool) {
    let journald = crate::sys::notify::stderr_is_journal();
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Warn);
    builder.filter_module("midge", if debug { LevelFilter::Debug } else { LevelFilter::Info });
    builder.parse_env("MIDGE_LOG");
    builder.format(move |out, record| {
        let (level, message) = (record.level(), record.args());
        if journald {
            return writeln!(out, "<{}>{message}", priority(level));
        }
        let room = record.target().split("::").take(2).collect::<Vec<_>>().join("::");
        writeln!(out, "{} {level:<5} {room}: {message}", time::format(SystemTime::now()))
    });
    // A second start, in tests, keeps the first.
    let _ = builder.try_init();
}

/// syslog's number for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
