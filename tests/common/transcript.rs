//! Transcripts: what is typed, and what is read then.
//!
//! A line `$ …` is given to a shell, and what follows is its output and errors; `exit N` ends those that fail,
//! `file NAME` writes the indented lines after it, `// ` begins a remark. `…` stands for anything, alone on a line for
//! any lines. Blanks within a line count as one.

use std::path::Path;

/// A line of a shell with what it prints.
pub struct Step {
    number: usize,
    /// For a shell with both `kubectl` and Helm in its path, and its errors in its output.
    pub line: String,
    /// What must be there before, by name.
    pub files: Vec<(String, String)>,
    expected: Vec<String>,
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn steps(text: &str) -> Vec<Step> {
    let (mut steps, mut files): (Vec<Step>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let mut in_file = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("file ") {
            files.push((name.to_owned(), String::new()));
            in_file = true;
        } else if let Some(line) = line.strip_prefix("$ ") {
            let (line, files) = (line.to_owned(), std::mem::take(&mut files));
            steps.push(Step { number: number + 1, line, files, expected: Vec::new() });
            in_file = false;
        } else if in_file && (line.is_empty() || line.starts_with("  ")) {
            let (_, text) = files.last_mut().unwrap();
            *text += line.strip_prefix("  ").unwrap_or_default();
            *text += "\n";
        } else if !line.is_empty() && !line.starts_with("// ") {
            steps.last_mut().expect("a command comes first").expected.push(words(line));
        }
    }
    steps
}

/// Whether a line is as expected, with `…` for anything.
fn is_line(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.into_iter().any(|at| is_line(rest, &line[at..]))
        }),
    }
}

fn is_text(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => (0..=lines.len()).any(|at| is_text(rest, &lines[at..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| is_line(first, line) && is_text(rest, lines))
        }
    }
}

/// Plays a transcript from its start to its end by `run`, which says how a line ended and what it printed, and then
/// shows all that differs.
pub fn play(name: &str, mut run: impl FnMut(&Step) -> (i32, String)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let mut different = String::new();
    for step in steps(&text) {
        let (code, text) = run(&step);
        // What midge adds as long as it is so.
        let told = |line: &&str| {
            !line.is_empty()
                && !line.contains("has no controller that acts on them yet")
                && !line.contains("nothing routes to their addresses yet")
        };
        let mut lines: Vec<String> = text.lines().filter(told).map(words).collect();
        if code != 0 {
            lines.push(format!("exit {code}"));
        }
        if !is_text(&step.expected, &lines) {
            different += &format!(
                "{name}:{}: $ {}\nexpected:\n  {}\nwas:\n  {}\n\n",
                step.number,
                step.line,
                step.expected.join("\n  "),
                lines.join("\n  ")
            );
        }
    }
    assert!(different.is_empty(), "\n{different}");
}

/// The script for a step's line.
pub fn script(step: &Step) -> String {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let kubectl = std::env::var("KUBECTL").unwrap_or_else(|_| String::from("kubectl"));
    format!(
        "exec 2>&1; PATH=$PATH:{}; kubectl() {{ command {kubectl} \"$@\"; }}; {}",
        tools.display(),
        step.line
    )
}
