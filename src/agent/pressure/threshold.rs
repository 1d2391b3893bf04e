//! When the node counts as short of something: `--eviction-hard`, as the kubelet has it.

use crate::api::quantity::Quantity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Memory,
    NodeDisk,
    NodeInodes,
    ImageDisk,
    ImageInodes,
    Processes,
}

/// All of them, in the order in which they are acted upon.
pub const SIGNALS: [Signal; 6] = [
    Signal::Memory,
    Signal::NodeDisk,
    Signal::NodeInodes,
    Signal::ImageDisk,
    Signal::ImageInodes,
    Signal::Processes,
];

/// The node is short once less than this is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    pub signal: Signal,
    amount: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// Bytes, inodes, processes.
    Whole(u64),
    /// Thousandths of a hundredth of all there is.
    Percent(u64),
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::NodeDisk => "nodefs.available",
            Signal::NodeInodes => "nodefs.inodesFree",
            Signal::ImageDisk => "imagefs.available",
            Signal::ImageInodes => "imagefs.inodesFree",
            Signal::Processes => "pid.available",
        }
    }

    /// What it is the lack of.
    pub fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::NodeDisk | Signal::ImageDisk => "ephemeral-storage",
            Signal::NodeInodes | Signal::ImageInodes => "inodes",
            Signal::Processes => "pids",
        }
    }
}

impl Threshold {
    /// How much of `capacity` is to be left.
    pub fn of(&self, capacity: u64) -> u64 {
        match self.amount {
            Amount::Whole(amount) => amount,
            Amount::Percent(thousandths) => {
                u64::try_from(u128::from(capacity) * u128::from(thousandths) / 100_000).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Kubernetes' own. Where 100 MiB are more than a twentieth of the memory, that twentieth: a small board would always
/// be short. Of processes, which Kubernetes leaves out, a tenth.
pub fn defaults(memory: u64) -> Vec<Threshold> {
    let percent = |signal, percent: u64| Threshold { signal, amount: Amount::Percent(percent * 1000) };
    vec![
        Threshold { signal: Signal::Memory, amount: Amount::Whole((memory / 20).min(100 << 20)) },
        percent(Signal::NodeDisk, 10),
        percent(Signal::NodeInodes, 5),
        percent(Signal::ImageDisk, 15),
        percent(Signal::ImageInodes, 5),
        percent(Signal::Processes, 10),
    ]
}

/// What [`parse`] takes, for messages.
pub const EXPECTED: &str = "thresholds such as memory.available<100Mi,nodefs.available<10% (also nodefs.inodesFree, \
     imagefs.available, imagefs.inodesFree, pid.available)";

/// `memory.available<100Mi,nodefs.available<10%`. As upstream: what is not named has no threshold then.
pub fn parse(text: &str) -> Option<Vec<Threshold>> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, amount) = part.split_once('<')?;
        let signal = *SIGNALS.iter().find(|signal| signal.name() == name.trim())?;
        if thresholds.iter().any(|threshold| threshold.signal == signal) {
            return None;
        }
        let amount = match amount.trim().strip_suffix('%') {
            Some(percent) => {
                let percent = Quantity::parse(percent).ok()?.milli();
                Amount::Percent(u64::try_from(percent).ok().filter(|percent| *percent <= 100_000)?)
            }
            None => Amount::Whole(u64::try_from(Quantity::parse(amount.trim()).ok()?.value()).ok()?),
        };
        thresholds.push(Threshold { signal, amount });
    }
    Some(thresholds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let parsed = parse("memory.available<50Mi, nodefs.available<7.5%").unwrap();
        assert_eq!(parsed.iter().map(|each| each.of(1000)).collect::<Vec<_>>(), [50 << 20, 75]);
        assert_eq!(parse(""), Some(vec![]));
        for wrong in [
            "memory.available",
            "memory.available>5",
            "memory.free<5",
            "memory.available<x",
            "memory.available<-1",
            "nodefs.available<101%",
            "memory.available<1,memory.available<2",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_small_board_is_not_always_short() {
        let memory = |total: u64| defaults(total)[0].of(total);
        assert_eq!(memory(8 << 30), 100 << 20);
        assert_eq!(memory(512 << 20), (512 << 20) / 20);
    }
}
