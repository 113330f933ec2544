//! Everything that is done on one host, and what came of it.

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::call::Call;
use super::install::Installed;
use super::session::Session;
use super::store::Store;
use super::{Contest, Host, Situation, home};
use crate::report::Report;
use crate::workspace;

/// The setting that is left out to see what a user is told.
const MISSING: &str = "IFMATCH_BUCKET";

/// How one feature fared.
pub struct Feature {
    /// Its name.
    pub name: String,
    /// What was seen, or what went wrong.
    pub outcome: Result<String, String>,
    /// How long it took.
    pub us: Option<u64>,
}

/// The times of some calls, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Half of them took no longer.
    pub median_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The sum of all.
    pub total_us: u64,
}

/// What a host costs.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// How many calls of each kind were timed.
    pub calls: u32,
    /// Warm appends.
    pub append: Times,
    /// Conditional writes without the protocols.
    pub put: Times,
}

/// One host in the table.
pub struct Row {
    /// The host.
    pub host: &'static Host,
    /// Its version, if it is here.
    pub version: Option<String>,
    /// The size of the shipped artifact, as it is and with gzip.
    pub bytes: (usize, usize),
    /// Every feature.
    pub features: Vec<Feature>,
    /// The times.
    pub speed: Option<Speed>,
}

impl Row {
    /// How many features were in order.
    pub fn passed(&self) -> u32 {
        let passed = self
            .features
            .iter()
            .filter(|feature| feature.outcome.is_ok());
        u32::try_from(passed.count()).unwrap_or(u32::MAX)
    }

    /// What was not.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.features.iter().filter_map(|feature| {
            let why = feature.outcome.as_ref().err()?;
            Some(format!("{}: {why}", feature.name))
        });
        faults.collect()
    }

    fn add(&mut self, name: &str, outcome: Result<String>) {
        self.features.push(Feature {
            name: name.to_owned(),
            outcome: outcome.map_err(|error| format!("{error:#}")),
            us: None,
        });
    }
}

/// Does everything on one host. Whatever goes wrong is in the row.
pub fn run(host: &'static Host, store: &Store, shipped: &Report, appends: u32) -> Row {
    let mut row = Row {
        host,
        version: None,
        bytes: (shipped.bytes, shipped.gzip_bytes),
        features: Vec::new(),
        speed: None,
    };
    match (host.install)() {
        Err(error) => row.add("installed", Err(error)),
        Ok(installed) => {
            row.version = Some(installed.version.clone());
            if let Err(error) = script(&mut row, &installed, store, appends) {
                row.add("started", Err(error));
            }
            if !host.settings.is_empty() {
                row.add("settings", missing_setting(host, &installed, store));
            }
            if let Some(words) = host.refusal {
                row.add("refusal", refusal(host, &installed, store, words));
            }
        }
    }
    row
}

