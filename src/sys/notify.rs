//! systemd's readiness protocol (sd_notify(3)) and journald detection. All are no-ops elsewhere.

/// The service is ready.
pub fn ready() {
    todo!()
}

/// The service is stopping.
pub fn stopping() {
    todo!()
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    let _ = text;
    todo!()
}

/// Whether standard error goes to the journal (`JOURNAL_STREAM` names it).
pub fn stderr_is_journal() -> bool {
    todo!()
}
