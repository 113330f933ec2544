//! What lies between the components and their store.

use crate::clock::{GuestClock, UnixMs, WorldClock};
use crate::faults::{Clocks, Decision, Fault, Loss, Moment, Pause, Plan};
use crate::gate::{Closed, Gate};
use crate::pool::Pool;
use crate::store::{Facts, Request, Response, S3Error, SharedStore};
use crate::tape::{self, Tape};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long a host waits for a reply to which the guest sets no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of one piece of a reply's body.
const FRAME_BYTES: usize = 64 << 10;
/// Sent requests kept in full. Older ones are forgotten.
const LOG_LIMIT: usize = 20_000;

/// One request that left a component.
#[derive(Clone, Debug)]
pub struct Sent {
    /// From 1, in the order in which they left.
    pub number: u64,
    /// When, since the world began.
    pub at: Duration,
    /// Who sent it.
    pub instance: String,
    /// To which host and port.
    pub authority: String,
    /// What it was.
    pub request: Facts,
    /// What went wrong with it.
    pub fault: Option<Fault>,
    /// What the sender saw: a status, or an error. Nothing if it has not seen
    /// anything yet, or gave up waiting.
    pub outcome: Option<String>,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            kind,
            key,
            condition,
            ..
        } = &self.request;
        let (number, at, instance) = (self.number, self.at.as_secs_f64(), &self.instance);
        let outcome = self.outcome.as_deref().unwrap_or("nothing");
        write!(
            f,
            "#{number:<4} {at:>10.3}s {instance:<8} {kind:<7} {key}{condition} -> {outcome}"
        )?;
        match &self.fault {
            Some(fault) => write!(f, "  [{fault}]"),
            None => Ok(()),
        }
    }
}

/// Who sends, and what can be done to them.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The instance's name.
    pub instance: String,
    /// Makes it stand still.
    pub gate: Gate,
    /// What it believes about time.
    pub clock: GuestClock,
    /// Where everything is noted that it is given, if it may be copied.
    pub tape: Option<Arc<Tape>>,
}

/// The network of one world: to the store in this process, with faults, or over
/// real sockets to wherever the request says.
#[derive(Debug)]
pub struct Wire {
    store: Option<SharedStore>,
    /// Connections that are kept, if they are.
    pool: Option<Pool>,
    clock: WorldClock,
    plan: Mutex<Plan>,
    log: Mutex<Log>,
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct Log {
    sent: VecDeque<Sent>,
    last: u64,
}

type Reply = Result<http::Response<WasiBody>, Error>;

/// What comes back over the simulated network.
pub(crate) type Answer = Result<http::Response<Frames>, Failure>;

/// How a connection of the simulated network fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused,
    Terminated,
    Protocol,
    Incomplete,
    TimedOut,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused => Self::ConnectionRefused,
            Failure::Terminated => Self::ConnectionTerminated,
            Failure::Protocol => Self::HttpProtocolError,
            Failure::Incomplete => Self::HttpResponseIncomplete,
            Failure::TimedOut => Self::ConnectionReadTimeout,
        }
    }
}

fn boxed(answer: Answer) -> Reply {
    match answer {
        Ok(response) => Ok(response.map(BodyExt::boxed_unsync)),
        Err(failure) => Err(failure.into()),
    }
}

impl Wire {
    /// A network that leads to one store, whatever host a request names.
    pub fn to_store(store: SharedStore, clock: WorldClock, seed: u64) -> Self {
        Self {
            store: Some(store),
            ..Self::to_sockets(clock, seed)
        }
    }

