//! Hosts that serve HTTP, and just enough of HTTP to call them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::call::Call;
use super::session::{CALL_LIMIT, Session};
use crate::process;

/// How long a host may take to compile its component and to listen.
const START_LIMIT: Duration = Duration::from_secs(90);
/// The status with which `hosts/guests/front` passes on an error of the script.
const SCRIPT_ERROR: u16 = 422;

/// Runs a program, and ends it when standard input closes. That happens even if this
/// process is killed.
const WATCHER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(read -r _ <&3; kill "$server"; sleep 3; kill -9 "$server") 2>/dev/null &
reader=$!
wait "$server"
status=$?
kill "$reader"
exit "$status"
"#;

/// A program that runs until this value is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program.
    pub fn start(program: &Command, output: impl Into<Stdio>, log: File) -> Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCHER).arg("watcher");
        command.arg(program.get_program()).args(program.get_args());
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::piped()).stdout(output).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run `{}`", process::line(program)))?;
        Ok(Process(child))
    }

    /// What it prints, if its output is a pipe.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Fails only if it has ended by itself.
        let _ = self.0.wait();
    }
}

/// A host that serves the component of `hosts/guests/front`, or one that answers like
/// it, on loopback.
pub struct Server {
    address: SocketAddr,
    /// Runs as long as this.
    _process: Process,
}

impl Server {
    /// Starts a program that listens on this port, and waits until it answers. Its
    /// output goes to `log.txt` in the folder.
    pub fn start(program: &Command, port: u16, folder: &Path) -> Result<Self> {
        let path = folder.join("log.txt");
        let log = File::create(&path)?;
        let mut process = Process::start(program, log.try_clone()?, log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let begun = Instant::now();
        loop {
            // Until it is up, anything may go wrong: that means not yet.
            if matches!(
                get(address, &Call::Probe.path()),
                Ok((200 | SCRIPT_ERROR, _))
            ) {
                break;
            }
            let ended = process.has_ended()?;
            if ended || begun.elapsed() > START_LIMIT {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let how = if ended { "ended" } else { "did not come up" };
                bail!("`{}` {how}: {}", process::line(program), last_lines(&text));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(Server {
            address,
            _process: process,
        })
    }
}

impl Session for Server {
    fn call(&self, call: &Call) -> Result<String> {
        match get(self.address, &call.path())? {
            (200, text) => Ok(text),
            (SCRIPT_ERROR, text) => bail!("{text}"),
            (status, text) => bail!("HTTP status {status}: {text}"),
        }
    }
}

/// A port that nobody uses now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Status and body.
fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CALL_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    parse(&String::from_utf8_lossy(&response))
}

fn parse(response: &str) -> Result<(u16, String)> {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .context("the answer is not HTTP")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let chunked = head.lines().any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    let body = if chunked {
        join(body)?
    } else {
        body.to_owned()
    };
    Ok((status.context("the answer has no status")?, body))
}

/// The body of a chunked response. The script writes ASCII only.
fn join(mut chunks: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").context("a chunk has no size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
        if size == 0 {
            return Ok(body);
        }
        let (Some(chunk), Some(rest)) = (rest.get(..size), rest.get(size..)) else {
            bail!("the answer broke off");
        };
        body.push_str(chunk);
        chunks = rest.trim_start_matches("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_one_piece_and_in_chunks() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(parse(whole).unwrap(), (200, "ok".to_owned()));
        let chunked =
            "HTTP/1.1 422 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), (422, "abcd".to_owned()));
        let broken = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc";
        assert!(parse(broken).is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_program_that_ends_at_once_is_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("xtask-server-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut program = Command::new("sh");
        program.args(["-c", "echo no such component; exit 3"]);
        let error = Server::start(&program, free_port().unwrap(), &folder)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("no such component"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn dropping_a_process_ends_it() {
        let folder = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = File::create(folder.join("log.txt")).unwrap();
        let mut program = Command::new("sh");
        program.args(["-c", "echo $$; exec sleep 60"]);
        let mut process = Process::start(&program, Stdio::piped(), log).unwrap();
        let mut output = process.output().unwrap();
        let mut id = [0; 16];
        let length = output.read(&mut id).unwrap();
        let id = String::from_utf8_lossy(&id[..length]).trim().to_owned();
        assert!(Path::new("/proc").join(&id).exists());
        drop(process);
        assert!(!Path::new("/proc").join(&id).exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
