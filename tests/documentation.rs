//! What the README says of the program, held against the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use midge::api::KINDS;
use std::collections::BTreeSet;

const README: &str = include_str!("../README.md");

#[test]
fn the_table_names_the_kinds_that_there_are() {
    let row = README.lines().find(|line| line.starts_with("| kinds |")).expect("a row of kinds");
    let named: BTreeSet<&str> = row.split('|').nth(2).unwrap().split(',').map(str::trim).collect();
    let served: BTreeSet<&str> = KINDS.iter().map(|kind| kind.kind).collect();
    assert_eq!(named, served);
}

#[test]
fn commands_that_are_named_exist() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_midge")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .collect();
    let named: BTreeSet<&str> = README
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.strip_prefix("midge ")?.split(' ').next())
        .collect();
    assert!(named.contains("server"), "the README is read wrongly: {named:?}");
    for command in named {
        assert!(commands.contains(command), "the README tells of `midge {command}`, which is not there");
    }
}
