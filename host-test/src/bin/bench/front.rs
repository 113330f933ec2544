//! An HTTP server on loopback before a store: it counts what passes, and lets it wait.

use anyhow::{Context, Result};
use bytes::Bytes;
use host_test::clock::WorldClock;
use host_test::pool::{Pool, whole};
use host_test::store::traffic::Traffic;
use host_test::store::{Facts, Request, SharedStore, Totals};
use http::{StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::net::TcpListener;

/// Largest request body that is read at all.
const MAX_BODY_BYTES: usize = 128 << 20;

/// What answers behind the front.
pub enum Backend {
    /// The store of the harness, on the thread of the front.
    Store(SharedStore),
    /// A server: its host and port.
    Server(String),
}

/// A front on a thread of its own, so that the processor time of the clients is
/// theirs alone. It lasts as long as the process.
#[derive(Clone)]
pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    backend: Backend,
    latency_us: AtomicU64,
    traffic: Mutex<Traffic>,
    pool: Pool,
}

impl Front {
    /// Starts one.
    pub fn start(backend: Backend) -> Result<Self> {
        let shared = Arc::new(Shared {
            backend,
            latency_us: AtomicU64::new(0),
            traffic: Mutex::default(),
            pool: Pool::default(),
        });
        let (sender, address) = mpsc::channel();
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
                runtime.block_on(async {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                    sender.send(listener.local_addr()?)?;
                    accept(listener, serving).await;
                    anyhow::Ok(())
                })
            });
            if let Err(error) = ended {
                eprintln!("the front stopped: {error:#}");
            }
        });
        let address = address.recv().context("the front did not start")?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes every request take so much longer.
    pub fn set_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.shared.latency_us.store(us, Ordering::Relaxed);
    }

    /// Sums over the requests that passed.
    pub fn totals(&self) -> Totals {
        let traffic = self.shared.traffic.lock();
        traffic
            .unwrap_or_else(PoisonError::into_inner)
            .totals()
            .clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let clock = WorldClock::of_machine();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for example: others may be closed meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(shared.clone(), clock, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no concern of the store's.
            let _ = connection.await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    clock: WorldClock,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let request = Request::from_parts(parts, body.to_bytes());
    let is_head = request.method() == http::Method::HEAD;
    let facts = Facts::of(&request, request.body(), None);
    let latency = Duration::from_micros(shared.latency_us.load(Ordering::Relaxed));
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut response = match &shared.backend {
        Backend::Store(store) => store.handle(&request, clock.now_ms()),
        Backend::Server(authority) => match forward(&shared.pool, authority, request).await {
            Ok(response) => response,
            Err(error) => {
                eprintln!("the front lost a reply: {error:#}");
                empty(StatusCode::BAD_GATEWAY).map(|_| Bytes::new())
            }
        },
    };
    if !is_head {
        // hyper writes the length itself.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let bytes_out = response.body().len() as u64;
    shared
        .traffic
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(clock.now_ms(), facts, response.status().as_u16(), bytes_out);
    Ok(response.map(Full::new))
}

fn empty(status: StatusCode) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Passes a request on as it is: what was signed is the host of the front, and that
/// is what the server is shown.
async fn forward(pool: &Pool, authority: &str, request: Request) -> Result<http::Response<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    parts.uri = format!("http://{authority}{target}").parse()?;
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::EXPECT);
    let response = pool
        .send(http::Request::from_parts(parts, whole(body)))
        .await?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::TRANSFER_ENCODING);
    let body = body.collect().await?.to_bytes();
    Ok(http::Response::from_parts(parts, body))
}
