//! What was measured, for people and for machines.

use crate::actor::Who;
use crate::cold::Cold;
use crate::goals::Goal;
use crate::place::Kind;
use crate::plot::{Bar, Group, bars};
use crate::sample::{PRICES, Sample};
use crate::sizes::Size;
use crate::works::{Book, Row};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A whole run.
pub struct Report<'a> {
    /// What was measured.
    pub book: &'a Book,
    /// The figures to reach.
    pub goals: Vec<Goal>,
    /// What starts cost.
    pub cold: &'a [Cold],
    /// How large other clients are.
    pub sizes: &'a [Size],
    /// Whether it was a quick run.
    pub quick: bool,
    /// How long it took.
    pub took: Duration,
}

const HEAD: [&str; 13] = [
    "who",
    "p50",
    "p99",
    "per s",
    "x floor",
    "requests",
    "sent",
    "received",
    "CPU",
    "fuel",
    "memory",
    "records/s",
    "$ S3 / Express / R2",
];

/// Everything about one row, as people read it.
fn cells(row: &Row, floor: Option<&Row>) -> [String; 13] {
    let sample = &row.sample;
    let ratio = floor.map(|floor| {
        sample.quantile(0.5).as_secs_f64() / floor.sample.quantile(0.5).as_secs_f64().max(1e-9)
    });
    let counted = |count: u64| per_operation(sample, count);
    let dollars = PRICES.map(|(_, writes, reads)| {
        let each = sample.counted.dollars(writes, reads) / sample.operations().max(1) as f64;
        format!("{:.2}", each * 1e6)
    });
    let records = match row.records {
        0 | 1 => String::new(),
        records => count_text(sample.per_second() * records as f64),
    };
    [
        row.who.to_owned(),
        time(sample.quantile(0.5)),
        time(sample.quantile(0.99)),
        count_text(sample.per_second()),
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        plain(counted(sample.counted.requests())),
        size(counted(sample.counted.bytes_in)),
        size(counted(sample.counted.bytes_out)),
        match sample.cpu.is_zero() {
            true => String::new(),
            false => time(sample.cpu / u32::try_from(sample.operations()).unwrap_or(1).max(1)),
        },
        sample
            .fuel
            .map(|fuel| count_text(counted(fuel)))
            .unwrap_or_default(),
        sample
            .memory_bytes
            .map(|bytes| size(bytes as f64))
            .unwrap_or_default(),
        records,
        dollars.join(" / "),
    ]
}

fn per_operation(sample: &Sample, count: u64) -> f64 {
    count as f64 / sample.operations().max(1) as f64
}

fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        0.0..1e3 => format!("{us:.0} µs"),
        1e3..1e5 => format!("{:.2} ms", us / 1e3),
        1e5..1e6 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        0.0..10_000.0 => format!("{bytes:.0} B"),
        10_000.0..1e7 => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

fn count_text(value: f64) -> String {
    match value {
        0.0..100.0 => format!("{value:.1}"),
        100.0..1e5 => format!("{value:.0}"),
        1e5..1e7 => format!("{:.1} k", value / 1e3),
        _ => format!("{:.1} M", value / 1e6),
    }
}

