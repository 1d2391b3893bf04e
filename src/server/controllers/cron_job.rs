//! CronJobs, and their Jobs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use super::{Controller, World};
use crate::api::kinds::{CRON_JOB, JOB};
use crate::api::{Kind, Object, Status, cron};
use crate::plan::control::Plan;
use crate::plan::cron_job::{self, Zone};

/// Where the system keeps its time zones.
const ZONES: &str = "/usr/share/zoneinfo";
/// None of them has more bytes.
const LONGEST: u64 = 64 << 10;

pub struct CronJobs;

impl Controller for CronJobs {
    fn kind(&self) -> &'static Kind {
        CRON_JOB
    }

    fn source(&self) -> &'static str {
        "cronjob-controller"
    }

    fn owns(&self) -> &'static [&'static Kind] {
        const { &[JOB] }
    }

    fn plan(
        &self,
        world: &World,
        cron: &Object,
        _: Option<&Status>,
        now: SystemTime,
    ) -> Result<Plan, Status> {
        let zone = zone(cron.str_at("/spec/timeZone"));
        Ok(cron_job::plan(cron, &world.of(JOB, cron, false), zone, now))
    }
}

/// The time zone of this name, or why there is none; without a name UTC.
fn zone(name: &str) -> Result<Zone, String> {
    if matches!(name, "" | "UTC" | "Etc/UTC") {
        return Ok(Zone::default());
    }
    let refuse = |why: &str| format!("invalid timeZone: {name:?}: {why}");
    // It is a path from here on.
    cron::time_zone(name).map_err(|why| refuse(&why))?;
    let mut text = Vec::new();
    let read =
        File::open(Path::new(ZONES).join(name)).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    let zone = read.ok().and_then(|_| Zone::parse(&text));
    zone.ok_or_else(|| refuse(&format!("unknown time zone {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_name() {
        assert_eq!(zone("").unwrap(), Zone::default());
        for bad in ["Mars/Base", "../../../etc/passwd", "/etc/passwd", "Europe"] {
            assert!(zone(bad).unwrap_err().starts_with("invalid timeZone: "), "{bad}");
        }
        if Path::new(ZONES).join("Europe/Berlin").exists() {
            let berlin = zone("Europe/Berlin").unwrap();
            assert_eq!((berlin.offset(1_768_000_000), berlin.offset(1_784_000_000)), (3600, 7200));
            assert_eq!(berlin.offset(4_000_000_000), 7200);
        }
    }
}
