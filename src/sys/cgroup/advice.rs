//! What to do about controllers that are not there.

use super::Cgroups;
use std::fs;
use std::path::Path;

impl Cgroups {
    /// When the memory controller is off: one line with the file and the words that turn it on.
    pub fn memory_advice(&self) -> Option<String> {
        if self.has("memory") {
            return None;
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // The firmware's partition is at the first since Raspberry Pi OS 12, which left a file without an
        // effect at the second.
        let boot = ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"];
        Some(memory_advice(
            &read("/proc/device-tree/model"),
            boot.into_iter().find(|path| Path::new(path).exists()),
            &read("/proc/cmdline"),
            Path::new("/etc/default/grub").exists(),
        ))
    }

    /// What can't be enforced on this machine, and what to do about it; None when every controller is there that pods'
    /// limits need.
    pub fn missing(&self) -> Option<String> {
        let missing: Vec<&str> =
            ["cpu", "memory", "pids"].into_iter().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return None;
        }
        let mut text =
            format!("limits of pods are not enforced without cgroup controllers: {}", missing.join(", "));
        if let Some(advice) = self.memory_advice() {
            text += &format!("; {advice}");
        }
        if missing.iter().any(|name| *name != "memory") {
            text += "; cpu takes a kernel with CONFIG_CGROUP_SCHED=y and CONFIG_CFS_BANDWIDTH=y, pids one with \
                     CONFIG_CGROUP_PIDS=y, and a machine that is a container gets them from its host";
        }
        Some(text)
    }
}

/// By the board's model, the file of a Raspberry Pi's command line, the kernel's own command line, and
/// whether GRUB starts it. /proc/cgroups does not help: from Linux 6.12 on it may leave memory out.
pub(super) fn memory_advice(model: &str, pi_file: Option<&str>, cmdline: &str, grub: bool) -> String {
    let off = "the kernel's memory cgroup is off";
    // A Pi's firmware itself puts `cgroup_disable=memory` before what the file says: only words help.
    if pi_file.is_some() || model.contains("Raspberry Pi") {
        let file = pi_file.unwrap_or("cmdline.txt on the boot partition");
        return format!(
            "{off}: add `cgroup_memory=1 cgroup_enable=memory` to the end of the one line in {file}, then reboot"
        );
    }
    let disabled = cmdline.split_whitespace().find(|word| {
        word.strip_prefix("cgroup_disable=").is_some_and(|list| list.split(',').any(|name| name == "memory"))
    });
    match (disabled, grub) {
        (Some(word), true) => {
            format!("{off}: take `{word}` out of /etc/default/grub, run `update-grub`, then reboot")
        }
        (Some(word), false) => format!(
            "{off}: take `{word}` out of the kernel's command line, in the boot loader's configuration, then reboot"
        ),
        (None, _) => format!(
            "{off}: it takes a kernel that is built with CONFIG_MEMCG=y (OpenWrt: CONFIG_KERNEL_MEMCG=y); some \
             vendors' kernels have it and want `cgroup_enable=memory` on their command line"
        ),
    }
}
