//! A proxy that stands before a real store and spoils what passes, on loopback.
//!
//! What goes wrong is a [`Plan`], as in the world whose store is in this process; what
//! only a simulated store can do, such as another time, passes unspoilt. Requests are
//! passed on as they came, so their signatures hold.

use crate::faults::{Decision, Fault, Loss, Plan};
use crate::store::{Facts, Request, Response, S3Error};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// A caller that hears nothing gives up before this.
const SILENCE: Duration = Duration::from_secs(60);

/// The store answers within this, or never.
const STORE_LIMIT: Duration = Duration::from_secs(60);

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    spoiler: Arc<Spoiler>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Spoiler {
    store: SocketAddr,
    plan: Mutex<Plan>,
    /// Requests that will reach the store later, when nobody waits for them.
    late: AtomicUsize,
}

impl Proxy {
    /// Stands before the store at this address.
    ///
    /// # Errors
    /// If there is no port left.
    pub async fn start(store: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on loopback")?;
        let spoiler = Arc::new(Spoiler {
            store,
            plan: Mutex::new(Plan::new(seed)),
            late: AtomicUsize::new(0),
        });
        Ok(Self {
            address: listener.local_addr()?,
            accepting: tokio::spawn(accept(listener, spoiler.clone())),
            spoiler,
        })
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong. Do not hold it across an await.
    pub fn faults(&self) -> MutexGuard<'_, Plan> {
        self.spoiler.plan()
    }

    /// Waits until everything that was sent has reached the store.
    pub async fn settle(&self) {
        while self.spoiler.late.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, spoiler: Arc<Spoiler>) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let spoiler = spoiler.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| spoiler.clone().pass(request));
            let connection = hyper::server::conn::http1::Builder::new()
                // The store's is passed on, or left out.
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service);
            // An error is what the client is to see: its connection closes.
            let _ = connection.await;
        });
    }
}

/// Nothing is answered: the connection closes.
fn no_answer() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

impl Spoiler {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(
        self: Arc<Self>,
        request: http::Request<hyper::body::Incoming>,
    ) -> io::Result<http::Response<Pieces>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| no_answer())?.to_bytes();
        let request = Request::from_parts(parts, body);
        let facts = Facts::of(&request, request.body(), None);
        let Decision {
            fault,
            request_delay,
            reply_delay,
            ..
        } = self.plan().decide("proxy", &facts);
        sleep(request_delay).await;
        let response = match fault {
            Some(Fault::Refuse | Fault::LoseRequest(Loss::Reset)) => return Err(no_answer()),
            Some(Fault::LoseRequest(Loss::Silence)) => {
                sleep(SILENCE).await;
                return Err(no_answer());
            }
            Some(Fault::Late(after)) => {
                self.forward_later(request, after);
                return Err(no_answer());
            }
            Some(Fault::LoseReply(loss)) => {
                let _ = self.forward(&request).await;
                if loss == Loss::Silence {
                    sleep(SILENCE).await;
                }
                return Err(no_answer());
            }
            Some(Fault::Conflict) => refusal(&request, S3Error::conditional_conflict()),
            Some(Fault::SlowDown(429)) => {
                refusal(&request, S3Error::slow_down(StatusCode::TOO_MANY_REQUESTS))
            }
            Some(Fault::SlowDown(_)) => refusal(
                &request,
                S3Error::slow_down(StatusCode::SERVICE_UNAVAILABLE),
            ),
            Some(Fault::FailBefore(_)) => refusal(&request, S3Error::internal()),
            Some(Fault::FailAfter(_)) => {
                let _ = self.forward(&request).await;
                refusal(&request, S3Error::internal())
            }
            Some(Fault::Duplicate(after)) => {
                let response = self.forward(&request).await?;
                self.forward_later(request, after);
                response
            }
            Some(Fault::HoldRequest(time)) => {
                sleep(time).await;
                self.forward(&request).await?
            }
            Some(Fault::HoldReply(time)) => {
                let response = self.forward(&request).await?;
                sleep(time).await;
                response
            }
            _ => self.forward(&request).await?,
        };
        sleep(reply_delay).await;
        let (mut parts, body) = response.into_parts();
        if fault == Some(Fault::OmitDate) {
            parts.headers.remove(http::header::DATE);
        }
        let broken = matches!(fault, Some(Fault::TruncateReply | Fault::BreakReply));
        let body = match broken {
            true => Pieces::cut(body),
            false => Pieces::whole(body),
        };
        Ok(http::Response::from_parts(parts, body))
    }

    /// Sends a request on its own way, whose sender has stopped waiting.
    fn forward_later(self: &Arc<Self>, request: Request, after: Duration) {
        self.late.fetch_add(1, Ordering::SeqCst);
        let spoiler = self.clone();
        tokio::spawn(async move {
            sleep(after).await;
            // Nobody is there to hear how it went.
            let _ = spoiler.forward(&request).await;
            spoiler.late.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Sends a request to the store as it came, and takes the whole reply.
    async fn forward(&self, request: &Request) -> io::Result<Response> {
        let answer = async {
            let stream = TcpStream::connect(self.store).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
            let driven = tokio::spawn(connection);
            let response = sender
                .send_request(request.clone().map(Full::new))
                .await
                .map_err(io::Error::other)?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            drop(sender);
            driven.abort();
            Ok(Response::from_parts(parts, body))
        };
        timeout(STORE_LIMIT, answer)
            .await
            .map_err(|_| no_answer())?
    }
}

/// An answer in place of the store's, with a time like the store's own.
fn refusal(request: &Request, error: S3Error) -> Response {
    let mut response = error.into_response(request.uri().path());
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    crate::store::set(&mut response, http::header::DATE, &date);
    response
}

/// The body of a reply, or its first half and then an error.
struct Pieces {
    body: Option<Bytes>,
    cut: bool,
}

impl Pieces {
    fn whole(body: Bytes) -> Self {
        Self {
            body: Some(body),
            cut: false,
        }
    }

    fn cut(body: Bytes) -> Self {
        Self {
            body: Some(body.slice(..body.len() / 2)),
            cut: true,
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        Poll::Ready(match self.body.take() {
            Some(body) if !body.is_empty() => Some(Ok(http_body::Frame::data(body))),
            _ if self.cut => Some(Err(no_answer())),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.body.as_ref().is_none_or(Bytes::is_empty)
    }
}
