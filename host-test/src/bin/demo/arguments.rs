//! The command line.

use anyhow::{Context, Result, bail, ensure};
use host_test::store::Credential;
use host_test::world::Endpoint;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
usage: cargo xtask demo [OPTION...]

Competing writers append to one log while requests fail, replies get lost and
writers are killed. Then the log is read back and everything is counted. In a second
act, leaders that hold a lease are killed and frozen, and target/demo/timeline.svg
shows who led when. It needs no server, no account and no flags.

  --seconds N   how long the writers go on (10; with --appends: until they are done)
  --appends N   stop after so many appends
  --writers N   how many writers compete, 1 to 32 (4)
  --seed N      what goes wrong, and when (any)
  --json        end with the figures as one line of JSON

On a real bucket nothing is broken on purpose except the writers, and there is no
second act:

  --store URL   for example https://s3.eu-central-1.amazonaws.com. Needs
                AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if it is not us-east-1,
                AWS_REGION; AWS_SESSION_TOKEN is used if it is set
  --bucket NAME the bucket; IFMATCH_BUCKET if it is not given. What the demo writes
                lies under ifmatch-demo/ and is deleted at the end
";

/// Most writers at once.
const WRITERS_MAX: usize = 32;
/// How long the writers go on unless somebody says otherwise.
const SECONDS_DEFAULT: u64 = 10;
/// The longest run.
const SECONDS_MAX: u64 = 3_600;

/// What to do.
pub enum Wish {
    /// Print [`HELP`].
    Help,
    /// Play.
    Run(Box<Arguments>),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// How long the writers go on.
    pub time: Duration,
    /// After how many appends they stop.
    pub appends: u64,
    /// How many there are.
    pub writers: usize,
    /// Seeds what goes wrong.
    pub seed: u64,
    /// Whether the last line is JSON.
    pub json: bool,
    /// A real bucket, in place of the store in this process.
    pub bucket: Option<Endpoint>,
}

/// Reads the command line.
///
/// # Errors
/// If it makes no sense.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Wish> {
    parse_with(words, |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    })
}

fn parse_with(
    words: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Wish> {
    let (mut seconds, mut appends, mut writers, mut seed) = (None, None, 4, None);
    let (mut json, mut store, mut bucket) = (false, None, None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if matches!(name, "--json" | "--help" | "-h") {
            ensure!(inline.is_none(), "{name} takes no value");
            json = true;
            if name != "--json" {
                return Ok(Wish::Help);
            }
            continue;
        }
        let value = inline
            .or_else(|| words.next())
            .with_context(|| format!("{name} needs a value"));
        let number = |value: Result<String>| {
            value?
                .parse::<u64>()
                .with_context(|| format!("{name} needs a number"))
        };
        match name {
            "--seconds" => seconds = Some(number(value)?),
            "--appends" => appends = Some(number(value)?),
            "--writers" => writers = usize::try_from(number(value)?)?,
            "--seed" => seed = Some(number(value)?),
            "--store" => store = Some(value?),
            "--bucket" => bucket = Some(value?),
            _ => bail!("unknown argument {name}"),
        }
    }
    ensure!(
        (1..=WRITERS_MAX).contains(&writers),
        "--writers is 1 to {WRITERS_MAX}"
    );
    ensure!(appends != Some(0), "--appends is at least 1");
    let seconds = match (seconds, appends) {
        (Some(seconds), _) => seconds,
        (None, Some(_)) => SECONDS_MAX,
        (None, None) => SECONDS_DEFAULT,
    };
    ensure!(
        (1..=SECONDS_MAX).contains(&seconds),
        "--seconds is 1 to {SECONDS_MAX}"
    );
    ensure!(
        bucket.is_none() || store.is_some(),
        "--bucket needs --store"
    );
    Ok(Wish::Run(Box::new(Arguments {
        time: Duration::from_secs(seconds),
        appends: appends.unwrap_or(u64::MAX),
        writers,
        seed: seed.unwrap_or_else(|| u64::from(std::process::id())),
        json,
        bucket: store
            .map(|url| endpoint(url, bucket, variable))
            .transpose()?,
    })))
}

fn endpoint(
    url: String,
    bucket: Option<String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Endpoint> {
    let required =
        |name| variable(name).with_context(|| format!("--store needs {name} in the environment"));
    Ok(Endpoint {
        url,
        bucket: bucket
            .or_else(|| variable("IFMATCH_BUCKET"))
            .context("--store needs --bucket or IFMATCH_BUCKET")?,
        region: variable("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
        credential: Credential {
            session_token: variable("AWS_SESSION_TOKEN"),
            ..Credential::lasting(
                &required("AWS_ACCESS_KEY_ID")?,
                &required("AWS_SECRET_ACCESS_KEY")?,
            )
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments> {
        let words = line.split_whitespace().map(str::to_owned);
        match parse_with(words, |name| {
            name.starts_with("AWS_").then(|| name.to_lowercase())
        })? {
            Wish::Run(arguments) => Ok(*arguments),
            Wish::Help => bail!("help"),
        }
    }

    #[test]
    fn flags_are_optional_and_checked() {
        let plain = parsed("").unwrap();
        assert_eq!(
            (plain.time.as_secs(), plain.appends, plain.writers),
            (10, u64::MAX, 4)
        );
        assert!(plain.bucket.is_none() && !plain.json);
        let all = parsed("--seconds 3 --appends=50 --writers 2 --seed 7 --json").unwrap();
        assert_eq!(
            (all.time.as_secs(), all.appends, all.writers, all.seed),
            (3, 50, 2, 7)
        );
        assert!(all.json);
        assert_eq!(parsed("--appends 5").unwrap().time.as_secs(), SECONDS_MAX);
        for wrong in [
            "--seconds",
            "--seconds x",
            "--seconds 0",
            "--writers 0",
            "--writers 33",
            "--appends 0",
            "--loud",
            "word",
            "--json=1",
            "--bucket b",
            "--store http://h",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_real_bucket_takes_its_settings_from_the_environment() {
        let bucket = parsed("--store http://h:1 --bucket b")
            .unwrap()
            .bucket
            .unwrap();
        let settings = bucket.settings();
        for (name, value) in [
            ("AWS_ENDPOINT_URL_S3", "http://h:1"),
            ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
            ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
            ("AWS_SESSION_TOKEN", "aws_session_token"),
            ("AWS_REGION", "aws_region"),
            ("IFMATCH_BUCKET", "b"),
        ] {
            assert_eq!(
                settings.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
    }
}
