//! Floor 0: one small module per Linux interface, so that nothing above names a system call.

pub mod allocator;
pub mod beneath;
pub mod cgroup;
pub mod device;
pub mod fifo;
pub mod file;
pub mod folder;
pub mod host;
pub mod inherited;
pub mod lock;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod notify;
pub mod ownership;
pub mod pid_namespace;
pub mod process;
pub mod rootfs;
pub mod run_file;
pub mod signal;
pub mod socket;
pub mod this_process;
pub mod traffic;
pub mod usage;
