//! A container's probes and lifecycle hooks.

use serde_json::Value;

use super::{has, list, text};
use crate::api::{Cause, names};

/// What of the pod counts for its containers' probes and hooks.
pub struct Of {
    /// `terminationGracePeriodSeconds`
    pub grace: i64,
    /// It says which system it is for.
    pub has_os: bool,
}

/// A container that runs to its end has neither.
pub fn validate(field: &str, container: &Value, runs_on: bool, of: &Of, causes: &mut Vec<Cause>) {
    let grace = of.grace;
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(value) = container.get(name).filter(|value| !value.is_null()) else { continue };
        let field = format!("{field}.{name}");
        if !runs_on {
            let detail = "may not be set for init containers without restartPolicy=Always";
            causes.push(Cause::forbidden(field, detail));
        } else if name == "lifecycle" {
            for hook in ["postStart", "preStop"] {
                if let Some(hook_value) = value.get(hook).filter(|value| !value.is_null()) {
                    handler(&format!("{field}.{hook}"), hook_value, grace, causes);
                }
            }
            if let Some(signal) = value.get("stopSignal").and_then(Value::as_str) {
                stop_signal(format!("{field}.stopSignal"), signal, of.has_os, causes);
            }
        } else {
            probe(&field, value, name, grace, causes);
        }
    }
}

/// Linux's, as upstream spells them, in its order.
const SIGNALS: &str = "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT \
    SIGKILL SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGRTMAX SIGRTMAX-1 SIGRTMAX-10 SIGRTMAX-11 SIGRTMAX-12 \
    SIGRTMAX-13 SIGRTMAX-14 SIGRTMAX-2 SIGRTMAX-3 SIGRTMAX-4 SIGRTMAX-5 SIGRTMAX-6 SIGRTMAX-7 SIGRTMAX-8 \
    SIGRTMAX-9 SIGRTMIN SIGRTMIN+1 SIGRTMIN+10 SIGRTMIN+11 SIGRTMIN+12 SIGRTMIN+13 SIGRTMIN+14 SIGRTMIN+15 \
    SIGRTMIN+2 SIGRTMIN+3 SIGRTMIN+4 SIGRTMIN+5 SIGRTMIN+6 SIGRTMIN+7 SIGRTMIN+8 SIGRTMIN+9 SIGSEGV SIGSTKFLT \
    SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU \
    SIGXFSZ";

fn stop_signal(field: String, signal: &str, has_os: bool, causes: &mut Vec<Cause>) {
    let supported: Vec<&str> = SIGNALS.split(' ').collect();
    if !has_os {
        causes.push(Cause::forbidden(field, "may not be set for containers with empty `spec.os.name`"));
    } else if !supported.contains(&signal) {
        causes.push(Cause::not_supported(field, signal, &supported));
    }
}

fn probe(field: &str, probe: &Value, name: &str, grace: i64, causes: &mut Vec<Cause>) {
    handler(field, probe, grace, causes);
    let number = |key: &str| probe.get(key).and_then(Value::as_i64);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        if let Some(value) = number(key).filter(|value| *value < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("{field}.{key}"), value, detail));
        }
    }
    if let Some(seconds) = number("terminationGracePeriodSeconds") {
        let field = format!("{field}.terminationGracePeriodSeconds");
        if seconds <= 0 {
            causes.push(Cause::invalid(field.clone(), seconds, "must be greater than 0"));
        }
        if name == "readinessProbe" {
            causes.push(Cause::invalid(field, seconds, "must not be set for readinessProbes"));
        }
    }
    if let Some(count) = number("successThreshold").filter(|count| name != "readinessProbe" && *count != 1) {
        causes.push(Cause::invalid(format!("{field}.successThreshold"), count, "must be 1"));
    }
}

fn handler(field: &str, handler: &Value, grace: i64, causes: &mut Vec<Cause>) {
    let mut seen = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        if !has(handler, kind) {
            continue;
        }
        seen += 1;
        let (field, action) = (format!("{field}.{kind}"), &handler[kind]);
        if seen > 1 {
            causes.push(Cause::forbidden(field, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" if list(action, "command").is_empty() => {
                causes.push(Cause::required(format!("{field}.command"), ""));
            }
            "exec" => {}
            "sleep" => {
                let seconds = action.get("seconds").and_then(Value::as_i64).unwrap_or(0);
                if !(0..=grace).contains(&seconds) {
                    let detail =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    causes.push(Cause::invalid(field, seconds, &detail));
                }
            }
            _ => {
                if kind == "httpGet" {
                    http_get(&field, action, causes);
                }
                port(&format!("{field}.port"), action, causes);
            }
        }
    }
    if seen == 0 {
        causes.push(Cause::required(field, "must specify a handler type"));
    }
}

