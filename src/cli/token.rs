//! `midge token`: asks the server, as the admin of the kubeconfig.

use super::args::{TokenArgs, TokenCommand};
use super::error::Error;
use super::kubeconfig::{self, Admin};
use super::{block_on, log};
use crate::api::time;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Where the server has them; see `server::token_api`.
const PATH: &str = "/v1-midge/tokens";

pub fn run(args: TokenArgs) -> Result<(), Error> {
    log::start(false);
    match args.command {
        TokenCommand::Create(args) => {
            let seconds = duration(&args.ttl)?.as_secs();
            let mut body = json!({ "ttlSeconds": seconds });
            if let Some(uses) = args.uses {
                body["uses"] = uses.into();
            }
            if let Some(description) = args.description {
                body["description"] = description.into();
            }
            let made = ask(args.kubeconfig, "POST", PATH, Some(body))?;
            super::print(text(&made, "token"));
        }
        TokenCommand::List(args) => list(&ask(args.kubeconfig, "GET", PATH, None)?),
        TokenCommand::Delete(args) => {
            if args.ids.is_empty() {
                return Err(Error::Usage(
                    "name the tokens to delete by their ids: see `midge token list`".to_string(),
                ));
            }
            for id in &args.ids {
                ask(args.kubeconfig.clone(), "DELETE", &format!("{PATH}/{id}"), None)?;
                super::print(&format!("token {id} deleted"));
            }
        }
        TokenCommand::Rotate(args) => {
            let made = ask(args.kubeconfig, "POST", &format!("{PATH}/rotate"), None)?;
            super::print(text(&made, "token"));
        }
    }
    Ok(())
}

fn ask(kubeconfig: Option<String>, method: &str, path: &str, body: Option<Value>) -> Result<Value, Error> {
    let admin: Admin = kubeconfig::read(kubeconfig)?;
    block_on(async |executor| admin.ask(method, path, body, &executor).await)
}

/// One line a token: ID, EXPIRES, USES LEFT, DESCRIPTION.
fn list(answer: &Value) {
    super::print(&format!("{:<8} {:<21} {:<10} DESCRIPTION", "ID", "EXPIRES", "USES-LEFT"));
    for token in answer["tokens"].as_array().into_iter().flatten() {
        let uses = token["usesLeft"].as_u64().map_or("any".to_string(), |uses| uses.to_string());
        let expires = match text(token, "expires") {
            "" => "never",
            moment if time::parse(moment).is_some_and(|moment| moment < SystemTime::now()) => "expired",
            moment => moment,
        };
        super::print(&format!(
            "{:<8} {expires:<21} {uses:<10} {}",
            text(token, "id"),
            text(token, "description")
        ));
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// `90s`, `30m`, `24h`, `7d`, or `0` for no end.
fn duration(text: &str) -> Result<Duration, Error> {
    let bad = || Error::BadValue {
        flag: "ttl",
        value: text.to_string(),
        expected: "a time such as 30m, 24h or 7d",
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86400));
        assert_eq!(duration("0").unwrap(), Duration::ZERO);
        for bad in ["", "h", "-1h", "5", "1w", "99999999999999999999d", "18446744073709551615d", "0h", "5µ"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
