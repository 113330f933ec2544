//! Commands and links in the Markdown files of the repository.
//!
//! A command that a reader can copy must exist and take its arguments, and one in
//! README.md must be part of `cargo xtask test`; a relative link must lead somewhere;
//! WIT must be that of `wit/`; and docs/SCENARIOS.md names the tests of scenarios, all
//! that there are and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{COMMANDS, api, cli, test, workspace};

/// Folders without documents of ours.
const SKIPPED: &[&str] = &["target", "node_modules", "deps"];

/// Programs that documents may use besides those in this repository. A new one is
/// added here on purpose, and not by a slip of the pen.
const PROGRAMS: &[&str] = &[
    "apt-get", "cargo", "cd", "cp", "curl", "docker", "export", "git", "jco", "mkdir", "node",
    "npm", "npx", "pip", "python3", "rustup", "spin", "wac", "wash", "wasmtime", "weed", "wkg",
    "wrangler",
];

/// The list of scenarios, which names the test of each.
const SCENARIOS: &str = "docs/SCENARIOS.md";
/// Where those tests are.
const TESTS: &[&str] = &["tests", "host-test/tests", "src/components/bucket-s3/tests"];
/// How the name of a test begins that must be named there.
const SCENARIO: &str = "scenario_";

/// How much was found in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Lines that a reader can copy into a shell.
    pub commands: usize,
    /// Relative links.
    pub links: usize,
}

/// Checks all documents. There must be a README with at least one command.
pub fn check() -> Result<Known> {
    let root = workspace::root();
    let documents = find(&root, "md")?;
    let interfaces = lines_of(&find(&root.join("wit"), "wit")?)?;
    let mut known = Known::default();
    let mut faults = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document)
            .with_context(|| format!("cannot read {}", document.display()))?;
        let name = document
            .strip_prefix(&root)
            .unwrap_or(&document)
            .display()
            .to_string();
        let commands = commands(&text);
        if name == "README.md" && commands.is_empty() {
            faults.push("README.md shows no command".to_owned());
        }
        for (line, command) in commands {
            known.commands += 1;
            let mut outcome = check_command(&command, &root);
            if outcome.is_ok() && name == "README.md" {
                outcome = check_included(&command);
            }
            if let Err(error) = outcome {
                faults.push(format!("{name}:{line}: `{command}`: {error:#}"));
            }
        }
        for (line, wit) in blocks(&text, &["wit"]) {
            if !wit.is_empty() && !interfaces.contains(wit) {
                faults.push(format!("{name}:{line}: `{wit}` is no line of wit/"));
            }
        }
        if name == SCENARIOS {
            faults.extend(check_scenarios(&text, &root)?);
        }
        for (line, link) in links(&text) {
            known.links += 1;
            let start = if link.starts_with('/') {
                &root
            } else {
                document.parent().unwrap_or(&root)
            };
            if !start.join(link.trim_start_matches('/')).exists() {
                faults.push(format!("{name}:{line}: {link} does not exist"));
            }
        }
    }
    for page in api::out_of_date(&root)? {
        faults.push(format!(
            "{page} is not what the WIT says: run `cargo xtask api`"
        ));
    }
    if !root.join("README.md").is_file() {
        faults.push("there is no README.md".to_owned());
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(known)
}

/// All files of ours below a folder whose names end so.
fn find(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name) {
                found.extend(find(&entry.path(), extension)?);
            }
        } else if entry.path().extension().is_some_and(|e| e == extension) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Every line of some files, without the white space around it.
fn lines_of(files: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for file in files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        lines.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    Ok(lines)
}

/// What is wrong with the names of tests in the list of scenarios.
fn check_scenarios(text: &str, root: &Path) -> Result<Vec<String>> {
    let mut tests = BTreeSet::new();
    for folder in TESTS {
        for line in lines_of(&find(&root.join(folder), "rs")?)? {
            let line = line.strip_prefix("async ").unwrap_or(&line);
            if let Some((name, _)) = line.strip_prefix("fn ").and_then(|l| l.split_once('(')) {
                tests.insert(name.to_owned());
            }
        }
    }
    let named = names(text);
    let missing = tests.difference(&named);
    let unknown = named.difference(&tests);
    Ok(missing
        .filter(|test| test.starts_with(SCENARIO))
        .map(|test| format!("{SCENARIOS} does not name {test}"))
        .chain(unknown.map(|test| format!("{SCENARIOS}: there is no test {test}")))
        .collect())
}

/// The words of a text that can only be names: those with an underscore.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.contains('_'))
        .map(str::to_owned)
        .collect()
}

/// The lines of code blocks in some languages, with their numbers, trimmed.
fn blocks<'a>(text: &'a str, languages: &[&str]) -> Vec<(usize, &'a str)> {
    let mut lines = Vec::new();
    let mut block: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            block = match block {
                Some(_) => None,
                None => Some(language.trim()),
            };
        } else if block.is_some_and(|language| languages.contains(&language)) {
            lines.push((number, line));
        }
    }
    lines
}

