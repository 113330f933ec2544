//! The command line.

use crate::place::Kind;
use anyhow::{Result, bail};

/// What `--help` prints.
pub const HELP: &str = "\
usage: cargo xtask bench [--quick] [--store LIST] [--docs]

Measures what the protocols cost beside what cannot be avoided (one signed request,
natively and from a minimal component) and beside what others cost, in turns, in one
run. Prints a table, and writes target/bench/results.json and pictures.

  --quick       few repetitions and small logs: less than two minutes
  --store LIST  of process (the store of the harness, as a function), loopback (the
                same over HTTP) and seaweed (a SeaweedFS); all if it is not given
  --docs        write docs/BENCHMARKS.md and its pictures, as a run without --quick on
                all stores does

Measure on a machine that does nothing else.
";

/// What was asked for.
pub struct Arguments {
    /// Few repetitions.
    pub quick: bool,
    /// On which stores.
    pub stores: Vec<Kind>,
    /// Whether the documentation is written.
    pub docs: bool,
}

impl Arguments {
    /// Reads the command line; nothing if help is asked for.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut quick, mut docs, mut stores) = (false, false, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => quick = true,
                "--docs" => docs = true,
                "--store" => stores = Some(parse_stores(&words.next().unwrap_or_default())?),
                _ => match word.strip_prefix("--store=") {
                    Some(list) => stores = Some(parse_stores(list)?),
                    None => bail!("unexpected argument `{word}`; see --help"),
                },
            }
        }
        Ok(Some(Self {
            quick,
            docs: docs || (!quick && stores.is_none()),
            stores: stores.unwrap_or(Kind::ALL.to_vec()),
        }))
    }
}

fn parse_stores(list: &str) -> Result<Vec<Kind>> {
    let mut stores = Vec::new();
    for name in list.split(',') {
        match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => stores.push(kind),
            None => bail!("there is no store `{name}`, only process, loopback and seaweed"),
        }
    }
    Ok(stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn only_whole_runs_on_all_stores_write_documentation() {
        assert!(parse("").unwrap().unwrap().docs);
        assert!(!parse("--quick").unwrap().unwrap().docs);
        assert!(!parse("--store loopback").unwrap().unwrap().docs);
        assert!(parse("--quick --docs").unwrap().unwrap().docs);
    }

    #[test]
    fn stores_are_named() {
        let stores = |line| parse(line).map(|parsed| parsed.unwrap().stores);
        assert_eq!(
            stores("--store=seaweed,process").unwrap(),
            [Kind::Seaweed, Kind::Process]
        );
        assert!(stores("--store aws").is_err() && stores("--store").is_err());
        assert!(parse("--fast").is_err());
    }
}
