//! A server on loopback that answers every connection from a script: replies that
//! no S3 store gives on demand, byte by byte.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Largest request that is read.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Most bytes of a body without end. Whoever takes all of them has no limit.
const ENDLESS_BYTES: usize = 1 << 30;

/// What happens to one connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// The request is read, these bytes are sent, the connection is closed.
    Reply(Vec<u8>),
    /// The request is read, these bytes are sent, the connection is reset.
    ReplyThenReset(Vec<u8>),
    /// The request is read, and nothing ever sent.
    Silence,
    /// The request is read, these bytes are sent, and nothing more.
    ReplyThenSilence(Vec<u8>),
    /// The request is read, these bytes are sent, and then bytes without end.
    ReplyWithoutEnd(Vec<u8>),
    /// The connection is reset before anything is read.
    ResetAtOnce,
}

impl Act {
    /// A reply with a status line such as `200 OK`, headers and a body, whose
    /// length is announced.
    pub fn reply(status: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::Reply(format!("{text}\r\n{body}").into_bytes())
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Request line and headers.
    pub head: String,
    /// The body, as far as it was announced.
    pub body: Vec<u8>,
}

impl Received {
    /// The method.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let (_, value) = headers.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }
}

#[derive(Debug, Default)]
struct Seen {
    received: Vec<Received>,
    endless_bytes: usize,
}

/// The server. Dropping it closes every connection.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

impl Scripted {
    /// Serves a script: one act for each connection, the last one again and again.
    pub async fn start(script: impl IntoIterator<Item = Act>) -> Result<Self> {
        let script: Vec<Act> = script.into_iter().collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen")?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let accepting = tokio::spawn(accept(listener, script, seen.clone()));
        Ok(Self {
            address,
            seen,
            accepting,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .received
            .clone()
    }

    /// How much was taken of bodies without end.
    pub fn endless_bytes(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .endless_bytes
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, script: Vec<Act>, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    let mut acts = script.iter().chain(script.last().into_iter().cycle());
    while let (Ok((stream, _)), Some(act)) = (listener.accept().await, acts.next()) {
        connections.spawn(play(stream, act.clone(), seen.clone()));
    }
}

/// Errors here are those of a client that went away.
async fn play(mut stream: TcpStream, act: Act, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
    if matches!(act, Act::ResetAtOnce) {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .received
            .push(Received::default());
        return reset(stream);
    }
    let received = read_request(&mut stream).await?;
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .received
        .push(received);
    match act {
        Act::ResetAtOnce => Ok(()),
        Act::Reply(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Act::ReplyThenReset(bytes) => {
            stream.write_all(&bytes).await?;
            // Time for the client to read what came before the reset, which
            // would otherwise overtake it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            reset(stream)
        }
        Act::Silence => std::future::pending().await,
        Act::ReplyThenSilence(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Act::ReplyWithoutEnd(bytes) => {
            stream.write_all(&bytes).await?;
            let piece = [b'x'; 64 << 10];
            for _ in 0..ENDLESS_BYTES / piece.len() {
                stream.write_all(&piece).await?;
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .endless_bytes += piece.len();
            }
            Ok(())
        }
    }
}

/// Closes a connection so that the peer sees a reset.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    stream.set_zero_linger()
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Received> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(received) = complete(&bytes) {
            return Ok(received);
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 || bytes.len() > MAX_REQUEST_BYTES {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// The request, once all of it is there.
fn complete(bytes: &[u8]) -> Option<Received> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut received = Received {
        head,
        body: Vec::new(),
    };
    let length: usize = received
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let body = bytes[end + 4..].get(..length)?;
    received.body = body.to_vec();
    Some(received)
}