impl Report<'_> {
    fn floor(&self, row: &Row) -> Option<&Row> {
        let found = self
            .book
            .row(&row.work, Who::NativeFloor.name(), row.kind, row.latency);
        found.filter(|floor| floor.who != row.who)
    }

    /// Rows of one work in one place, in the order in which they were measured.
    fn works(&self) -> Vec<Vec<&Row>> {
        let mut works: Vec<Vec<&Row>> = Vec::new();
        for row in &self.book.rows {
            let same = works.iter_mut().find(|rows| {
                let first = rows[0];
                (&first.work, first.kind, first.latency) == (&row.work, row.kind, row.latency)
            });
            match same {
                Some(rows) => rows.push(row),
                None => works.push(vec![row]),
            }
        }
        works
    }

    /// The result for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for rows in self.works() {
            let first = rows[0];
            let ms = first.latency.as_millis();
            let _ = writeln!(text, "\n{} — {}, {ms} ms", first.work, first.kind.name());
            let mut lines = vec![HEAD.map(str::to_owned)];
            lines.extend(rows.iter().map(|row| cells(row, self.floor(row))));
            let width = |column: usize| {
                let widths = lines.iter().map(|line| line[column].chars().count());
                widths.max().unwrap_or(0)
            };
            let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
            for line in &lines {
                let mut row = format!("  {:<1$}", line[0], widths[0]);
                for (cell, width) in line.iter().zip(&widths).skip(1) {
                    let _ = write!(row, "  {cell:>width$}");
                }
                let _ = writeln!(text, "{}", row.trim_end());
            }
        }
        text.push_str("\nstarts\n");
        for cold in self.cold {
            let _ = writeln!(
                text,
                "  {:22} {:>9} bytes  compiled in {:>8}  instantiated in {:>6}  {} of memory",
                cold.name,
                cold.bytes,
                time(cold.compile),
                time(cold.instantiate),
                size(cold.memory_bytes as f64),
            );
        }
        for size in self.sizes {
            let _ = writeln!(text, "  {:22} {:>9} bytes", size.name, size.bytes);
        }
        text.push_str("\nfigures to reach\n");
        for goal in &self.goals {
            let Goal {
                what,
                target,
                measured,
                met,
            } = goal;
            let mark = if *met { "met" } else { "NOT MET" };
            let _ = writeln!(text, "  {what:62} {target:>8}  {measured:>9}  {mark}");
        }
        for (who, why) in &self.book.left_out {
            let _ = writeln!(text, "left out: {who}: {why}");
        }
        let _ = writeln!(text, "{:.0} s in all", self.took.as_secs_f64());
        text
    }

    /// The result for machines.
    pub fn json(&self) -> String {
        let rows = self.book.rows.iter().map(|row| {
            let sample = &row.sample;
            let us = |time: Duration| time.as_secs_f64() * 1e6;
            let each = |count: u64| per_operation(sample, count);
            let optional =
                |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.1}"));
            let counted = &sample.counted;
            let dollars = PRICES.map(|(name, writes, reads)| {
                let each = per_operation(sample, 1) * counted.dollars(writes, reads);
                format!("{}:{:.4}", quoted(name), each * 1e6)
            });
            format!(
                "{{\"work\":{},\"who\":{},\"store\":{},\"latency_ms\":{},\"operations\":{},\
                 \"records\":{},\"bytes\":{},\"p50_us\":{:.1},\"p99_us\":{:.1},\
                 \"per_second\":{:.2},\"p50_to_floor\":{},\"requests\":{:.4},\"puts\":{:.4},\
                 \"gets\":{:.4},\"lists\":{:.4},\"bytes_sent\":{:.1},\"bytes_received\":{:.1},\
                 \"cpu_us\":{:.2},\"fuel\":{},\"memory_bytes\":{},\
                 \"dollars_per_million\":{{{}}}}}",
                quoted(&row.work),
                quoted(row.who),
                quoted(row.kind.name()),
                row.latency.as_millis(),
                sample.operations(),
                row.records,
                row.bytes,
                us(sample.quantile(0.5)),
                us(sample.quantile(0.99)),
                sample.per_second(),
                optional(self.floor(row).map(|floor| {
                    us(sample.quantile(0.5)) / us(floor.sample.quantile(0.5)).max(1e-3)
                })),
                each(counted.requests()),
                each(counted.puts),
                each(counted.gets),
                each(counted.lists),
                each(counted.bytes_in),
                each(counted.bytes_out),
                us(sample.cpu) / sample.operations().max(1) as f64,
                optional(sample.fuel.map(each)),
                optional(sample.memory_bytes.map(|bytes| bytes as f64)),
                dollars.join(","),
            )
        });
        let goals = self.goals.iter().map(|goal| {
            format!(
                "{{\"what\":{},\"target\":{},\"measured\":{},\"met\":{}}}",
                quoted(&goal.what),
                quoted(goal.target),
                quoted(&goal.measured),
                goal.met
            )
        });
        let cold = self.cold.iter().map(|cold| {
            format!(
                "{{\"name\":{},\"bytes\":{},\"compile_us\":{},\"instantiate_us\":{},\
                 \"memory_bytes\":{}}}",
                quoted(cold.name),
                cold.bytes,
                cold.compile.as_micros(),
                cold.instantiate.as_micros(),
                cold.memory_bytes
            )
        });
        let left_out = self.book.left_out.iter();
        let left_out = left_out
            .map(|(who, why)| format!("{{\"who\":{},\"why\":{}}}", quoted(who), quoted(why)));
        let list = |lines: Vec<String>| lines.join(",\n  ");
        format!(
            "{{\"quick\":{},\"conditions\":{},\"goals\":[\n  {}],\n\"starts\":[\n  {}],\n\
             \"left_out\":[\n  {}],\n\"rows\":[\n  {}]}}\n",
            self.quick,
            quoted(&conditions()),
            list(goals.collect()),
            list(cold.collect()),
            list(left_out.collect()),
            list(rows.collect())
        )
    }

    /// Writes `BENCHMARKS.md` and its pictures.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_documents(&self, docs: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = docs.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        fs::create_dir_all(docs.join("bench"))?;
        write("bench/append.svg", self.append_picture())?;
        write("bench/writers.svg", self.writers_picture())?;
        write("bench/cpu.svg", self.cpu_picture())?;
        write("BENCHMARKS.md", self.markdown())
    }

    fn markdown(&self) -> String {
        let mut text = String::from(INTRODUCTION);
        let _ = writeln!(text, "{}\n", wrapped(&conditions()));
        if self.quick {
            text.push_str("This was a quick run: few repetitions, small logs.\n\n");
        }
        text.push_str("## Figures to reach\n\n| | to reach | measured | |\n|---|---:|---:|---|\n");
        for goal in &self.goals {
            let Goal {
                what,
                target,
                measured,
                met,
            } = goal;
            let mark = if *met { "" } else { "**not yet**" };
            let _ = writeln!(text, "| {what} | {target} | {measured} | {mark} |");
        }
        text.push_str(PICTURES);
        text.push_str("## Starts and sizes\n\n");
        text.push_str("| | size | compiled in | instantiated in | memory |\n");
        text.push_str("|---|---:|---:|---:|---:|\n");
        for cold in self.cold {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                cold.name,
                size(cold.bytes as f64),
                time(cold.compile),
                time(cold.instantiate),
                size(cold.memory_bytes as f64)
            );
        }
        for other in self.sizes {
            let bytes = size(other.bytes as f64);
            let _ = writeln!(text, "| {} | {bytes} | | | |", other.name);
        }
        text.push('\n');
        let mut heading = None;
        for rows in self.works() {
            let first = rows[0];
            if heading != Some((first.kind, first.latency)) {
                heading = Some((first.kind, first.latency));
                let ms = first.latency.as_millis();
                let _ = writeln!(text, "## {}, {ms} ms\n", described(first.kind));
            }
            let _ = writeln!(text, "**{}**\n\n| {} |", first.work, HEAD.join(" | "));
            let _ = writeln!(text, "|---|{}", "---:|".repeat(HEAD.len() - 1));
            for row in rows {
                let _ = writeln!(text, "| {} |", cells(row, self.floor(row)).join(" | "));
            }
            text.push('\n');
        }
        if !self.book.left_out.is_empty() {
            text.push_str("## Left out\n\n");
            for (who, why) in &self.book.left_out {
                let _ = writeln!(text, "* {who}: {}", why.replace('\n', " "));
            }
        }
        text
    }

    fn picture_groups(
        &self,
        works: &[&str],
        value: impl Fn(&Row) -> (f64, String),
        wanted: impl Fn(&Row) -> bool,
    ) -> Vec<Group> {
        let mut groups = Vec::new();
        for rows in self.works() {
            if !works.contains(&rows[0].work.as_str()) || !wanted(rows[0]) {
                continue;
            }
            let ms = rows[0].latency.as_millis();
            groups.push(Group {
                name: format!("{}: {}, {ms} ms", rows[0].work, rows[0].kind.name()),
                bars: rows
                    .iter()
                    .map(|row| {
                        let (value, text) = value(row);
                        Bar {
                            label: row.who.to_owned(),
                            value,
                            text,
                            is_ours: row.who.starts_with("ifmatch"),
                        }
                    })
                    .collect(),
            });
        }
        groups
    }

    fn append_picture(&self) -> String {
        let value = |row: &Row| {
            let p50 = row.sample.quantile(0.5);
            (p50.as_secs_f64(), time(p50))
        };
        let groups = self.picture_groups(&["append 1 KiB"], value, |_| true);
        bars(
            "One append of 1 KiB",
            "Median time; shorter is better",
            &groups,
        )
    }

    fn writers_picture(&self) -> String {
        let value = |row: &Row| {
            let rate = row.sample.per_second();
            let requests = per_operation(&row.sample, row.sample.counted.requests());
            (rate, format!("{rate:.0}/s, {} requests", plain(requests)))
        };
        let works: Vec<String> = [1, 4, 16, 64]
            .map(|writers| format!("append 1 KiB, {writers} competing writers"))
            .to_vec();
        let works: Vec<&str> = works.iter().map(String::as_str).collect();
        let groups = self.picture_groups(&works, value, |row| {
            !row.latency.is_zero() && row.kind == Kind::Loopback
        });
        let subtitle = "Appends in a second and requests for each; longer is better";
        bars("Writers that compete for one log", subtitle, &groups)
    }

    fn cpu_picture(&self) -> String {
        let value = |row: &Row| {
            let count = u32::try_from(row.sample.operations()).unwrap_or(1).max(1);
            let cpu = row.sample.cpu / count;
            (cpu.as_secs_f64(), time(cpu))
        };
        let works = ["append 1 KiB", "append 64 KiB", "append 100 x 1 KiB"];
        let groups = self.picture_groups(&works, value, |row| {
            row.latency.is_zero() && row.kind != Kind::Seaweed
        });
        let subtitle = "Guest and host together, without the store; shorter is better";
        bars("Processor time of an append", subtitle, &groups)
    }
}

