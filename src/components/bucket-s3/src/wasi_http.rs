//! Sends one request over `wasi:http`, with time limits and bounded memory.

use std::rc::Rc;

use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::http::outgoing_handler::{
    self, ErrorCode, OutgoingRequest, RequestOptions,
};
use crate::bindings::wasi::http::types::{
    self as http_types, Fields, FutureIncomingResponse, IncomingResponse, OutgoingBody,
};
use crate::bindings::wasi::io::poll::Pollable;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::in_place::append;
use crate::overlap::ready;
use crate::s3::address::Scheme;
use crate::s3::bucket::Http;
use crate::s3::config::Config;
use crate::s3::port::visible;
use crate::s3::request::{Method, SignedRequest};
use crate::s3::response::{Collector, End, Failure, Headers, Reading, Response};

/// Most bytes that are asked for in one read of a body.
const CHUNK_BYTES: u64 = 256 << 10;
const NS_PER_MS: u64 = 1_000_000;
const TIMED_OUT: &str = "no complete answer within IFMATCH_REQUEST_TIMEOUT_MS";

/// The way to one bucket.
pub struct WasiHttp {
    is_https: bool,
    authority: String,
    connect_timeout_ms: u32,
    request_timeout_ms: u32,
}

impl WasiHttp {
    /// The way that the settings describe.
    pub fn new(config: &Config) -> Self {
        Self {
            is_https: config.address.scheme == Scheme::Https,
            authority: config.address.authority.clone(),
            connect_timeout_ms: config.limits.connect_timeout_ms,
            request_timeout_ms: config.limits.request_timeout_ms,
        }
    }

    fn outgoing(&self, request: &SignedRequest<'_>) -> Result<OutgoingRequest, Failure> {
        let refused = |what: &str| Failure::Unsent(["the host refuses the ", what].concat());
        let mut entries = Vec::new();
        for (name, value) in &request.headers {
            entries.push((name.clone(), value.clone().into_bytes()));
        }
        let headers = Fields::from_list(&entries).map_err(|_| refused("request headers"))?;
        let outgoing = OutgoingRequest::new(headers);
        let method = match request.method {
            Method::Get => http_types::Method::Get,
            Method::Put => http_types::Method::Put,
            Method::Post => http_types::Method::Post,
        };
        let scheme = if self.is_https {
            http_types::Scheme::Https
        } else {
            http_types::Scheme::Http
        };
        outgoing
            .set_method(&method)
            .map_err(|()| refused("method"))?;
        outgoing
            .set_scheme(Some(&scheme))
            .map_err(|()| refused("scheme"))?;
        outgoing
            .set_authority(Some(&self.authority))
            .map_err(|()| refused("authority"))?;
        outgoing
            .set_path_with_query(Some(&request.target))
            .map_err(|()| refused("path"))?;
        Ok(outgoing)
    }

    fn options(&self) -> RequestOptions {
        // A host that supports none of these says so; the deadline of the whole
        // request is kept here in any case.
        let options = RequestOptions::new();
        let request_ns = u64::from(self.request_timeout_ms).saturating_mul(NS_PER_MS);
        let connect_ns = u64::from(self.connect_timeout_ms).saturating_mul(NS_PER_MS);
        let _ = options.set_connect_timeout(Some(connect_ns.min(request_ns)));
        let _ = options.set_first_byte_timeout(Some(request_ns));
        let _ = options.set_between_bytes_timeout(Some(request_ns));
        options
    }

    /// The failure that an error code stands for. Only codes that can arise in
    /// no other way than before the first byte was sent count as unsent.
    fn failure(&self, code: &ErrorCode) -> Failure {
        let unsent =
            |what: &str| Failure::Unsent(["cannot reach ", &self.authority, ": ", what].concat());
        let lost = |what: &str| Failure::Lost([&self.authority, ": ", what].concat());
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
                Failure::Denied(self.denied())
            }
            ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => unsent("its name does not resolve"),
            ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpUnroutable => unsent("no route"),
            ErrorCode::ConnectionRefused => unsent("connection refused"),
            ErrorCode::ConnectionTimeout => {
                unsent("no connection within IFMATCH_CONNECT_TIMEOUT_MS")
            }
            ErrorCode::ConnectionLimitReached => {
                unsent("the host's limit of connections is reached")
            }
            ErrorCode::TlsCertificateError => unsent("its certificate is not trusted"),
            ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => lost("TLS failed"),
            ErrorCode::ConnectionTerminated => lost("the connection was closed"),
            ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => lost(TIMED_OUT),
            ErrorCode::HttpResponseIncomplete => lost("the response is incomplete"),
            ErrorCode::InternalError(Some(text)) => lost(&visible(text, 200)),
            _ => lost("the connection or HTTP failed"),
        }
    }

    fn denied(&self) -> String {
        [
            "the host does not let this component reach ",
            &self.authority,
            " (wasmtime: -S http; Spin: allowed_outbound_hosts; wasmCloud: allowedHosts)",
        ]
        .concat()
    }
}

