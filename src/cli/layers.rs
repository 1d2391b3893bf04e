//! One list of arguments out of three layers: the command line, over `MIDGE_*` variables, over the
//! configuration file. argh's own description of a command says which flags there are, so a flag that
//! is added there has its variable and its key at once.

use super::config_file::{self, ConfigFile};
use super::error::Error;
use argh::{CommandInfoWithArgs, FlagInfoKind, Optionality};
use std::path::Path;

/// Variables beside `MIDGE_<FLAG>`: k3s's, and the short one for the server's address.
const ALIASES: &[(&str, &[&str])] = &[
    ("server", &["MIDGE_URL", "K3S_URL"]),
    ("token", &["K3S_TOKEN"]),
    ("token-file", &["K3S_TOKEN_FILE"]),
    ("node-name", &["K3S_NODE_NAME"]),
    ("data-dir", &["K3S_DATA_DIR"]),
];

/// Splits `--flag=value`, which argh does not take, into `--flag value`, up to a `--`.
pub fn split_equals(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut split = Vec::new();
    let mut verbatim = false;
    for argument in arguments {
        verbatim |= argument == "--";
        match argument.split_once('=') {
            Some((flag, value)) if !verbatim && flag.starts_with("--") => {
                split.push(flag.to_string());
                split.push(value.to_string());
            }
            _ => split.push(argument),
        }
    }
    split
}

/// Adds to `given`, the arguments that follow the command's name, what `variable` and `file` say about
/// flags that are not among them. `keys` are those that a file may hold, of this command or of another.
///
/// # Errors
/// A key in the file that is none of `keys`, or a switch that is neither true nor false.
pub fn merge(
    command: &CommandInfoWithArgs,
    given: Vec<String>,
    variable: impl Fn(&str) -> Option<String>,
    file: &ConfigFile,
    keys: &[String],
) -> Result<Vec<String>, Error> {
    let mut merged = Vec::new();
    for key in file.keys() {
        if !keys.iter().any(|known| known == key) {
            return Err(Error::UnknownKey { file: file.path().to_path_buf(), key: key.to_string() });
        }
    }
    for flag in command.flags {
        let name = flag.long.trim_start_matches("--");
        let long = format!("--{name}");
        let is_given = given.iter().any(|argument| {
            *argument == long
                || flag
                    .short
                    .is_some_and(|short| argument.strip_prefix('-') == Some(short.to_string().as_str()))
        });
        if is_given || name == "config" || name == "help" {
            continue;
        }
        let repeats = matches!(flag.optionality, Optionality::Repeating);
        let values = match from_variables(name, &variable) {
            Some((_, value)) if repeats => value.split(',').map(|part| part.trim().to_string()).collect(),
            Some((_, value)) => vec![value],
            None => file.values(name).to_vec(),
        };
        if matches!(flag.kind, FlagInfoKind::Switch) {
            if let Some(value) = values.first() {
                match value.as_str() {
                    "true" | "1" => merged.push(long),
                    "false" | "0" | "" => {}
                    _ => return Err(Error::NotASwitch { flag: name.to_string(), value: value.clone() }),
                }
            }
            continue;
        }
        if values.len() > 1 && !repeats {
            return Err(Error::SeveralValues { flag: name.to_string() });
        }
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            merged.push(long.clone());
            merged.push(value);
        }
    }
    merged.extend(last_of_each(command, given));
    Ok(merged)
}

/// Leaves out what a later argument overrides: of an option that takes one value the last one counts.
fn last_of_each(command: &CommandInfoWithArgs, given: Vec<String>) -> Vec<String> {
    let takes_one = |argument: &String| {
        command.flags.iter().any(|flag| {
            flag.long == *argument
                && matches!(flag.kind, FlagInfoKind::Option { .. })
                && !matches!(flag.optionality, Optionality::Repeating)
        })
    };
    let mut kept = Vec::new();
    let mut rest = given.into_iter().peekable();
    while let Some(argument) = rest.next() {
        if !takes_one(&argument) {
            kept.push(argument);
            continue;
        }
        let value = rest.next();
        if let Some(at) = kept.iter().position(|earlier| *earlier == argument) {
            kept.drain(at..(at + 2).min(kept.len()));
        }
        kept.push(argument);
        kept.extend(value);
    }
    kept
}

