use super::advice::memory_advice;
use super::*;

#[test]
fn reads_mounts_of_both_versions() {
    let v2 = parse_mount("35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
        .unwrap();
    assert!(v2.unified && v2.controllers.is_empty());
    assert_eq!(v2.root, Path::new("/sys/fs/cgroup"));
    let v1 =
        parse_mount("32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct").unwrap();
    assert_eq!(v1.controllers, ["cpu", "cpuacct"]);
    let named =
        parse_mount("40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd").unwrap();
    assert!(!named.unified && named.controllers.is_empty());
    assert_eq!(parse_mount("27 1 254:0 / / rw - ext4 /dev/vda rw"), None);
}

#[test]
fn reads_processor_quotas_of_both_versions() {
    assert_eq!(cpu_millis("150000 100000", "150000 100000"), Some(1500));
    assert_eq!(cpu_millis("max 100000", "max 100000"), None);
    assert_eq!(cpu_millis("50000", "100000"), Some(500));
    assert_eq!(cpu_millis("-1", "100000"), None);
}

#[test]
fn memory_advice_names_file_and_words() {
    let pi = "Raspberry Pi 4 Model B Rev 1.5\0";
    // As Raspberry Pi OS boots.
    let firmware = "coherent_pool=1M cgroup_disable=memory console=tty1";
    let words = "add `cgroup_memory=1 cgroup_enable=memory` to the end of the one line in";
    for (file, named) in [
        (Some("/boot/firmware/cmdline.txt"), "/boot/firmware/cmdline.txt,"),
        (None, "cmdline.txt on the boot partition"),
    ] {
        assert!(memory_advice(pi, file, firmware, false).contains(&format!("{words} {named}")));
    }
    let disabled = "root=/dev/vda1 cgroup_disable=cpu,memory quiet";
    assert!(
        memory_advice("", None, disabled, true)
            .contains("take `cgroup_disable=cpu,memory` out of /etc/default/grub, run `update-grub`")
    );
    assert!(
        memory_advice("", None, disabled, false).contains("`cgroup_disable=cpu,memory` out of the kernel's")
    );
    for other in ["quiet", "cgroup_disable=cpu", ""] {
        assert!(memory_advice("OpenWrt One", None, other, true).contains("CONFIG_KERNEL_MEMCG=y"));
    }
}

#[test]
fn paths_stay_inside() {
    let hierarchy = Hierarchy { root: "/root".into(), controllers: Vec::new(), unified: true };
    assert_eq!(group(&hierarchy, "/../midge/./pod1/"), Path::new("/root/midge/pod1"));
}

/// On the real hierarchies; root only, like everything that midge's agent does.
#[test]
fn creates_and_removes_groups() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let cgroups = detect().unwrap();
    let parent = format!("/midge-test-{}", std::process::id());
    let pod = format!("{parent}/pod1");
    cgroups.create(&pod).unwrap();
    cgroups.create(&format!("{pod}/container")).unwrap();
    cgroups.create(&pod).unwrap();
    assert_eq!(cgroups.children(&parent).unwrap(), ["pod1"]);

    // A process in the inner group keeps it, and is told.
    let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
    let hierarchy = cgroups.with("pids").or(cgroups.hierarchies.first()).unwrap();
    let inner = group(hierarchy, &pod).join("container");
    fs::write(inner.join("cgroup.procs"), child.id().to_string()).unwrap();
    assert_eq!(cgroups.processes(&pod).unwrap(), [child.id()]);
    match cgroups.remove(&parent).unwrap_err() {
        Error::Busy { processes, .. } => assert_eq!(processes, [child.id()]),
        other => panic!("{other}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    cgroups.remove(&parent).unwrap();
    cgroups.remove(&parent).unwrap();
    assert!(cgroups.children(&parent).unwrap().is_empty());
    assert!(cgroups.hierarchies.iter().all(|h| !group(h, &parent).exists()));
}
