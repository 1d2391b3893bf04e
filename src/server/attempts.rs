//! Failed attempts to get in, by address: each one is answered later than the one before.
//!
//! A good credential is never delayed, so that neither a misconfigured board nor an attacker locks out
//! the others behind the same NAT. The secrets that midge makes can't be guessed; what the delay keeps
//! small is the noise, one warning a doubling in the log. Only a token that somebody chose may be short
//! enough to be guessed: parallel connections would get around the delay, so such guesses are turned away
//! unseen while an address is [`Attempts::crowded`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at once; the one that failed longest ago goes first.
const MOST: usize = 512;
/// How long an address is remembered after its last failure.
const MEMORY: Duration = Duration::from_secs(600);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Failures of one address that wait for their answers; further ones are answered at once.
const MOST_WAITING: u32 = 8;

/// The failures of late.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

struct Failures {
    count: u32,
    waiting: u32,
    last: Instant,
}

/// One failure. Its answer waits until it is dropped.
pub struct Failure<'a> {
    /// How long the answer is to wait.
    pub delay: Duration,
    /// Whether to log it: the first, second, fourth, eighth …
    pub tell: bool,
    /// How many there were of late, with this one.
    pub count: u32,
    attempts: &'a Attempts,
    network: IpAddr,
}

impl Attempts {
    /// Whether so many failures of the address wait for their answers that a guess is not to be looked at.
    pub fn crowded(&self, address: IpAddr) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&network(address)).is_some_and(|failures| failures.waiting >= MOST_WAITING)
    }

    /// Counts a failure.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Failure<'_> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(address);
        if table.len() >= MOST && !table.contains_key(&network) {
            let oldest = table.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address);
            oldest.map(|oldest| table.remove(&oldest));
        }
        let failures = table.entry(network).or_insert(Failures { count: 0, waiting: 0, last: now });
        if now.saturating_duration_since(failures.last) > MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let delay = match failures.waiting >= MOST_WAITING {
            true => Duration::ZERO,
            false => FIRST.saturating_mul(1 << (failures.count - 1).min(16)).min(LONGEST),
        };
        failures.waiting += 1;
        let (count, tell) = (failures.count, failures.count.is_power_of_two());
        Failure { delay, tell, count, attempts: self, network }
    }
}

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        let mut table = self.attempts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failures) = table.get_mut(&self.network) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
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
        assert_eq!((other.delay, other.tell, other.count), (FIRST, true, 1));
        assert_eq!(attempts.failed(address, now + MEMORY * 2).count, 1);
    }

    #[test]
    fn a_crowd_waits_no_longer_than_it_lasts() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let address = "192.0.2.1".parse().unwrap();
        let waiting: Vec<Failure> = (0..MOST_WAITING).map(|_| attempts.failed(address, now)).collect();
        assert!(attempts.crowded(address) && !attempts.crowded("192.0.2.2".parse().unwrap()));
        assert_eq!(attempts.failed(address, now).delay, Duration::ZERO);
        drop(waiting);
        assert!(!attempts.crowded(address));
        assert_eq!(attempts.failed(address, now).delay, LONGEST);
    }

    #[test]
    fn bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..2 * MOST as u128 {
            let address = IpAddr::V6(Ipv6Addr::from_bits(number << 64));
            drop(attempts.failed(address, now + Duration::from_nanos(number as u64)));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), MOST);
        let near =
            ["2001:db8::1", "2001:db8::2"].map(|text| attempts.failed(text.parse().unwrap(), now).count);
        assert_eq!(near, [1, 2]);
    }
}
