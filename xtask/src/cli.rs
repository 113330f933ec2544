//! The command line: finds the command, and prints help.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::harness;

/// Something that `cargo xtask NAME` does.
pub struct Command {
    /// What a person types.
    pub name: &'static str,
    /// One line for the list of commands.
    pub summary: &'static str,
    /// What carries it out.
    pub action: Action,
}

/// What carries out a command.
pub enum Action {
    /// A module of this crate.
    Here {
        /// The text of `cargo xtask NAME --help`, below the summary.
        help: &'static str,
        /// Tells whether the arguments make sense, without doing anything.
        check: fn(Args) -> Result<()>,
        /// Does it.
        run: fn(Args) -> Result<ExitCode>,
    },
    /// The binary of `host-test` with the command's name. It gets all arguments,
    /// `--help` included.
    Harness,
    /// The same, unless this flag is among the arguments: then a module of this
    /// crate.
    HarnessUnless(&'static str, &'static Action),
}

impl Command {
    /// A command that a binary of `host-test` with the same name carries out.
    pub const fn harness(name: &'static str, summary: &'static str) -> Self {
        Command {
            name,
            summary,
            action: Action::Harness,
        }
    }

    /// Whether the command can be run in this checkout.
    fn exists(&self) -> bool {
        match self.action {
            Action::Here { .. } | Action::HarnessUnless(..) => true,
            Action::Harness => harness::has_binary(self.name),
        }
    }

    /// What carries out the command with these arguments.
    fn action(&self, arguments: &[String]) -> &Action {
        match &self.action {
            Action::HarnessUnless(flag, action) => match arguments.iter().any(|it| it == flag) {
                true => action,
                false => &Action::Harness,
            },
            action => action,
        }
    }

    /// Tells whether this command would accept these arguments.
    fn check(&self, arguments: Vec<String>) -> Result<()> {
        match self.action(&arguments) {
            Action::Here { .. } if Args::asks_for_help(&arguments) => Ok(()),
            Action::Here { check, .. } => check(Args::new(arguments)),
            _ if harness::has_binary(self.name) => Ok(()),
            _ => bail!("{}", harness::no_such_binary(self.name)),
        }
    }

    fn run(&self, arguments: Vec<String>) -> Result<ExitCode> {
        match self.action(&arguments) {
            Action::Here { help, run, .. } => {
                if Args::asks_for_help(&arguments) {
                    print!("{}\n\n{help}", self.summary);
                    return Ok(ExitCode::SUCCESS);
                }
                run(Args::new(arguments))
            }
            _ => harness::run(self.name, arguments),
        }
    }
}

/// Runs what the arguments name.
pub fn run(commands: &[Command], mut arguments: Vec<String>) -> Result<ExitCode> {
    if arguments.is_empty() {
        eprint!("{}", list(commands));
        return Ok(ExitCode::FAILURE);
    }
    let name = arguments.remove(0);
    match name.as_str() {
        "-h" | "--help" => Ok(print_list(commands)),
        "help" => match arguments.first() {
            None => Ok(print_list(commands)),
            Some(topic) => find(commands, topic)?.run(vec!["--help".into()]),
        },
        _ => find(commands, &name)?.run(arguments),
    }
}

/// Tells whether [`run`] would accept these arguments.
pub fn check(commands: &[Command], mut arguments: Vec<String>) -> Result<()> {
    if arguments.is_empty() {
        bail!("no command");
    }
    let name = arguments.remove(0);
    match (name.as_str(), arguments.first()) {
        ("-h" | "--help" | "help", None) => Ok(()),
        ("help", Some(topic)) => find(commands, topic).map(drop),
        _ => find(commands, &name)?.check(arguments),
    }
}

/// The command with this name.
fn find<'a>(commands: &'a [Command], name: &str) -> Result<&'a Command> {
    match commands.iter().find(|command| command.name == name) {
        Some(command) => Ok(command),
        None => bail!("there is no command `{name}`\n\n{}", list(commands)),
    }
}

fn print_list(commands: &[Command]) -> ExitCode {
    print!("{}", list(commands));
    ExitCode::SUCCESS
}

fn list(commands: &[Command]) -> String {
    let mut text = String::from("usage: cargo xtask COMMAND [ARGUMENT...]\n\n");
    let existing = || commands.iter().filter(|command| command.exists());
    let width = existing()
        .map(|command| command.name.len())
        .max()
        .unwrap_or(0);
    for command in existing() {
        text.push_str(&format!("  {:width$}  {}\n", command.name, command.summary));
    }
    text.push_str("\n`cargo xtask help COMMAND` tells more about one of them.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Command = Command {
        name: "here",
        summary: "Does nothing",
        action: Action::Here {
            help: "",
            check: |args| args.finish(),
            run: |_| Ok(ExitCode::SUCCESS),
        },
    };

    #[test]
    fn an_unknown_command_is_an_error_that_names_the_known_ones() {
        let error = run(&[HERE], vec!["her".into()]).unwrap_err().to_string();
        assert!(error.contains("no command `her`"), "{error}");
        assert!(error.contains("here  Does nothing"), "{error}");
    }

    #[test]
    fn a_harness_command_without_its_binary_is_neither_listed_nor_run() {
        let commands = [HERE, Command::harness("no-such-binary", "Must not show")];
        assert!(!list(&commands).contains("no-such-binary"));
        assert!(
            find(&commands, "no-such-binary")
                .unwrap()
                .check(vec![])
                .is_err()
        );
        assert!(run(&commands, vec!["no-such-binary".into()]).is_err());
    }

    #[test]
    fn a_flag_keeps_arguments_from_the_harness() {
        const UNLESS: Command = Command {
            name: "no-such-binary",
            summary: "",
            action: Action::HarnessUnless("--here", &HERE.action),
        };
        assert!(UNLESS.check(vec![]).is_err());
        assert!(UNLESS.check(vec!["--here".into(), "--help".into()]).is_ok());
        assert!(UNLESS.check(vec!["--here".into()]).is_err());
    }

    #[test]
    fn check_refuses_what_the_command_does_not_take() {
        assert!(HERE.check(vec![]).is_ok());
        assert!(HERE.check(vec!["--loud".into()]).is_err());
    }
}
