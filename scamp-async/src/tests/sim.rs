//! A runtime whose tasks, clock and streams do what the test says.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use scamp_proto::Instant;

use crate::runtime::Work;
use crate::{
    Client, ClientBuilder, Identity, Listener, Pin as CertificatePin, Reply, Runtime, Service,
    ServiceBuilder, ServiceHandle, Timer,
};

/// A runtime in one thread; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    now: Duration,
    tasks: BTreeMap<u64, Work>,
    next: u64,
    spawned: usize,
    ready: Arc<Mutex<VecDeque<u64>>>,
    alarms: BTreeMap<(Instant, u64), Waker>,
    door: VecDeque<io::Result<Half>>,
    door_waker: Option<Waker>,
    /// When connections were asked for.
    accepts: Vec<Duration>,
    /// Whether the test's own future was woken.
    main_woken: bool,
}

struct Ring {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap();
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

const MAIN: u64 = u64::MAX;

impl Sim {
    /// Runs tasks until none is ready, and returns how many polls that took.
    pub(crate) fn settle(&self) -> usize {
        let mut polls = 0;
        loop {
            let ready = self.0.lock().unwrap().ready.clone();
            let Some(id) = ready.lock().unwrap().pop_front() else {
                return polls;
            };
            self.0.lock().unwrap().main_woken |= id == MAIN;
            let Some(mut task) = self.0.lock().unwrap().tasks.remove(&id) else {
                continue;
            };
            let waker = Waker::from(Arc::new(Ring { id, ready }));
            polls += 1;
            assert!(polls < 1_000_000, "tasks spin");
            if task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
            {
                self.0.lock().unwrap().tasks.insert(id, task);
            }
        }
    }

    /// Polls once, and lets everybody else come to rest.
    pub(crate) fn poll<F: Future>(&self, work: Pin<&mut F>) -> Poll<F::Output> {
        let ready = self.0.lock().unwrap().ready.clone();
        let waker = Waker::from(Arc::new(Ring { id: MAIN, ready }));
        let poll = work.poll(&mut Context::from_waker(&waker));
        self.settle();
        poll
    }

    /// Runs a future to its end; time passes only when nobody has anything to do.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            self.0.lock().unwrap().main_woken = false;
            if let Poll::Ready(done) = self.poll(work.as_mut()) {
                return done;
            }
            if self.0.lock().unwrap().main_woken {
                continue;
            }
            assert!(self.pass_time(), "nobody has anything to wait for");
        }
    }

    /// Goes to the next alarm and rings it; `false` if there is none.
    pub(crate) fn pass_time(&self) -> bool {
        let waker = {
            let mut world = self.0.lock().unwrap();
            let Some(((at, _), waker)) = world.alarms.pop_first() else {
                return false;
            };
            world.now = world.now.max(at.since_epoch());
            waker
        };
        waker.wake();
        self.settle();
        true
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().now
    }

    /// How many tasks were ever spawned.
    pub(crate) fn spawned(&self) -> usize {
        self.0.lock().unwrap().spawned
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        self.0.lock().unwrap().tasks.len()
    }

    /// Drops every task, as a runtime that shuts down does.
    pub(crate) fn drop_tasks(&self) {
        let tasks = std::mem::take(&mut self.0.lock().unwrap().tasks);
        drop(tasks);
    }

    /// Puts a connection, or an error, before the listening socket.
    pub(crate) fn knock(&self, what: io::Result<Half>) {
        let mut world = self.0.lock().unwrap();
        world.door.push_back(what);
        let waker = world.door_waker.take();
        drop(world);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When connections were asked for.
    pub(crate) fn accepts(&self) -> Vec<Duration> {
        self.0.lock().unwrap().accepts.clone()
    }
}

impl Runtime for Sim {
    type Stream = Half;
    type Timer = Alarm;
    type Listener = Door;

    fn now(&self) -> Instant {
        Instant::from_epoch(self.elapsed())
    }

    fn timer(&self) -> Alarm {
        let mut world = self.0.lock().unwrap();
        world.next += 1;
        Alarm {
            sim: self.clone(),
            id: world.next,
            at: None,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut world = self.0.lock().unwrap();
        let id = world.next;
        world.next += 1;
        world.spawned += 1;
        world.tasks.insert(id, Box::pin(task));
        world.ready.lock().unwrap().push_back(id);
    }

    async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }

