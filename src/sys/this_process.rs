//! What this process takes (proc_pid_stat(5)).

use std::fs;
use std::time::{Duration, SystemTime};

/// This process, so far. What can't be read is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    pub cpu: Duration,
    /// Bytes.
    pub resident: u64,
    pub virtual_memory: u64,
    pub threads: u64,
    pub open_files: u64,
    pub started: Option<SystemTime>,
}

/// Ticks of proc_pid_stat(5) a second: the same on every architecture that midge is built for.
const TICKS: u64 = 100;

/// Reads a few files and a folder of /proc.
pub fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let process = parse(&stat, &status, super::host::boot_time());
    // One of them is the folder that was just read.
    Process { open_files: open_files.saturating_sub(1), ..process.unwrap_or_default() }
}

fn parse(stat: &str, status: &str, boot: Option<SystemTime>) -> Option<Process> {
    // The second field, in brackets, may hold anything; what follows it is the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let since_boot = Duration::from_millis(number(22)?.saturating_mul(1000 / TICKS));
    Some(Process {
        cpu: Duration::from_millis((number(14)? + number(15)?).saturating_mul(1000 / TICKS)),
        resident: resident?.trim().parse::<u64>().ok()?.saturating_mul(1024),
        virtual_memory: number(23)?,
        threads: number(20)?,
        open_files: 0,
        started: boot.and_then(|boot| boot.checked_add(since_boot)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_the_kernels() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 300 8192 2 18446744073709551615";
        let process = parse(stat, "Name:\tb\nVmRSS:\t       8 kB\n", Some(SystemTime::UNIX_EPOCH)).unwrap();
        let expected = Process {
            cpu: Duration::from_secs(2),
            resident: 8192,
            virtual_memory: 8192,
            threads: 3,
            open_files: 0,
            started: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3)),
        };
        assert_eq!(process, expected);
        assert_eq!(parse("strange", "", None), None);
        assert!(read().resident > 0 && read().open_files > 0);
    }
}
