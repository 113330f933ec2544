//! The store over loopback HTTP, for hosts in other processes.

use crate::clock::WorldClock;
use crate::store::{Request, SharedStore};
use crate::world::Endpoint;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Largest request body that is read at all. The store has its own, smaller limit.
const MAX_BODY_BYTES: usize = 128 << 20;

/// A store that is being served. Dropping it stops that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves a store on 127.0.0.1. Port 0 takes any that is free.
    pub async fn start(store: SharedStore, clock: WorldClock, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, store, clock));
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How components reach it, given what the store was set up with.
    pub fn endpoint(&self, options: &crate::store::Options) -> Result<Endpoint> {
        Ok(Endpoint {
            url: self.url(),
            bucket: options
                .buckets
                .first()
                .context("the store has no bucket")?
                .clone(),
            region: options.region.clone(),
            credential: options
                .credentials
                .first()
                .context("the store knows no key")?
                .clone(),
        })
    }

    /// Serves until the process ends.
    pub async fn forever(mut self) -> Result<()> {
        (&mut self.accepting).await.context("the server stopped")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, store: SharedStore, clock: WorldClock) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for example: others may be closed meanwhile.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let store = store.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(store.clone(), clock, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no concern of the store's.
            let _ = connection.await;
        });
    }
}

async fn answer(
    store: SharedStore,
    clock: WorldClock,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        let mut refusal = http::Response::new(Full::default());
        *refusal.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(refusal);
    };
    let request = Request::from_parts(parts, body.to_bytes());
    let mut response = store.handle(&request, clock.now_ms());
    if request.method() != http::Method::HEAD {
        // hyper writes the length itself.
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    }
    Ok(response.map(Full::new))
}
