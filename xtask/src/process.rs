//! Running other programs.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a program to its end, with its output on ours.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))
}

/// Runs a program that must succeed, with its output on ours.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// What a program prints, or nothing if it cannot be run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Runs a program that must succeed within `limit`, and kills it otherwise.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let status = wait_within(&mut spawn(command)?, command, limit)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// What a program prints within `limit`, whether it succeeds or not.
pub fn output_within(command: &mut Command, limit: Duration) -> Result<Output> {
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    // Read while it runs: it would wait once a pipe is full.
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = wait_within(&mut child, command, limit)?;
    let joined = |thread: thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Output {
        status,
        stdout: joined(stdout),
        stderr: joined(stderr),
    })
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is all that there is to show.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn spawn(command: &mut Command) -> Result<Child> {
    let child = command.spawn();
    child.with_context(|| format!("cannot run `{}`", line(command)))
}

fn wait_within(child: &mut Child, command: &Command, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // Either can fail only if the child has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{}` took longer than {} s", line(command), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let start = Instant::now();
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert!(error.is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn output_is_kept_of_a_program_that_fails() {
        let mut program = Command::new("sh");
        program.args(["-c", "seq 100000; echo no >&2; exit 3"]);
        let output = output_within(&mut program, Duration::from_secs(30)).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stderr, b"no\n");
        assert!(output.stdout.ends_with(b"\n100000\n"));
        let limit = Duration::from_millis(100);
        assert!(output_within(Command::new("sleep").arg("60"), limit).is_err());
    }

    #[test]
    fn failure_is_an_error_and_success_is_not() {
        let limit = Duration::from_secs(30);
        assert!(run(&mut Command::new("false")).is_err());
        assert!(run_within(&mut Command::new("false"), limit).is_err());
        run_within(&mut Command::new("true"), limit).unwrap();
        assert_eq!(output(&mut Command::new("false")), None);
        assert_eq!(
            output(Command::new("echo").arg("x")).as_deref(),
            Some("x\n")
        );
    }
}
