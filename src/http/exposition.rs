//! Prometheus' text format, version 0.0.4, as `/metrics` answers it.

use std::fmt::{Display, Write};
use std::time::SystemTime;

use crate::api::discovery;
use crate::sys::this_process::Process;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A document that is being written: families, each with its samples after it.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family. `kind` is `counter` or `gauge`.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.family = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.family);
        for (index, (name, label)) in labels.iter().enumerate() {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{label}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
        self
    }

    /// What every Kubernetes program says of its build.
    pub fn build(&mut self) -> &mut Self {
        const HELP: &str = "A metric with a constant '1' value labeled by its version.";
        self.family("kubernetes_build_info", "gauge", HELP)
            .sample(&[("git_version", &discovery::git_version())], 1)
    }

    /// What every Prometheus client says of its process.
    pub fn process(&mut self, process: &Process) -> &mut Self {
        const CPU: &str = "Total user and system CPU time spent in seconds.";
        self.family("process_cpu_seconds_total", "counter", CPU).sample(&[], process.cpu.as_secs_f64());
        self.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.")
            .sample(&[], process.resident);
        self.family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.")
            .sample(&[], process.virtual_memory);
        self.family("process_open_fds", "gauge", "Number of open file descriptors.")
            .sample(&[], process.open_files);
        if let Some(started) = process.started {
            const START: &str = "Start time of the process since unix epoch in seconds.";
            self.family("process_start_time_seconds", "gauge", START).sample(&[], seconds(started));
        }
        self
    }

    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("up", "gauge", "Whether.").sample(&[], 1).sample(&[("a", "x\"y\\z\n"), ("b", "")], 2.5);
        let expected = "# HELP up Whether.\n# TYPE up gauge\nup 1\nup{a=\"x\\\"y\\\\z\\n\",b=\"\"} 2.5\n";
        assert_eq!(text.finish(), expected);
    }
}