const INTRODUCTION: &str = "\
# Benchmarks

`cargo xtask bench` measures all of this and writes this file. Contestants take turns,
operation by operation, so that whatever disturbs the machine disturbs all of them alike.
Compare the lines of one table with each other (`x floor` is the median beside that of one
signed PUT or GET by native code); times by themselves depend on the machine and promise
nothing.

* **floor, native** and **floor.wasm** send one signed conditional PUT of as many bytes, or a
  GET, and nothing else: what no client of S3 can do without. Both sign with the code of
  `bucket-s3.wasm`.
* **core, native** is the core of `ifmatch.wasm` compiled natively. `ifmatch-composed.wasm` is
  the same as `ifmatch.wasm` made of two components: their difference is the price of the
  boundary.
* **by hand** puts each record under the next free number, and tries the next one if that is
  taken: a log as one would write it in an afternoon, without offsets that are checked,
  without fencing or grace, and with duplicates when a reply is lost.
* CPU is that of the guest and its host, which has a thread besides for what is under way,
  without the store. Fuel is about one for each WebAssembly instruction. Dollars are for a million such operations, requests only,
  at the prices of 2026 for a million writes or listings and a million reads: S3 5.00 and 0.40,
  S3 Express 1.13 and 0.03, R2 4.50 and 0.36.
