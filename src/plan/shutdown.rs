//! In which order a node's pods end when its machine goes down, and when each is killed: those of lower priority
//! first, the critical ones last, as the kubelet's `shutdownGracePeriod` and `shutdownGracePeriodCriticalPods` have it.

use std::time::{Duration, SystemTime};

use super::eviction::CRITICAL;

/// What a SIGKILL may take, and what every container gets after its stop signal, beyond its pod's time.
const SLACK: Duration = Duration::from_secs(3);

/// How long pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// All together; zero: nothing is ended.
    pub all: Duration,
    /// The part of it that is kept for critical pods.
    pub critical: Duration,
}

/// Pods of `priority` or more, as far as no later band has them. The first one has all below it, too.
#[derive(Debug, Clone, Copy)]
struct Band {
    priority: i64,
    grace: Duration,
    begun: Option<SystemTime>,
}

/// Made when the machine begins to go down.
#[derive(Debug, Clone)]
pub struct Shutdown([Band; 2]);

/// What a pod is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on with what it has, and start nothing: its band has not begun.
    Later,
    /// End; what still runs then is killed.
    Now { kill_at: SystemTime },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When to look again although no pod has ended.
    Look(SystemTime),
    /// All have ended, or had their time.
    Over,
}

impl Default for Grace {
    fn default() -> Grace {
        Grace { all: Duration::from_secs(30), critical: Duration::from_secs(10) }
    }
}

impl Grace {
    /// After this long it is over, whatever runs.
    pub fn most(&self) -> Duration {
        self.all + SLACK
    }
}

impl Shutdown {
    pub fn new(grace: Grace) -> Shutdown {
        let band = |priority, grace| Band { priority, grace, begun: None };
        Shutdown([band(0, grace.all.saturating_sub(grace.critical)), band(CRITICAL, grace.critical)])
    }

    /// Begins the bands that are due: each once nothing runs of those before it, or their time is over. `running`: the
    /// priorities of the pods of which something runs.
    pub fn advance(&mut self, running: &[i64], now: SystemTime) -> Next {
        for band in 0..self.0.len() {
            let is_last = band + 1 == self.0.len();
            // One of an earlier band may take a moment longer to be killed.
            let runs = running.iter().any(|priority| is_last || self.band(*priority) == band);
            let Some(Band { grace, begun, .. }) = self.0.get_mut(band) else { break };
            let begun = begun.get_or_insert(now);
            // A clock that is set back makes nobody wait longer.
            *begun = (*begun).min(now);
            let end = *begun + *grace + if is_last { SLACK } else { Duration::ZERO };
            if runs && now < end {
                return Next::Look(end);
            }
        }
        Next::Over
    }

    /// Of a pod whose containers have `grace` by its specification.
    pub fn turn(&self, priority: i64, grace: Duration) -> Turn {
        match self.0.get(self.band(priority)) {
            Some(Band { begun: Some(begun), grace: most, .. }) => {
                Turn::Now { kill_at: *begun + grace.min(*most) }
            }
            _ => Turn::Later,
        }
    }

    fn band(&self, priority: i64) -> usize {
        self.0.iter().rposition(|band| band.priority <= priority).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + seconds)
    }

    fn seconds(all: u64, critical: u64) -> Grace {
        Grace { all: Duration::from_secs(all), critical: Duration::from_secs(critical) }
    }

    #[test]
    fn critical_pods_end_last_and_all_within_the_bound() {
        const NODE: i64 = 2_000_001_000;
        let look = |second| Next::Look(at(second));
        // (bounds, [(second, priorities that run, next, whether critical pods' turn has come)])
        type Step = (u64, &'static [i64], Next, bool);
        let cases: [(Grace, &[Step]); 6] = [
            (
                Grace::default(),
                &[
                    (0, &[0, -5, NODE], look(20), false),
                    (4, &[-5, NODE], look(20), false),
                    (6, &[NODE], look(19), true),
                    (8, &[], Next::Over, true),
                ],
            ),
            // One that does not end: the others do not wait for it longer than its time.
            (
                Grace::default(),
                &[
                    (0, &[100, NODE], look(20), false),
                    (20, &[100, NODE], look(33), true),
                    (21, &[100], look(33), true),
                    (33, &[100], Next::Over, true),
                ],
            ),
            // The wake was late.
            (Grace::default(), &[(0, &[1, NODE], look(20), false), (25, &[1, NODE], look(38), true)]),
            (Grace::default(), &[(0, &[NODE], look(13), true)]),
            (Grace::default(), &[(0, &[], Next::Over, true)]),
            // All of it is the critical ones': the others are killed at once.
            (seconds(10, 10), &[(0, &[0, NODE], look(13), true)]),
        ];
        for (row, (grace, steps)) in cases.into_iter().enumerate() {
            let mut shutdown = Shutdown::new(grace);
            for (second, running, next, critical) in steps {
                assert_eq!(shutdown.advance(running, at(*second)), *next, "case {row}, second {second}");
                let turn = shutdown.turn(NODE, Duration::ZERO);
                assert_eq!(turn != Turn::Later, *critical, "case {row}, second {second}");
            }
        }
    }

    #[test]
    fn a_pod_has_its_own_grace_or_its_bands() {
        let mut shutdown = Shutdown::new(Grace::default());
        assert_eq!(shutdown.turn(0, Duration::from_secs(5)), Turn::Later);
        shutdown.advance(&[0, CRITICAL], at(0));
        for (priority, grace, kill_at) in
            [(0, 5, Some(5)), (i64::MIN, 30, Some(20)), (1_000_000_000, 3600, Some(20)), (CRITICAL, 5, None)]
        {
            let wanted = kill_at.map_or(Turn::Later, |second| Turn::Now { kill_at: at(second) });
            assert_eq!(shutdown.turn(priority, Duration::from_secs(grace)), wanted, "{priority}");
        }
        // The clock is set back by an hour: the band ends as many seconds from now.
        let back = at(0) - Duration::from_secs(3600);
        shutdown.advance(&[0], back);
        let kill_at = back + Duration::from_secs(5);
        assert_eq!(shutdown.turn(0, Duration::from_secs(5)), Turn::Now { kill_at });
    }
}
