//! The results of all hosts, for people, for docs/HOSTS.md and for machines.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::trial::{Row, Speed};
use crate::workspace;

const DOCUMENT: &str = "docs/HOSTS.md";
const BEGIN: &str = "<!-- written by `cargo xtask hosts` -->\n";
const END: &str = "<!-- end of what `cargo xtask hosts` writes -->\n";

/// All features in the order in which they first occur.
fn features(rows: &[Row]) -> Vec<&str> {
    let mut names = Vec::new();
    for feature in rows.iter().flat_map(|row| &row.features) {
        if !names.contains(&feature.name.as_str()) {
            names.push(feature.name.as_str());
        }
    }
    names
}

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let version = row.version.as_deref().unwrap_or("not installed");
        text.push_str(&format!("\n{} ({version})\n", row.host.title));
        for feature in &row.features {
            let time = feature
                .us
                .map_or(String::new(), |us| format!("{} ms", ms(us)));
            let (mark, note) = match &feature.outcome {
                Ok(note) => ("ok", note),
                Err(why) => ("FAILED", why),
            };
            text.push_str(&format!(
                "  {mark:6} {:10} {time:>11}  {note}\n",
                feature.name
            ));
        }
        if let Some(speed) = &row.speed {
            text.push_str(&format!(
                "         append     {:>8} ms, {} a second; a bare PUT {} ms, so {} on top\n",
                ms(mean(speed, speed.append.total_us)),
                per_second(speed),
                ms(mean(speed, speed.put.total_us)),
                overhead(speed),
            ));
        }
    }
    text
}

/// For machines.
pub fn json(rows: &[Row]) -> Value {
    let rows = rows.iter().map(|row| {
        let features = row.features.iter().map(|feature| {
            let (ok, note) = match &feature.outcome {
                Ok(note) => (true, note),
                Err(why) => (false, why),
            };
            json!({"name": feature.name, "ok": ok, "us": feature.us, "note": note})
        });
        let speed = row.speed.map(|speed| {
            let times = |times: super::trial::Times| {
                json!({
                    "mean_us": mean(&speed, times.total_us),
                    "median_us": times.median_us,
                    "p99_us": times.p99_us,
                })
            };
            json!({
                "calls": speed.calls,
                "append": times(speed.append),
                "put": times(speed.put),
                "appends_per_second": per_second(&speed),
            })
        });
        json!({
            "host": row.host.name,
            "title": row.host.title,
            "version": row.version,
            "route": row.host.route,
            "artifact": row.host.shipped,
            "bytes": row.bytes.0,
            "gzip_bytes": row.bytes.1,
            "features": features.collect::<Vec<_>>(),
            "speed": speed,
        })
    });
    json!({"hosts": rows.collect::<Vec<_>>()})
}

/// Writes the tables into the document, with what was checked of Spin.
pub fn write(rows: &[Row], spin: &str) -> Result<()> {
    let path = workspace::root().join(DOCUMENT);
    let document = fs::read_to_string(&path)?;
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("{DOCUMENT} has no place for the tables"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("the place for the tables in {DOCUMENT} has no end"))?;
    fs::write(
        path,
        [before, BEGIN, "\n", &markdown(rows, spin), "\n", END, after].concat(),
    )?;
    Ok(())
}

fn markdown(rows: &[Row], spin: &str) -> String {
    let names = features(rows);
    let mut text = format!(
        "| host | version | route | artifact | {} |\n|---|---|---|---|{}\n",
        names.join(" | "),
        ":-:|".repeat(names.len())
    );
    for row in rows {
        let version = row.version.as_deref().unwrap_or("not installed");
        let cells = names.iter().map(|name| {
            let feature = row.features.iter().find(|feature| feature.name == *name);
            match feature.map(|feature| feature.outcome.is_ok()) {
                Some(true) => "✓",
                Some(false) => "✗",
                None => "–",
            }
        });
        text.push_str(&format!(
            "| {} | {version} | {} | `{}.wasm`, {} kB, {} gzipped | {} |\n",
            row.host.title,
            row.host.route,
            row.host.shipped,
            row.bytes.0 / 1000,
            row.bytes.1 / 1000,
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    let empty = " |".repeat(names.len());
    text.push_str(&format!("| Spin | not run: {spin} | | |{empty}\n"));
    text.push_str(
        "\n| host | warm append, ms | a second | 99 of 100 within, ms | bare `PUT`, ms | on top |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let Some(speed) = &row.speed else { continue };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.host.title,
            ms(mean(speed, speed.append.total_us)),
            per_second(speed),
            ms(speed.append.p99_us),
            ms(mean(speed, speed.put.total_us)),
            overhead(speed),
        ));
    }
    text
}

fn mean(speed: &Speed, total_us: u64) -> u64 {
    total_us / u64::from(speed.calls.max(1))
}

fn per_second(speed: &Speed) -> u64 {
    u64::from(speed.calls) * 1_000_000 / speed.append.total_us.max(1)
}

/// What an append costs more than a bare conditional write.
fn overhead(speed: &Speed) -> String {
    let (append, put) = (speed.append.total_us, speed.put.total_us);
    let percent = append.abs_diff(put) * 100 / put.max(1);
    let sign = if append < put { "−" } else { "" };
    format!("{sign}{percent} %")
}

fn ms(us: u64) -> String {
    format!("{}.{:02}", us / 1000, us % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::super::HOSTS;
    use super::super::trial::{Feature, Times};
    use super::*;

    fn rows() -> Vec<Row> {
        let feature = |name: &str, outcome: Result<&str, &str>| Feature {
            name: name.to_owned(),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
            us: Some(1_234),
        };
        let times = |total_us| Times {
            median_us: 1,
            p99_us: 2_000,
            total_us,
        };
        vec![
            Row {
                host: &HOSTS[0],
                version: Some("1.2".to_owned()),
                bytes: (292_000, 120_000),
                features: vec![feature("log", Ok("fine")), feature("race", Err("lost"))],
                speed: Some(Speed {
                    calls: 10,
                    append: times(5_000),
                    put: times(4_000),
                }),
            },
            Row {
                host: &HOSTS[1],
                version: None,
                bytes: (1, 1),
                features: vec![feature("installed", Err("no network"))],
                speed: None,
            },
        ]
    }

    #[test]
    fn failures_show_in_every_form() {
        let rows = rows();
        let text = text(&rows);
        assert!(text.contains("FAILED race"), "{text}");
        assert!(text.contains("0.50 ms, 2000 a second"), "{text}");
        let table = markdown(&rows, "checked");
        assert!(table.contains("| ✓ | ✗ | – |"), "{table}");
        assert!(table.contains("| not installed |"), "{table}");
        assert!(
            table.contains("| 0.50 | 2000 | 2.00 | 0.40 | 25 % |"),
            "{table}"
        );
        let json = json(&rows);
        assert_eq!(json["hosts"][0]["features"][1]["ok"], false);
        assert_eq!(json["hosts"][0]["speed"]["appends_per_second"], 2000);
        assert_eq!(json["hosts"][1]["version"], Value::Null);
    }
}
