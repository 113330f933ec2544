//! The command line.

use crate::place::Kind;
use crate::works::Subject;
use anyhow::{Result, bail};

/// What `--help` prints.
pub const HELP: &str = "\
usage: cargo xtask bench [--quick] [--store LIST] [--only LIST] [--docs]

Measures what the protocols cost beside what cannot be avoided (one signed request,
natively and from a minimal component) and beside what others cost, in turns, in one
run. Prints a table, and writes target/bench/results.json and pictures.

  --quick       few repetitions and small logs: about three minutes
  --store LIST  of process (the store of the harness, as a function), loopback (the
                same over HTTP) and seaweed (a SeaweedFS); all if it is not given
  --only LIST   of appends, leases, manifests, writers (that compete), reads and starts;
                all if it is not given
  --docs        write docs/BENCHMARKS.md and its pictures, as a run of everything
                without --quick does

Measure on a machine that does nothing else.
";

/// What was asked for.
pub struct Arguments {
    /// Few repetitions.
    pub quick: bool,
    /// On which stores.
    pub stores: Vec<Kind>,
    /// What is measured.
    pub subjects: Vec<Subject>,
    /// Whether the documentation is written.
    pub docs: bool,
}

impl Arguments {
    /// Reads the command line; nothing if help is asked for.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut quick, mut docs, mut stores, mut subjects) = (false, false, None, None);
        while let Some(word) = words.next() {
            let (name, given) = match word.split_once('=') {
                Some((name, given)) => (name, Some(given.to_owned())),
                None => (word.as_str(), None),
            };
            let mut list = || given.clone().or_else(|| words.next()).unwrap_or_default();
            match name {
                "--store" => stores = Some(parse_list(&list(), &Kind::ALL, Kind::name)?),
                "--only" => subjects = Some(parse_list(&list(), &Subject::ALL, Subject::name)?),
                "--help" | "-h" if given.is_none() => return Ok(None),
                "--quick" if given.is_none() => quick = true,
                "--docs" if given.is_none() => docs = true,
                _ => bail!("unexpected argument `{word}`; see --help"),
            }
        }
        Ok(Some(Self {
            quick,
            docs: docs || (!quick && stores.is_none() && subjects.is_none()),
            stores: stores.unwrap_or(Kind::ALL.to_vec()),
            subjects: subjects.unwrap_or(Subject::ALL.to_vec()),
        }))
    }
}

/// What a list of names stands for, in the order of all.
fn parse_list<T: Copy>(list: &str, all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>> {
    let names: Vec<&str> = list.split(',').collect();
    if let Some(unknown) = names
        .iter()
        .find(|it| all.iter().all(|one| name(*one) != **it))
    {
        let known: Vec<_> = all.iter().map(|one| name(*one)).collect();
        bail!("there is no `{unknown}`, only {}", known.join(", "));
    }
    let named = |one: &&T| names.contains(&name(**one));
    Ok(all.iter().filter(named).copied().collect())
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
            [Kind::Process, Kind::Seaweed]
        );
        assert!(stores("--store aws").is_err() && stores("--store").is_err());
        assert!(parse("--fast").is_err());
    }

    #[test]
    fn a_part_writes_no_documentation() {
        let part = parse("--only reads,writers").unwrap().unwrap();
        assert_eq!(part.subjects, [Subject::Writers, Subject::Reads]);
        assert!(!part.docs && parse("--only all").is_err());
    }
}