    /// The machine's own network. Nothing goes wrong on purpose there.
    pub fn to_sockets(clock: WorldClock, seed: u64) -> Self {
        Self {
            store: None,
            pool: None,
            clock,
            plan: Mutex::new(Plan::new(seed)),
            log: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    /// The same with connections that are kept from request to request. The usual host
    /// of `wasi:http` makes a new one for each.
    pub fn keeping_connections(self) -> Self {
        Self {
            pool: Some(Pool::default()),
            ..self
        }
    }

    /// What goes wrong.
    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.log().sent.iter().cloned().collect()
    }

    /// Requests that somebody sent and that have not reached the store yet, or
    /// not for the last time.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_sent(
        &self,
        sender: &Sender,
        authority: &str,
        request: Facts,
        fault: Option<Fault>,
    ) -> u64 {
        let mut log = self.log();
        log.last += 1;
        let number = log.last;
        if log.sent.len() == LOG_LIMIT {
            log.sent.pop_front();
        }
        log.sent.push_back(Sent {
            number,
            at: self.clock.elapsed(),
            instance: sender.instance.clone(),
            authority: authority.to_owned(),
            request,
            fault,
            outcome: None,
        });
        number
    }

    fn note_outcome(&self, number: u64, reply: &Reply) {
        let outcome = match reply {
            Ok(response) => response.status().as_u16().to_string(),
            Err(error) => error.to_string(),
        };
        let mut log = self.log();
        if let Some(sent) = log.sent.iter_mut().rev().find(|sent| sent.number == number) {
            sent.outcome = Some(outcome);
        }
    }

    /// Sends a request as an instance does, and waits for the reply.
    pub async fn send(
        self: Arc<Self>,
        sender: Sender,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Reply {
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.to_string())
            .unwrap_or_default();
        let Some(store) = self.store.clone() else {
            let facts = Facts::of(&request, &[], None);
            let number = self.note_sent(&sender, &authority, facts, None);
            let reply = match &self.pool {
                Some(pool) => pool.send(request).await,
                None => {
                    let sent = wasmtime_wasi_http::default_send_request(request, Some(options));
                    sent.await.map(|(response, connection)| {
                        // Drives the connection while the body is read.
                        tokio::spawn(connection);
                        response.map(BodyExt::boxed_unsync)
                    })
                }
            };
            self.note_outcome(number, &reply);
            return reply;
        };
        let (parts, body) = request.into_parts();
        // A guest that gives up before its body is complete has sent nothing that
        // a store would apply.
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(parts, body);
        let facts = store.facts(&request);
        let place = match sender
            .tape
            .as_ref()
            .map(|tape| tape.send(format!("{} {}", request.method(), request.uri())))
        {
            None => None,
            Some(tape::Sent::Noted(place)) => Some(place),
            Some(tape::Sent::Before(Some(answer))) => return boxed(answer),
            Some(tape::Sent::Before(None)) => return std::future::pending().await,
        };
        let decision = self.plan().decide(&sender.instance, &facts);
        let number = self.note_sent(&sender, &authority, facts.clone(), decision.fault.clone());
        let (answer, answered) = oneshot::channel();
        let journey = Journey {
            wire: self.clone(),
            store,
            sender: sender.clone(),
            request,
            facts,
            decision,
            sent_at: self.clock.now_ms(),
        };
        // On its own, so that a caller who gives up cannot recall what it sent.
        let under_way = UnderWay::new(self.clone());
        tokio::spawn(async move {
            journey.run(answer).await;
            drop(under_way);
        });
        let answer = wait(answered, &sender.gate, options.first_byte_timeout).await;
        if let (Some(tape), Some(place)) = (&sender.tape, place) {
            tape.answered(place, &answer);
        }
        let reply = boxed(answer);
        self.note_outcome(number, &reply);
        reply
    }
}

/// Counts a request as long as it is under way.
struct UnderWay(Arc<Wire>);

