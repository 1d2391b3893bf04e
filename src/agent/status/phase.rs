//! The pod's phase, as the kubelet decides it (`getPhase`).

use super::{Inputs, Shown};
use crate::plan::pod::Role;

pub(super) fn phase(inputs: &Inputs<'_>, shown: &[Shown<'_>]) -> &'static str {
    let phase = if inputs.record.failure.is_some() { "Failed" } else { by_containers(inputs, shown) };
    let still_runs = || shown.iter().any(Shown::runs);
    match phase {
        // Whoever sees it may take the pod's place and its volumes.
        "Succeeded" | "Failed" if still_runs() && inputs.is_initialized => "Running",
        "Succeeded" | "Failed" if still_runs() => "Pending",
        phase => phase,
    }
}

fn by_containers(inputs: &Inputs<'_>, shown: &[Shown<'_>]) -> &'static str {
    let (mut waiting, mut running, mut failed, mut restarts) = (false, false, false, false);
    for one in shown {
        let now = one.exit_code("/state/terminated");
        // One that waits to be started again is as it was when it ended.
        let ended = now.or_else(|| one.exit_code("/lastState/terminated"));
        let is_waiting = ended.is_none() && !one.runs();
        let restarts_after = |code: u64| u32::try_from(code).is_ok_and(|code| one.wanted.restarts(code));
        match one.wanted.role {
            Role::Init if !inputs.is_initialized => {
                if now.is_some_and(|code| code != 0 && !restarts_after(code)) {
                    return "Failed";
                }
                waiting |= one.runs() || ended.is_none();
            }
            Role::Sidecar => {
                running |= one.runs();
                waiting |= !inputs.is_initialized && (is_waiting || one.runs() && !one.has_started());
            }
            Role::Main => {
                running |= one.runs();
                waiting |= is_waiting;
                failed |= ended.is_some_and(|code| code != 0);
                restarts |= !one.runs() && ended.is_some_and(restarts_after);
            }
            Role::Init | Role::Ephemeral => {}
        }
    }
    match () {
        () if waiting => "Pending",
        () if running => "Running",
        // What a pod that ends has left does not start again, whatever its policy.
        () if restarts && !inputs.record.is_ending() => "Running",
        () if failed => "Failed",
        () => "Succeeded",
    }
}
