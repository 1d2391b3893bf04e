//! Failed attempts to get in, by address: each one is answered later than the one before.
//!
//! The secrets can't be guessed anyway. What this keeps small is the noise: one warning a doubling in
//! the log, and a misconfigured client's load. Whoever knows the secret is never slowed, also behind
//! the same address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at once.
const MOST: usize = 512;
/// How long an address is remembered after its last failure.
const MEMORY: Duration = Duration::from_secs(300);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The failures of late.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

struct Failures {
    count: u32,
    last: Instant,
}

/// What to do about one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// How long the answer is to wait.
    pub delay: Duration,
    /// Whether to log it: the first, second, fourth, eighth …
    pub tell: bool,
    /// How many there were of late, with this one.
    pub count: u32,
}

impl Attempts {
    /// Counts a failure.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Penalty {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = |failures: &Failures| now.saturating_duration_since(failures.last) > MEMORY;
        let network = network(address);
        if table.len() >= MOST && !table.contains_key(&network) {
            table.retain(|_, failures| !forgotten(failures));
            let oldest = table.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| table.len() >= MOST) {
                table.remove(&oldest);
            }
        }
        let failures = table.entry(network).or_insert(Failures { count: 0, last: now });
        if forgotten(failures) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let doublings = (failures.count - 1).min(16);
        let delay = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        Penalty { delay, tell: failures.count.is_power_of_two(), count: failures.count }
    }
}

/// One customer's network counts as one: an IPv6 address has 2^64 neighbours of its own.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_each_time_and_forgotten_in_the_end() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let address = "192.0.2.1".parse().unwrap();
        let delays: Vec<u128> = (0..8).map(|_| attempts.failed(address, now).delay.as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(!attempts.failed(address, now).tell);
        let other = attempts.failed("192.0.2.2".parse().unwrap(), now);
        assert_eq!(other, Penalty { delay: FIRST, tell: true, count: 1 });
        assert_eq!(attempts.failed(address, now + MEMORY * 2).count, 1);
        for _ in 0..100 {
            assert!(attempts.failed(address, now).delay <= LONGEST);
        }
    }

    #[test]
    fn bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..2 * MOST as u128 {
            attempts.failed(
                IpAddr::V6(Ipv6Addr::from_bits(number << 64)),
                now + Duration::from_nanos(number as u64),
            );
        }
        assert_eq!(attempts.0.lock().unwrap().len(), MOST);
        let near =
            ["2001:db8::1", "2001:db8::2"].map(|text| attempts.failed(text.parse().unwrap(), now).count);
        assert_eq!(near, [1, 2]);
    }
}
