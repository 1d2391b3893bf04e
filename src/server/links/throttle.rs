//! Failed attempts are answered late, the later the more there were, per address.
//!
//! Good credentials are never delayed, so that one misconfigured board does not lock out the others
//! behind the same NAT. While several failures of an address wait for their answers, further attempts
//! from it are turned away unseen: otherwise parallel connections would get around the delay.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered; the one that failed longest ago goes first.
const MAX_ADDRESSES: usize = 1024;
/// Failures of one address that may wait for their answers.
const MAX_WAITING: u32 = 8;
/// After so long without a failure an address is as good as new.
const FORGET: Duration = Duration::from_secs(600);

/// Failures by address.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<IpAddr, Failures>>);

struct Failures {
    count: u32,
    waiting: u32,
    last: Instant,
}

impl Throttle {
    /// Whether an attempt from the address may be looked at.
    pub fn admits(&self, address: IpAddr) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&network(address)).is_none_or(|failures| failures.waiting < MAX_WAITING)
    }

    /// Notes a failure and says how long its answer is to wait; [`Throttle::answered`] comes after that.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if all.len() >= MAX_ADDRESSES && !all.contains_key(&address) {
            if let Some(oldest) =
                all.iter().min_by_key(|(_, failures)| failures.last).map(|(oldest, _)| *oldest)
            {
                all.remove(&oldest);
            }
        }
        let failures = all.entry(address).or_insert(Failures { count: 0, waiting: 0, last: now });
        if now.saturating_duration_since(failures.last) > FORGET {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.waiting += 1;
        failures.last = now;
        // 0.1, 0.2, 0.4, … 3.2, 5 seconds.
        Duration::from_millis(50 << failures.count.min(7)).min(Duration::from_secs(5))
    }

    /// A failure's answer was sent, or its connection is gone.
    pub fn answered(&self, address: IpAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failures) = all.get_mut(&network(address)) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
    }

    /// The address has proved itself.
    pub fn succeeded(&self, address: IpAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if all.get(&address).is_some_and(|failures| failures.waiting == 0) {
            all.remove(&address);
        }
    }
}

/// The address, or the /64 that one host has all of.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let (one, now) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let delays: Vec<u128> = (0..8).map(|_| throttle.failed(one, now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(!throttle.admits(one));
        assert!(throttle.admits("192.0.2.2".parse().unwrap()));
        throttle.answered(one);
        assert!(throttle.admits(one));
        assert_eq!(throttle.failed(one, now + FORGET * 2).as_millis(), 100);

        let six = |last: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, last));
        throttle.failed(six(1), now);
        assert_eq!(throttle.failed(six(2), now).as_millis(), 200);
        throttle.answered(six(1));
        throttle.answered(six(1));
        throttle.succeeded(six(3));
        assert_eq!(throttle.failed(six(1), now).as_millis(), 100);
        for number in 0..5000_u32 {
            throttle.failed(IpAddr::V4(number.into()), now);
        }
        assert_eq!(throttle.0.lock().unwrap().len(), MAX_ADDRESSES);
    }
}