/// The configuration file that `given` names, or `MIDGE_CONFIG_FILE`, or the default one, which may be
/// missing.
pub fn config_file(given: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<ConfigFile, Error> {
    let flag = given.iter().position(|argument| argument == "--config" || argument == "-c");
    let named = flag
        .and_then(|at| given.get(at + 1).cloned())
        .or_else(|| variable("MIDGE_CONFIG"))
        .or_else(|| variable("MIDGE_CONFIG_FILE"));
    match named {
        Some(path) => config_file::read(Path::new(&path), true),
        None => config_file::read(Path::new(super::DEFAULT_CONFIG), false),
    }
}

/// The first variable that is set for the flag `name`: `MIDGE_NODE_NAME` for `node-name`, then aliases.
fn from_variables(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let own = format!("MIDGE_{}", name.to_uppercase().replace('-', "_"));
    let aliases = ALIASES.iter().find(|(flag, _)| *flag == name).map_or(&[][..], |(_, names)| names);
    std::iter::once(own)
        .chain(aliases.iter().map(|alias| alias.to_string()))
        .find_map(|name| variable(&name).map(|value| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::super::args::{AgentArgs, ServerArgs};
    use super::*;
    use argh::ArgsInfo;

    fn merged(given: &[&str], variables: &[(&str, &str)], yaml: &str) -> Result<Vec<String>, String> {
        let file = config_file::parse(Path::new("config.yaml"), yaml).map_err(|error| error.to_string())?;
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let given = given.iter().map(|argument| argument.to_string()).collect();
        merge(&AgentArgs::get_args_info(), given, variable, &file, &super::super::node_keys())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_wins_over_variables_over_the_file() {
        let yaml = "node-name: from-file\nsnapshotter: native\nnode-label: [a=1, b=2]\ndebug: true\n";
        let variables = [("MIDGE_NODE_NAME", "from-variable"), ("K3S_URL", "https://a:1,https://b:2")];
        let merged = merged(&["--node-name", "from-flag"], &variables, yaml).unwrap();
        let expected = "--server https://a:1 --server https://b:2 --node-label a=1 --node-label b=2 \
                        --snapshotter native --debug --node-name from-flag";
        let mut sorted: Vec<&str> = merged.iter().map(String::as_str).collect();
        let mut wanted: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(&merged[merged.len() - 2..], ["--node-name", "from-flag"]);
        sorted.sort();
        wanted.sort();
        assert_eq!(sorted, wanted);
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = merged(&[], &[], "node-nam: x\n").unwrap_err();
        assert!(unknown.contains("config.yaml") && unknown.contains("node-nam"), "{unknown}");
        let switch = merged(&[], &[("MIDGE_DEBUG", "yes please")], "").unwrap_err();
        assert!(switch.contains("debug") && switch.contains("yes please"), "{switch}");
        assert!(merged(&[], &[], "tls-san: other-command\n").is_ok());
        assert!(merged(&[], &[], "snapshotter: [a, b]\n").unwrap_err().contains("snapshotter"));
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let merged =
            merged(&["--node-name", "a", "--server", "x", "--server", "y", "--node-name", "b"], &[], "");
        assert_eq!(merged.unwrap(), ["--server", "x", "--server", "y", "--node-name", "b"]);
    }

    #[test]
    fn equals_signs_split_flags_only() {
        let split = split_equals(["--node-label=a=1", "x=y", "--", "--z=1"].map(String::from));
        assert_eq!(split, ["--node-label", "a=1", "x=y", "--", "--z=1"]);
    }

    #[test]
    fn aliases_name_flags_that_exist() {
        let (agent, server) = (AgentArgs::get_args_info(), ServerArgs::get_args_info());
        for (name, _) in ALIASES {
            let long = format!("--{name}");
            assert!(agent.flags.iter().chain(server.flags).any(|flag| flag.long == long), "{name}");
        }
    }
}
