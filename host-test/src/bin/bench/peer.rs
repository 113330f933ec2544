//! Contestants in processes of their own: one line in, one line out.

use crate::sample::Reported;
use anyhow::{Context, Result, bail};
use host_test::world::Site;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// How a contestant is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in tables.
    pub name: &'static str,
    /// Whether several of it can append to one log.
    pub competes: bool,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A running contestant. It ends when its standard input closes, or is killed.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// What several writers of a contestant did.
pub struct Competition {
    /// How long they took together.
    pub elapsed: Duration,
    /// Processor time of the process.
    pub cpu: Duration,
    /// How long each operation took.
    pub times: Vec<Duration>,
}

impl Peer {
    /// Starts one on a store, under a name of its own there.
    pub fn start(program: &Program, site: &Site, name: &str) -> Result<Self> {
        let (first, rest) = program.command.split_first().context("no program")?;
        let mut child = Command::new(first)
            .args(rest)
            .arg(name)
            .envs(site.settings())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.name))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut peer = Self {
            child,
            input,
            lines,
        };
        peer.ask("hello")?;
        Ok(peer)
    }

    fn signal(&self, signal: libc::c_int) -> Result<()> {
        let process = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: the call touches no memory, and the child has not been waited for, so
        // the number is still its own.
        let result = unsafe { libc::kill(process, signal) };
        anyhow::ensure!(result == 0, "cannot stop a contestant or let it go on");
        Ok(())
    }

    /// Sends a line, and gives the numbers of the answer.
    fn ask(&mut self, line: &str) -> Result<Vec<u64>> {
        self.signal(libc::SIGCONT)?;
        writeln!(self.input, "{line}").and_then(|()| self.input.flush())?;
        let answer = self
            .lines
            .recv_timeout(ANSWER_LIMIT)
            .with_context(|| format!("no answer to `{line}`"))?;
        // What it does in the background must not count as somebody else's.
        self.signal(libc::SIGSTOP)?;
        let Some(numbers) = answer.strip_prefix("ok") else {
            bail!("{answer}");
        };
        let numbers = numbers.split_whitespace().map(str::parse);
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// Appends records in one operation.
    pub fn append(&mut self, records: usize, bytes: usize) -> Result<Reported> {
        match self.ask(&format!("append {records} {bytes}"))?[..] {
            [wall, cpu] => Ok(Reported {
                wall: Duration::from_nanos(wall),
                cpu: Duration::from_nanos(cpu),
            }),
            _ => bail!("an answer of another shape"),
        }
    }

    /// Lets several writers append 1 KiB to one log, again and again, for so long.
    pub fn compete(&mut self, writers: usize, lasts: Duration) -> Result<Competition> {
        let numbers = self.ask(&format!("compete {writers} {}", lasts.as_millis()))?;
        let [elapsed, cpu, times @ ..] = &numbers[..] else {
            bail!("an answer of another shape");
        };
        Ok(Competition {
            elapsed: Duration::from_nanos(*elapsed),
            cpu: Duration::from_nanos(*cpu),
            times: times.iter().copied().map(Duration::from_nanos).collect(),
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Either fails only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