    async fn connect(&self, _: &str, _: u16) -> io::Result<Half> {
        std::future::pending().await
    }

    fn bind(&self, _: &str) -> io::Result<Door> {
        Ok(Door(self.clone()))
    }

    fn adopt(&self, _: std::net::TcpListener) -> io::Result<Door> {
        Ok(Door(self.clone()))
    }
}

pub(crate) struct Alarm {
    sim: Sim,
    id: u64,
    at: Option<Instant>,
}

impl Timer for Alarm {
    fn reset(&mut self, at: Option<Instant>) {
        let mut world = self.sim.0.lock().unwrap();
        if let Some(old) = self.at {
            world.alarms.remove(&(old, self.id));
        }
        self.at = at;
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let mut world = self.sim.0.lock().unwrap();
        if world.now >= at.since_epoch() {
            return Poll::Ready(());
        }
        world.alarms.insert((at, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.reset(None);
    }
}

pub(crate) struct Door(Sim);

impl Listener for Door {
    type Stream = Half;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Half, SocketAddr)>> {
        let mut world = self.0.0.lock().unwrap();
        let now = world.now;
        world.accepts.push(now);
        match world.door.pop_front() {
            Some(what) => Poll::Ready(what.map(|half| (half, ([10, 0, 0, 1], 1).into()))),
            None => {
                world.door_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }
}

/// What one call to a stream does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// At most so many octets pass.
    Octets(usize),
    /// It is not ready, and will be at once.
    NotYet,
    /// It fails with an error that means "again".
    Again(io::ErrorKind),
}

/// One end of a stream in memory.
pub(crate) struct Half {
    pipe: Arc<Mutex<[Way; 2]>>,
    side: usize,
    script: Vec<Step>,
    /// Where reading is in the script, and where writing is.
    at: [usize; 2],
}

/// One direction of a stream.
#[derive(Default)]
struct Way {
    octets: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    calls: Calls,
}

/// Calls made of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// Writes that moved something.
    pub(crate) writes: usize,
    /// All calls, of either end.
    pub(crate) all: usize,
    /// Octets written.
    pub(crate) octets: usize,
}

/// For a look at a stream from outside.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Mutex<[Way; 2]>>);

impl Meter {
    /// The calls of the direction that starts at the first end, and of the other.
    pub(crate) fn calls(&self) -> [Calls; 2] {
        let ways = self.0.lock().unwrap();
        [ways[0].calls, ways[1].calls]
    }
}

/// A stream in memory that holds `capacity` octets each way. Reading and writing at either end do
/// what the script says, over and over.
pub(crate) fn pipe(capacity: usize, script: &[Step]) -> (Half, Half, Meter) {
    let way = || Way {
        capacity,
        ..Way::default()
    };
    let ways = Arc::new(Mutex::new([way(), way()]));
    let half = |side| Half {
        pipe: ways.clone(),
        side,
        script: script.to_vec(),
        at: [side, 0],
    };
    (half(0), half(1), Meter(ways.clone()))
}

impl Half {
    fn step(&mut self, verb: usize, cx: &Context<'_>) -> Result<usize, Poll<io::Result<usize>>> {
        if self.script.is_empty() {
            return Ok(usize::MAX);
        }
        let step = self.script[self.at[verb] % self.script.len()];
        self.at[verb] += 1;
        match step {
            Step::Octets(most) => Ok(most),
            Step::NotYet => {
                cx.waker().wake_by_ref();
                Err(Poll::Pending)
            }
            Step::Again(kind) => Err(Poll::Ready(Err(kind.into()))),
        }
    }
}

impl AsyncRead for Half {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let step = self.step(0, cx);
        let way = &mut self.pipe.lock().unwrap()[1 - self.side];
        way.calls.all += 1;
        let most = match step {
            Ok(most) => most.min(room.len()),
            Err(poll) => return poll,
        };
        if way.octets.is_empty() {
            if way.closed {
                return Poll::Ready(Ok(0));
            }
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = most.min(way.octets.len());
        for (slot, octet) in room.iter_mut().zip(way.octets.drain(..count)) {
            *slot = octet;
        }
        if let Some(writer) = way.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = self.step(1, cx);
        let way = &mut self.pipe.lock().unwrap()[self.side];
        way.calls.all += 1;
        let most = match step {
            Ok(most) => most,
            Err(poll) => return poll,
        };
        if way.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = way.capacity - way.octets.len();
        if room == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = way.octets.len();
        let octets = pieces.iter().flat_map(|piece| piece.iter().copied());
        way.octets.extend(octets.take(most.min(room)));
        let count = way.octets.len() - before;
        way.calls.writes += 1;
        way.calls.octets += count;
        if let Some(reader) = way.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.lock().unwrap()[self.side].close();
        Poll::Ready(Ok(()))
    }
}

impl Way {
    fn close(&mut self) {
        self.closed = true;
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        for way in self.pipe.lock().unwrap().iter_mut() {
            way.close();
        }
    }
}

/// A client and a service in one runtime.
pub(crate) struct Pair {
    pub(crate) sim: Sim,
    pub(crate) client: Client<Sim>,
    pub(crate) service: ServiceHandle<Sim>,
    pub(crate) meter: Meter,
}

impl Pair {
    /// Over TLS or not, on such a stream.
    pub(crate) fn new(tls: bool, capacity: usize, script: &[Step]) -> Self {
        Self::with(tls, capacity, script, |client| client)
    }