fn http_get(field: &str, get: &Value, causes: &mut Vec<Cause>) {
    if text(get, "path").is_empty() {
        causes.push(Cause::required(format!("{field}.path"), ""));
    }
    let scheme = text(get, "scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        causes.push(Cause::not_supported(format!("{field}.scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in list(get, "httpHeaders") {
        let name = text(header, "name");
        if let Err(message) = names::is_http_header(name) {
            causes.push(Cause::invalid(format!("{field}.httpHeaders"), name, &message));
        }
    }
}

/// A number, or where that is allowed the name of a port.
fn port(field: &str, action: &Value, causes: &mut Vec<Cause>) {
    let port = action.get("port").unwrap_or(&Value::Null);
    let checked = match port.as_str() {
        Some(name) => names::is_port_name(name),
        None => names::is_port(port.as_i64().unwrap_or(0)),
    };
    if let Err(message) = checked {
        let shown = if port.is_null() { Value::from(0) } else { port.clone() };
        causes.push(Cause::invalid(field, shown, &message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(container: Value, runs_on: bool) -> Vec<String> {
        let mut causes = Vec::new();
        let of = Of { grace: 30, has_os: container["lifecycle"]["preStop"].is_null() };
        validate("c", &container, runs_on, &of, &mut causes);
        causes.iter().map(Cause::to_string).collect()
    }

    #[test]
    fn probes_and_hooks_in_upstreams_words() {
        let header = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
                      regex used for validation is '[-A-Za-z0-9]+')";
        let probe = |probe: Value| json!({"livenessProbe": probe});
        let get = |rest: Value| {
            let mut get = json!({"path": "/", "scheme": "HTTP", "port": 80});
            get.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({"livenessProbe": {"httpGet": get}})
        };
        for (container, expected) in [
            (get(json!({})), vec![]),
            (get(json!({"port": "web"})), vec![]),
            (json!({"lifecycle": {"preStop": {"sleep": {"seconds": 30}}, "postStart": {"exec": {"command": ["a"]}}}}), vec![]),
            (probe(json!({})), vec!["c.livenessProbe: Required value: must specify a handler type".to_owned()]),
            (
                probe(json!({"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}})),
                vec!["c.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type".into()],
            ),
            (probe(json!({"exec": {}})), vec!["c.livenessProbe.exec.command: Required value".into()]),
            (
                probe(json!({"tcpSocket": {"port": 0}})),
                vec!["c.livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive".into()],
            ),
            (
                get(json!({"scheme": "http"})),
                vec!["c.livenessProbe.httpGet.scheme: Unsupported value: \"http\": supported values: \"HTTP\", \"HTTPS\"".into()],
            ),
            (
                get(json!({"httpHeaders": [{"name": "a b", "value": "x"}]})),
                vec![format!("c.livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": {header}")],
            ),
            (
                probe(json!({"grpc": {"port": 1}, "periodSeconds": -1, "successThreshold": 2, "terminationGracePeriodSeconds": 0})),
                vec![
                    "c.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0".into(),
                    "c.livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0".into(),
                    "c.livenessProbe.successThreshold: Invalid value: 2: must be 1".into(),
                ],
            ),
            (
                json!({"readinessProbe": {"grpc": {"port": 1}, "successThreshold": 2, "terminationGracePeriodSeconds": 1}}),
                vec!["c.readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes".into()],
            ),
            (
                json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
                vec!["c.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)".into()],
            ),
            (json!({"lifecycle": {"stopSignal": "SIGRTMIN+15"}}), vec![]),
            (
                json!({"lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}}}),
                vec!["c.lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`".into()],
            ),
        ] {
            assert_eq!(messages(container.clone(), true), expected, "{container}");
        }
        assert_eq!(
            messages(json!({"startupProbe": {"exec": {}}, "lifecycle": null}), false),
            ["c.startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always"]
        );
        let unknown = &messages(json!({"lifecycle": {"stopSignal": "TERM"}}), true)[0];
        let begins = "c.lifecycle.stopSignal: Unsupported value: \"TERM\": supported values: \"SIGABRT\", \"SIGALRM\", ";
        assert!(unknown.starts_with(begins) && unknown.ends_with("\"SIGXCPU\", \"SIGXFSZ\""), "{unknown}");
        assert_eq!(SIGNALS.split(' ').count(), 65);
        assert!(SIGNALS.split(' ').is_sorted());
    }
}
