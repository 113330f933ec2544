//! Arguments of one command: `--flag`, `--option value`, `--option=value`, and
//! words. Each is taken once; what is left over is an error.

use anyhow::{Result, bail};

/// The arguments that nobody has taken yet.
pub struct Args {
    left: Vec<String>,
}

impl Args {
    /// All arguments after the command's name.
    pub fn new(arguments: Vec<String>) -> Self {
        Args { left: arguments }
    }

    /// Whether the arguments only ask what the command does.
    pub fn asks_for_help(arguments: &[String]) -> bool {
        arguments
            .iter()
            .any(|argument| argument == "--help" || argument == "-h")
    }

    /// Takes `--name`, and tells whether it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.left.len();
        self.left.retain(|argument| argument != name);
        self.left.len() != before
    }

    /// Takes `--name value` or `--name=value`.
    pub fn option(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self
            .left
            .iter()
            .position(|argument| is_option(argument, name))
        else {
            return Ok(None);
        };
        let argument = self.left.remove(at);
        if let Some((_, value)) = argument.split_once('=') {
            return Ok(Some(value.to_owned()));
        }
        if at == self.left.len() {
            bail!("{name} needs a value");
        }
        Ok(Some(self.left.remove(at)))
    }

    /// Takes all words. Call it after the flags and options have been taken.
    pub fn words(&mut self) -> Vec<String> {
        let (words, left) = self
            .left
            .drain(..)
            .partition(|argument| !argument.starts_with('-'));
        self.left = left;
        words
    }

    /// Fails if an argument is left that nobody took.
    pub fn finish(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some(argument) => bail!("unexpected argument `{argument}`; see --help"),
        }
    }
}

fn is_option(argument: &str, name: &str) -> bool {
    match argument.strip_prefix(name) {
        Some(rest) => rest.is_empty() || rest.starts_with('='),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_options_and_words_in_any_order() {
        let mut args = args("one --json two --way=left --size 3");
        assert!(args.flag("--json"));
        assert!(!args.flag("--json"));
        assert_eq!(args.option("--way").unwrap().as_deref(), Some("left"));
        assert_eq!(args.option("--size").unwrap().as_deref(), Some("3"));
        assert_eq!(args.option("--depth").unwrap(), None);
        assert_eq!(args.words(), ["one", "two"]);
        args.finish().unwrap();
    }

    #[test]
    fn an_option_is_not_taken_for_a_longer_one() {
        assert_eq!(args("--sizes 3").option("--size").unwrap(), None);
    }

    #[test]
    fn a_missing_value_and_a_left_over_are_errors() {
        assert!(args("--size").option("--size").is_err());
        let mut unknown = args("word --unknown");
        assert_eq!(unknown.words(), ["word"]);
        assert!(unknown.finish().is_err());
    }

    #[test]
    fn help_is_seen_anywhere() {
        assert!(Args::asks_for_help(&["a".into(), "-h".into()]));
        assert!(!Args::asks_for_help(&["help".into()]));
    }
}