    pub(crate) fn with(
        tls: bool,
        capacity: usize,
        script: &[Step],
        settings: impl FnOnce(ClientBuilder<Sim>) -> ClientBuilder<Sim>,
    ) -> Self {
        let sim = Sim::default();
        let identity = tls.then(identity);
        let pin = identity
            .as_ref()
            .map(|own| CertificatePin::Fingerprint(own.fingerprint()));
        let service = actions(
            ServiceBuilder::new(sim.clone(), identity).default_access(crate::Access::Allow),
        )
        .detached()
        .unwrap();
        let (ours, theirs, meter) = pipe(capacity, script);
        assert!(service.serve(theirs, SocketAddr::from(([10, 0, 0, 1], 1))));
        let builder = settings(ClientBuilder::new(sim.clone(), pin));
        let client = sim.block_on(builder.over("memory", ours)).unwrap();
        sim.settle();
        Self {
            sim,
            client,
            service,
            meter,
        }
    }

    /// whether neither end keeps anything.
    pub(crate) fn is_empty(&self) -> bool {
        let ends = self
            .service
            .members()
            .into_iter()
            .chain([self.client.handle.shared.clone()]);
        ends.into_iter()
            .all(|shared| shared.look(|state| state.is_empty()))
            && self.service.stats().requests_active == 0
    }
}

pub(crate) fn identity() -> Identity {
    let certificate = include_str!("../../tests/data/greeter.crt");
    Identity::from_pem(certificate, include_str!("../../tests/data/greeter.key")).unwrap()
}

/// What the tests call.
pub(crate) fn actions(builder: ServiceBuilder<Sim>) -> ServiceBuilder<Sim> {
    let add = || {
        builder
            .action("Echo.whole", |request| async move {
                Ok(Reply::new(request.bytes().clone()))
            })?
            .streaming_action("Echo.stream", |mut request| async move {
                Ok(Reply::stream(|mut out| async move {
                    while let Some(piece) = request.body.chunk().await? {
                        out.write_bytes(piece).await?;
                    }
                    Ok(out.finish().await?)
                }))
            })?
            .action("Slow.never", |request| async move {
                request.cancelled().await;
                Ok(Reply::new(""))
            })?
            .action("Slow.yields", |request| async move {
                for _ in 0..3 {
                    yield_now().await;
                }
                Ok(Reply::new(request.bytes().clone()))
            })?
            .action("Bad.panic", |_| async move { panic!("as asked") })
    };
    let builder: Result<_, crate::ActionError> = add();
    builder.unwrap().on_notify(|request| async move {
        let _ = request.body.collect(1 << 20).await;
    })
}

/// Lets others go first, once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A service that listens.
pub(crate) fn listening(sim: &Sim) -> Service<Sim> {
    actions(ServiceBuilder::new(sim.clone(), None).default_access(crate::Access::Allow))
        .bind("anywhere")
        .unwrap()
}