impl UnderWay {
    fn new(wire: Arc<Wire>) -> Self {
        wire.under_way.fetch_add(1, Ordering::SeqCst);
        Self(wire)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for a reply as the host does. Its time-out stands still in a pause, like
/// the host itself.
async fn wait(answered: oneshot::Receiver<Answer>, gate: &Gate, limit: Option<Duration>) -> Answer {
    let mut answered = std::pin::pin!(async {
        match answered.await {
            Ok(reply) => reply,
            // Lost on the way: silence.
            Err(_) => std::future::pending().await,
        }
    });
    let mut limit = limit.unwrap_or(DEFAULT_TIMEOUT);
    loop {
        match tokio::time::timeout(limit, answered.as_mut()).await {
            Ok(reply) => return reply,
            Err(_) if gate.is_closed() => {
                gate.open().await;
                // What has arrived in the meantime is seen first.
                limit = Duration::from_millis(1);
            }
            Err(_) => return Err(Failure::TimedOut),
        }
    }
}

/// One request on its way to the store and back.
struct Journey {
    wire: Arc<Wire>,
    store: SharedStore,
    sender: Sender,
    request: Request,
    facts: Facts,
    decision: Decision,
    sent_at: UnixMs,
}

/// An instance that stands still. It goes on when this is dropped.
struct Paused {
    clock: Option<GuestClock>,
    _closed: Closed,
}

impl Paused {
    fn begin(sender: &Sender, clocks: Clocks) -> Self {
        let clock = (clocks == Clocks::Stop).then(|| sender.clock.clone());
        if let Some(clock) = &clock {
            clock.stop();
        }
        Self {
            clock,
            _closed: sender.gate.close(),
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.resume();
        }
    }
}

impl Journey {
    async fn run(self, answer: oneshot::Sender<Answer>) {
        // Whoever has stopped waiting does not want to know.
        let say = |reply: Answer| drop(answer.send(reply));
        let mut paused = None;
        match self.decision.fault.clone() {
            Some(Fault::Refuse) => return say(Err(Failure::Refused)),
            Some(Fault::LoseRequest(Loss::Silence)) => return,
            Some(Fault::LoseRequest(Loss::Reset)) => {
                self.travel(self.decision.request_delay).await;
                return say(Err(self.reset()));
            }
            Some(Fault::Late(after)) => {
                self.travel(after).await;
                self.deliver_late();
                return;
            }
            Some(Fault::HoldRequest(time)) => self.travel(time).await,
            Some(Fault::Pause(Pause {
                moment: Moment::BeforeSending,
                length,
                clocks,
            })) => {
                paused = Some(Paused::begin(&self.sender, clocks));
                self.travel(length).await;
            }
            _ => {}
        }
        self.travel(self.decision.request_delay).await;
        let response = self.arrive();
        match &self.decision.fault {
            Some(Fault::HoldReply(time)) => self.travel(*time).await,
            Some(Fault::Pause(Pause {
                moment: Moment::AfterApplying,
                length,
                clocks,
            })) => {
                paused = Some(Paused::begin(&self.sender, *clocks));
                self.travel(*length).await;
            }
            _ => {}
        }
        self.travel(self.decision.reply_delay).await;
        match &self.decision.fault {
            Some(Fault::LoseReply(Loss::Silence)) => {}
            Some(Fault::LoseReply(Loss::Reset)) => say(Err(self.reset())),
            _ => say(Ok(self.reply(response))),
        }
        drop(paused);
        if let Some(Fault::Duplicate(after)) = &self.decision.fault {
            self.travel(*after).await;
            self.deliver_late();
        }
    }

    async fn travel(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// What the store, or whoever stands before it, answers.
    fn arrive(&self) -> Response {
        let refuse = |error| {
            self.store
                .refuse(&self.request, error, self.wire.clock.now_ms())
        };
        if self
            .wire
            .plan()
            .write_comes_too_soon(&self.facts, self.wire.clock.elapsed())
        {
            return refuse(S3Error::slow_down(StatusCode::TOO_MANY_REQUESTS));
        }
        match &self.decision.fault {
            Some(Fault::Conflict) => refuse(S3Error::conditional_conflict()),
            Some(Fault::SlowDown(429)) => refuse(S3Error::slow_down(StatusCode::TOO_MANY_REQUESTS)),
            Some(Fault::SlowDown(_)) => refuse(S3Error::slow_down(StatusCode::SERVICE_UNAVAILABLE)),
            Some(Fault::FailBefore(status)) => refuse(failure(*status)),
            Some(Fault::FailAfter(status)) => {
                self.deliver();
                refuse(failure(*status))
            }
            Some(Fault::ExpireCredentials) => {
                // In memory only: nothing is kept of it that could fail.
                let _ = self
                    .store
                    .tamper(|store| store.expire_credentials_of(&self.request));
                self.deliver()
            }
            _ => self.deliver(),
        }
    }

    /// A front end took the request when it was sent, and kept it until now.
    fn deliver_late(&self) {
        let now = self.wire.clock.now_ms();
        self.store.handle_admitted(&self.request, self.sent_at, now);
    }

    fn deliver(&self) -> Response {
        let now = self.wire.clock.now_ms();
        match &self.decision.fault {
            Some(Fault::SkewStoreMs(by)) => self.store.handle(&self.request, now.offset_ms(*by)),
            Some(Fault::ShortPage(keys)) => self.store.handle_with_pages(&self.request, now, *keys),
            _ => self.store.handle(&self.request, now),
        }
    }

    /// How a reset looks depends on the moment, and to the guest on the host.
    fn reset(&self) -> Failure {
        match self.decision.dice % 3 {
            0 => Failure::Terminated,
            1 => Failure::Protocol,
            _ => Failure::Incomplete,
        }
    }

    fn reply(&self, response: Response) -> http::Response<Frames> {
        let (mut parts, body) = response.into_parts();
        if self.decision.fault == Some(Fault::OmitDate) {
            parts.headers.remove(header::DATE);
        }
        let body = match &self.decision.fault {
            Some(Fault::TruncateReply) => Frames::of(body.slice(..body.len() / 2)),
            Some(Fault::BreakReply) => {
                Frames::of(body.slice(..body.len() / 2)).then_fail(self.reset())
            }
            Some(Fault::CorruptReply) => Frames::of(flip_one_bit(&body, self.decision.dice)),
            _ => Frames::of(body),
        };
        http::Response::from_parts(parts, body)
    }
}

fn failure(status: u16) -> S3Error {
    match status {
        503 => S3Error::unavailable(),
        _ => S3Error::internal(),
    }
}

fn flip_one_bit(body: &Bytes, dice: u64) -> Bytes {
    let mut bytes = body.to_vec();
    let bits = bytes.len() as u64 * 8;
    if bits > 0 {
        let bit = dice % bits;
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
    Bytes::from(bytes)
}

/// A body of known pieces.
#[derive(Clone, Debug)]
pub(crate) struct Frames(VecDeque<Result<Bytes, Failure>>);

impl Frames {
    fn of(mut body: Bytes) -> Self {
        let mut frames = VecDeque::new();
        while !body.is_empty() {
            frames.push_back(Ok(body.split_to(body.len().min(FRAME_BYTES))));
        }
        Self(frames)
    }

    fn then_fail(mut self, failure: Failure) -> Self {
        self.0.push_back(Err(failure));
        self
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        Poll::Ready(
            self.0
                .pop_front()
                .map(|frame| frame.map(http_body::Frame::data).map_err(Error::from)),
        )
    }
}

/// Hands a component's requests to the wire.
pub struct Hooks {
    /// The network.
    pub wire: Arc<Wire>,
    /// The component's instance.
    pub sender: Sender,
}

/// What `wasi:http` calls the progress of a request body, or of a connection.
type Progress = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Progress,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Progress), Error>> + Send> {
        let (wire, sender) = (self.wire.clone(), self.sender.clone());
        Box::new(async move {
            let response = wire
                .send(sender, request, options.unwrap_or_default())
                .await?;
            let connection: Progress = Box::new(async { Ok(()) });
            Ok((response, connection))
        })
    }
}