/// The commands of all shell blocks, with the numbers of their lines. In a
/// `console` block, which shows output too, only lines that start with `$ `.
fn commands(text: &str) -> Vec<(usize, String)> {
    let mut commands: Vec<(usize, String)> = Vec::new();
    let mut block: Option<&str> = None;
    let mut continued = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            block = if block.is_some() {
                None
            } else {
                Some(language.trim())
            };
            continued = false;
            continue;
        }
        let line = match block {
            Some("sh" | "bash" | "shell") => line,
            Some("console") if continued => line,
            Some("console") => match line.strip_prefix("$ ") {
                Some(line) => line,
                None => continue,
            },
            _ => continue,
        };
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        match commands.last_mut() {
            Some((_, command)) if continued => {
                command.push(' ');
                command.push_str(part);
            }
            _ if part.is_empty() || part.starts_with('#') => continue,
            _ => commands.push((number, part.to_owned())),
        }
        continued = goes_on;
    }
    commands
}

fn check_command(command: &str, root: &Path) -> Result<()> {
    let command = command.split(" # ").next().unwrap_or(command);
    for part in command.split(" && ").flat_map(|part| part.split(" | ")) {
        let mut words = part.split_whitespace().skip_while(|word| {
            word.split_once('=')
                .is_some_and(|(name, _)| is_variable(name))
        });
        let Some(program) = words.next() else {
            continue;
        };
        let rest: Vec<_> = words.map(str::to_owned).collect();
        if program == "cargo" && rest.first().is_some_and(|word| word == "xtask") {
            cli::check(COMMANDS, rest.into_iter().skip(1).collect())?;
        } else if program.contains('/') {
            if !program.starts_with('/') && !root.join(program).is_file() {
                bail!("there is no file {program}");
            }
        } else if !PROGRAMS.contains(&program) {
            bail!("`{program}` is not among the programs that documents may use");
        }
    }
    Ok(())
}

/// The commands that people try first are all run by `cargo xtask test`.
fn check_included(command: &str) -> Result<()> {
    let command = command.split(" # ").next().unwrap_or(command);
    match command.split_whitespace().collect::<Vec<_>>()[..] {
        ["cargo", "xtask", name, ..] if test::includes(name) => Ok(()),
        _ => bail!("README.md shows only commands that `cargo xtask test` runs"),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The relative links outside code blocks, without their anchors.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or(rest);
            let path = target.split('#').next().unwrap_or(target);
            if !path.is_empty() && !path.contains(':') {
                links.push((number, path.to_owned()));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
# Title
```sh
cargo xtask build
# a comment
A=1 cargo xtask test \\
  format
```
```console
$ cargo xtask help
usage: no command
```
```rust
cargo xtask nothing
```
See [this](docs/A.md#part), [that](https://example.com/x) and [here](#title).
";

    #[test]
    fn commands_are_found_in_shell_blocks_only() {
        let commands = commands(TEXT);
        let expected = [
            (4, "cargo xtask build"),
            (6, "A=1 cargo xtask test format"),
            (10, "cargo xtask help"),
        ];
        assert_eq!(
            commands,
            expected.map(|(line, command)| (line, command.to_owned()))
        );
    }

    #[test]
    fn blocks_have_a_language() {
        assert_eq!(blocks(TEXT, &["rust"]), [(14, "cargo xtask nothing")]);
        assert_eq!(blocks(TEXT, &["wit"]), []);
    }

    #[test]
    fn tests_of_scenarios_are_named_and_exist() {
        assert_eq!(
            names("| 1 | a test | `scenario_01_a`, `b_c`"),
            BTreeSet::from(["scenario_01_a".to_owned(), "b_c".to_owned()])
        );
        let faults = check_scenarios("scenario_00_no_such_test", &workspace::root()).unwrap();
        assert!(
            faults
                .iter()
                .any(|fault| fault.contains("no test scenario_00"))
        );
        assert!(faults.len() > 1, "every test of a scenario is missing");
    }

    #[test]
    fn readme_shows_what_is_tested() {
        check_included("cargo xtask demo --seconds 5 # or longer").unwrap();
        check_included("cargo xtask test").unwrap();
        assert!(check_included("cargo xtask help").is_err());
        assert!(check_included("git clone x").is_err());
    }

    #[test]
    fn only_relative_links_are_followed() {
        assert_eq!(links(TEXT), [(16, "docs/A.md".to_owned())]);
    }

    #[test]
    fn a_command_must_exist_and_take_its_arguments() {
        let root = workspace::root();
        let check = |command| check_command(command, &root);
        check("cargo xtask build bucket-s3 --json").unwrap();
        check("cargo xtask help test").unwrap();
        check("A=1 B_2=x cargo xtask build  # comment").unwrap();
        check("git clone https://example.com/x && cd x").unwrap();
        check("xtask/Cargo.toml").unwrap();
        assert!(check("cargo xtask builds").is_err());
        assert!(check("cargo xtask build buckets").is_err());
        assert!(check("cargo xtask help builds").is_err());
        assert!(check("git pull && carg build").is_err());
        assert!(check("./no/such/file").is_err());
    }
}