impl Http for WasiHttp {
    async fn exchange(
        &self,
        request: &SignedRequest<'_>,
        reading: Reading<'_>,
    ) -> Result<Response, Failure> {
        let timeout_ns = u64::from(self.request_timeout_ms).saturating_mul(NS_PER_MS);
        let deadline = Rc::new(monotonic_clock::subscribe_duration(timeout_ns));
        let outgoing = self.outgoing(request)?;
        let body = match request.body {
            Some(_) => Some(
                outgoing
                    .body()
                    .map_err(|()| Failure::Unsent("the host gives no request body".to_owned()))?,
            ),
            None => None,
        };
        // An error at this point is the host's own: it did not begin to send.
        let future =
            outgoing_handler::handle(outgoing, Some(self.options())).map_err(|code| match self
                .failure(&code)
            {
                Failure::Lost(why) => Failure::Unsent(why),
                other => other,
            })?;
        let answered = Rc::new(future.subscribe());
        // An upload that was broken off is kept until the reply has been read:
        // dropping it would close the connection.
        let _unfinished = match (body, request.body) {
            (Some(body), Some(bytes)) => send_body(body, bytes, &answered, &deadline).await?,
            _ => None,
        };
        if ready(&[&answered, &deadline]).await == 1 {
            return Err(Failure::Lost(TIMED_OUT.to_owned()));
        }
        let incoming = self.incoming(&future)?;
        Ok(receive(&incoming, reading, &deadline).await)
    }

    fn wall_ms(&self) -> u64 {
        let now = wall_clock::now();
        now.seconds
            .saturating_mul(1000)
            .saturating_add(u64::from(now.nanoseconds / 1_000_000))
    }

    async fn sleep(&self, ms: u32) {
        let over = Rc::new(monotonic_clock::subscribe_duration(
            u64::from(ms).saturating_mul(NS_PER_MS),
        ));
        ready(&[&over]).await;
    }
}

/// How far an upload came.
enum Sent {
    /// All of it was handed over.
    All,
    /// The reply, or the end of the connection, came first.
    Partly,
}

/// Sends the body. Gives it back if it was not sent to its end because the
/// answer came first: a store may refuse a request by its headers.
async fn send_body(
    body: OutgoingBody,
    bytes: &[u8],
    answered: &Rc<Pollable>,
    deadline: &Rc<Pollable>,
) -> Result<Option<OutgoingBody>, Failure> {
    let sent = {
        let stream = body
            .write()
            .map_err(|()| Failure::Lost("the host gives no stream for the body".to_owned()))?;
        write_all(&stream, bytes, answered, deadline).await?
    };
    match sent {
        Sent::All => {
            // If the host finds fault with the body, the reply tells.
            let _ = OutgoingBody::finish(body, None);
            Ok(None)
        }
        Sent::Partly => Ok(Some(body)),
    }
}

async fn write_all(
    stream: &OutputStream,
    bytes: &[u8],
    answered: &Rc<Pollable>,
    deadline: &Rc<Pollable>,
) -> Result<Sent, Failure> {
    let writable = Rc::new(stream.subscribe());
    let mut rest = bytes;
    let mut is_flushing = false;
    // Every turn writes, flushes once, ends, or waits for one of three events of
    // which one has a deadline.
    loop {
        // A stream that fails once it has everything may well have delivered it.
        let ended = if rest.is_empty() {
            Sent::All
        } else {
            Sent::Partly
        };
        let Ok(permitted) = stream.check_write() else {
            return Ok(ended);
        };
        if permitted == 0 {
            match ready(&[&writable, answered, deadline]).await {
                0 => continue,
                1 => return Ok(ended),
                _ => return Err(Failure::Lost(TIMED_OUT.to_owned())),
            }
        }
        if is_flushing {
            return Ok(Sent::All);
        }
        let size = usize::try_from(permitted)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (chunk, others) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        if !chunk.is_empty() && stream.write(chunk).is_err() {
            return Ok(Sent::Partly);
        }
        rest = others;
        if rest.is_empty() {
            is_flushing = true;
            if stream.flush().is_err() {
                return Ok(Sent::All);
            }
        }
    }
}

impl WasiHttp {
    fn incoming(&self, future: &FutureIncomingResponse) -> Result<IncomingResponse, Failure> {
        match future.get() {
            Some(Ok(Ok(incoming))) => Ok(incoming),
            Some(Ok(Err(code))) => Err(self.failure(&code)),
            Some(Err(())) | None => Err(Failure::Lost("the host lost the reply".to_owned())),
        }
    }
}

async fn receive(
    incoming: &IncomingResponse,
    reading: Reading<'_>,
    deadline: &Rc<Pollable>,
) -> Response {
    let status = incoming.status();
    let headers = {
        let fields = incoming.headers();
        Headers::collect(&|name| fields.get(name))
    };
    let mut collector = Collector::new(status, &headers, reading);
    let end = if collector.wanted() == 0 {
        End::Cut
    } else {
        read_body(incoming, &mut collector, deadline).await
    };
    collector.finish(status, headers, end)
}

async fn read_body(
    incoming: &IncomingResponse,
    collector: &mut Collector<'_>,
    deadline: &Rc<Pollable>,
) -> End {
    let broken = |why: &str| End::Broken(why.to_owned());
    let Ok(body) = incoming.consume() else {
        return broken("the host gives no body");
    };
    let Ok(stream) = body.stream() else {
        return broken("the host gives no stream of the body");
    };
    let readable = Rc::new(stream.subscribe());
    // Every turn takes bytes, of which there is a limit, or waits for one of
    // two events of which one has a deadline.
    loop {
        if collector.wanted() == 0 {
            // The collector knows how the body ended.
            return End::Cut;
        }
        let taken = collector.take(|most, bytes| append(&stream, most.min(CHUNK_BYTES), bytes));
        match taken {
            Ok(true) => {}
            Ok(false) => {
                if ready(&[&readable, deadline]).await == 1 {
                    return broken(TIMED_OUT);
                }
            }
            Err(StreamError::Closed) => return End::Complete,
            Err(StreamError::LastOperationFailed(_)) => return broken("the connection failed"),
        }
    }
}
