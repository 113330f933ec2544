//! Connections that are kept, as clients of S3 do and the usual host of `wasi:http`
//! does not.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, WasiBody};

/// Connections to some hosts, without TLS. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    idle: Arc<Mutex<BTreeMap<String, Vec<SendRequest<WasiBody>>>>>,
}

impl Pool {
    /// Sends a request with an absolute URI on a connection of its own or on one that
    /// has become free.
    ///
    /// # Errors
    /// As hyper and the network give them.
    pub async fn send(
        &self,
        mut request: http::Request<WasiBody>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let authority = request.uri().authority();
        let authority = authority.ok_or(Error::HttpRequestUriInvalid)?.to_string();
        let target = request.uri().path_and_query();
        let target = target.map_or("/", |target| target.as_str()).to_owned();
        *request.uri_mut() = target.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let mut connection = match self.take(&authority) {
            Some(connection) => connection,
            None => connect(&authority).await?,
        };
        let response = connection.send_request(request).await?;
        let pool = self.clone();
        tokio::spawn(async move {
            // Ready once the reply has been read to its end; never if it is not.
            if connection.ready().await.is_ok() {
                pool.put_back(authority, connection);
            }
        });
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }

    fn take(&self, authority: &str) -> Option<SendRequest<WasiBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.get_mut(authority)?;
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put_back(&self, authority: String, connection: SendRequest<WasiBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(authority).or_default().push(connection);
    }
}

async fn connect(authority: &str) -> Result<SendRequest<WasiBody>, Error> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(Error::Connect)?;
    // A request is written whole; there is nothing to gather.
    stream.set_nodelay(true).map_err(Error::Connect)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A body that is all there.
pub fn whole(body: Bytes) -> WasiBody {
    http_body_util::Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