fn open(
    host: &Host,
    installed: &Installed,
    settings: Vec<(String, String)>,
    network: bool,
) -> Result<Box<dyn Session>> {
    let folder = home().join("sessions").join(host.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let situation = Situation {
        component: workspace::components()
            .join(host.artifact)
            .with_extension("wasm"),
        settings,
        network,
        folder,
    };
    (host.open)(installed, &situation)
}

/// The steps of the script, the contest, and the times.
fn script(row: &mut Row, installed: &Installed, store: &Store, appends: u32) -> Result<()> {
    let host = row.host;
    let prefix = format!("hosts/{}", host.name);
    let session = open(host, installed, store.settings(), true)?;
    let steps = session.call(&Call::Run {
        prefix: prefix.clone(),
    })?;
    row.features.extend(read_steps(&steps)?);
    row.add("contest", contest(session.as_ref(), &prefix, host.contest));
    let measured = session.call(&Call::Measure {
        prefix,
        count: appends,
    });
    match measured.and_then(|text| read_speed(&text, appends)) {
        Ok(speed) => row.speed = Some(speed),
        Err(error) => row.add("measured", Err(error)),
    }
    Ok(())
}

fn read_steps(text: &str) -> Result<Vec<Feature>> {
    let steps: Value = serde_json::from_str(text).context("the script's answer is not JSON")?;
    let steps = steps.as_array().context("the script's answer is no list")?;
    if steps.is_empty() {
        bail!("the script has no steps");
    }
    let read = |step: &Value| -> Option<Feature> {
        let note = step["note"].as_str()?.to_owned();
        Some(Feature {
            name: step["step"].as_str()?.to_owned(),
            outcome: if step["ok"].as_bool()? {
                Ok(note)
            } else {
                Err(note)
            },
            us: step["us"].as_u64(),
        })
    };
    let features: Option<Vec<_>> = steps.iter().map(read).collect();
    features.context("a step lacks a field")
}

/// Several instances append to one log at once.
fn contest(session: &dyn Session, prefix: &str, size: Contest) -> Result<String> {
    let Contest {
        contenders,
        records,
    } = size;
    let answers: Vec<Result<String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..contenders)
            .map(|number| {
                let call = Call::Contend {
                    prefix: prefix.to_owned(),
                    who: format!("contender-{number}"),
                    count: records,
                };
                scope.spawn(move || session.call(&call))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<String>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a contender panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut lost = 0;
    for answer in answers {
        let answer: Value = serde_json::from_str(&answer?)?;
        lost += answer["races_lost"].as_u64().context("no races-lost")?;
    }
    let records = contenders.saturating_mul(records);
    session.call(&Call::Audit {
        prefix: prefix.to_owned(),
        records,
    })?;
    Ok(format!(
        "{contenders} instances, {records} records, {lost} races lost; none lost, none doubled"
    ))
}

fn read_speed(text: &str, calls: u32) -> Result<Speed> {
    let answer: Value = serde_json::from_str(text)?;
    let times = |name: &str| {
        let number = |field: &str| answer[name][field].as_u64().context("a time is missing");
        Ok::<_, anyhow::Error>(Times {
            median_us: number("median")?,
            p99_us: number("p99")?,
            total_us: number("total")?,
        })
    };
    Ok(Speed {
        calls,
        append: times("append")?,
        put: times("put")?,
    })
}

/// A user who forgot a setting reads its name, and where this host takes it from.
fn missing_setting(host: &Host, installed: &Installed, store: &Store) -> Result<String> {
    let mut settings = store.settings();
    settings.retain(|(name, _)| name != MISSING);
    let error = failure(open(host, installed, settings, true))?;
    told(&error, host.settings)
}

/// A user whose host lets no request out reads which setting of the host does.
fn refusal(host: &Host, installed: &Installed, store: &Store, words: &str) -> Result<String> {
    let error = failure(open(host, installed, store.settings(), false))?;
    told(&error, &[words])
}

/// The error of the simplest call, which must not succeed.
fn failure(session: Result<Box<dyn Session>>) -> Result<String> {
    match session.and_then(|session| session.call(&Call::Probe)) {
        Ok(answer) => bail!("the call succeeded: {answer}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn told(error: &str, words: &[&str]) -> Result<String> {
    match words.iter().find(|word| !error.contains(**word)) {
        Some(word) => bail!("`{word}` is not named: {error}"),
        None => {
            let told = error.lines().find(|line| line.contains(words[0]));
            Ok(told.unwrap_or(error).trim().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_faults_kept() {
        let steps = r#"[{"step":"log","ok":true,"us":5,"note":"fine"},
            {"step":"race","ok":false,"us":6,"note":"lost"}]"#;
        let features = read_steps(steps).unwrap();
        assert_eq!(features[0].outcome, Ok("fine".to_owned()));
        assert_eq!(
            (features[1].name.as_str(), features[1].us),
            ("race", Some(6))
        );
        assert_eq!(features[1].outcome, Err("lost".to_owned()));
        assert!(read_steps("[]").is_err());
        assert!(read_steps(r#"[{"step":"log"}]"#).is_err());
        assert!(read_steps("no").is_err());
    }

    #[test]
    fn a_call_that_must_fail_and_an_error_that_must_tell() {
        struct Fixed(Result<String, String>);
        impl Session for Fixed {
            fn call(&self, _: &Call) -> Result<String> {
                self.0.clone().map_err(|text| anyhow!(text))
            }
        }
        let boxed = |answer| Ok::<Box<dyn Session>, _>(Box::new(Fixed(answer)));
        assert!(failure(boxed(Ok("fine".to_owned()))).is_err());
        let error = failure(boxed(Err("X is not set".to_owned()))).unwrap();
        assert!(told(&error, &["X"]).is_ok());
        assert!(told(&error, &["X", "--env"]).is_err());
    }

    #[test]
    fn a_contender_that_fails_fails_the_contest() {
        struct Shared;
        impl Session for Shared {
            fn call(&self, call: &Call) -> Result<String> {
                match call {
                    Call::Contend { who, .. } if who.ends_with('1') => bail!("refused"),
                    Call::Contend { .. } => Ok(r#"{"appended":10,"races_lost":2}"#.to_owned()),
                    _ => Ok(String::new()),
                }
            }
        }
        let contest = |contenders| {
            let size = Contest {
                contenders,
                records: 10,
            };
            contest(&Shared, "x", size)
        };
        assert!(contest(2).is_err());
        assert!(contest(1).unwrap().contains("2 races lost"));
    }
}
