//! Floor 0: one small module per Linux interface, so that nothing above names a system call.

pub mod file;
