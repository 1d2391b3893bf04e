//! What network interfaces have carried (`/proc/PID/net/dev`, proc_pid_net(5)).

use std::fs;

/// One interface, since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

/// Those in the network namespace of a process, this one's for None, but for the loopback. Empty when it is gone.
pub fn of(process: Option<u32>) -> Vec<Interface> {
    let process = process.map_or("self".to_owned(), |id| id.to_string());
    parse(&fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default())
}

fn parse(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied();
        Some(Interface {
            name: name.trim().to_owned(),
            rx_bytes: at(0)?,
            rx_errors: at(2)?,
            tx_bytes: at(8)?,
            tx_errors: at(10)?,
        })
    };
    text.lines().filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_table() {
        let text = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs \
                    drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     \
                    0       0          0\n  eth0: 2000      20    3    0    0     0          0         0     4000      \
                    40    5    0    0     0       0          0\n  odd: x\n";
        let expected =
            Interface { name: "eth0".into(), rx_bytes: 2000, rx_errors: 3, tx_bytes: 4000, tx_errors: 5 };
        assert_eq!(parse(text), [expected]);
    }
}