* Native code keeps its connections to a store over HTTP. Components do not: the host opens
  one for each request, as wasmtime does by default.

";

const PICTURES: &str = "
![One append of 1 KiB](bench/append.svg)

![Writers that compete for one log](bench/writers.svg)

![Processor time of an append](bench/cpu.svg)

";

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Process => "A store in the process",
        Kind::Loopback => "The same store over HTTP on loopback",
        Kind::Seaweed => "SeaweedFS on loopback",
    }
}

/// Under which conditions it was measured.
fn conditions() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| Some(text.split_whitespace().next()?.to_owned()));
    format!(
        "Measured on {processors} processors ({}), {} {}, by a {} build of the host with \
         wasmtime 48 that counts fuel; load of the machine when it ended: {}.",
        model.as_deref().unwrap_or("unknown"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        load.as_deref().unwrap_or("unknown"),
    )
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => quoted.push(' '),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_that_people_can_read() {
        assert_eq!(time(Duration::from_micros(42)), "42 µs");
        assert_eq!(time(Duration::from_micros(20_250)), "20.25 ms");
        assert_eq!(time(Duration::from_millis(1_500)), "1.50 s");
        assert_eq!(size(1_234.0), "1234 B");
        assert_eq!(size(65_536.0), "65.5 kB");
        assert_eq!(plain(2.5), "2.5");
        assert_eq!(plain(1.0), "1");
    }

    #[test]
    fn text_in_json_is_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c d\"");
    }
}
