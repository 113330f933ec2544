//! Calls of the script, in the ways in which hosts take them.

/// A function of `ifmatch:acceptance/script`, with its arguments.
#[derive(Clone, Debug)]
pub enum Call {
    /// All steps.
    Run {
        /// What the names of this run begin with.
        prefix: String,
    },
    /// Appends at once with others.
    Contend {
        /// As above.
        prefix: String,
        /// A name among the contenders.
        who: String,
        /// How many records.
        count: u32,
    },
    /// Counts what the contenders appended.
    Audit {
        /// As above.
        prefix: String,
        /// How many records there must be.
        records: u32,
    },
    /// Times appends.
    Measure {
        /// As above.
        prefix: String,
        /// How many.
        count: u32,
    },
    /// Asks the store one question.
    Probe,
}

enum Word<'a> {
    Text(&'a str),
    Number(u32),
}

impl Call {
    fn parts(&self) -> (&'static str, Vec<Word<'_>>) {
        use Word::{Number, Text};
        match self {
            Call::Run { prefix } => ("run", vec![Text(prefix)]),
            Call::Contend { prefix, who, count } => {
                ("contend", vec![Text(prefix), Text(who), Number(*count)])
            }
            Call::Audit { prefix, records } => ("audit", vec![Text(prefix), Number(*records)]),
            Call::Measure { prefix, count } => ("measure", vec![Text(prefix), Number(*count)]),
            Call::Probe => ("probe", vec![]),
        }
    }

    /// For command lines: the function, then its arguments.
    pub fn words(&self) -> Vec<String> {
        let (function, arguments) = self.parts();
        let arguments = arguments.iter().map(|argument| match argument {
            Word::Text(text) => (*text).to_owned(),
            Word::Number(number) => number.to_string(),
        });
        [function.to_owned()].into_iter().chain(arguments).collect()
    }

    /// The path of `hosts/guests/front`.
    pub fn path(&self) -> String {
        let words = self.words().join("\n").replace('/', ":");
        format!("/{}", words.replace('\n', "/"))
    }

    /// In WAVE, the notation for values of components: `contend("a", "b", 7)`.
    pub fn wave(&self) -> String {
        let (function, arguments) = self.parts();
        let arguments = arguments.iter().map(|argument| match argument {
            Word::Text(text) => format!("\"{text}\""),
            Word::Number(number) => number.to_string(),
        });
        format!("{function}({})", arguments.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_every_notation() {
        let call = Call::Contend {
            prefix: "hosts/x".into(),
            who: "a".into(),
            count: 7,
        };
        assert_eq!(call.words(), ["contend", "hosts/x", "a", "7"]);
        assert_eq!(call.path(), "/contend/hosts:x/a/7");
        assert_eq!(call.wave(), r#"contend("hosts/x", "a", 7)"#);
        assert_eq!(Call::Probe.path(), "/probe");
    }
}
