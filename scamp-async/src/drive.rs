//! The task of one connection: it moves bytes, minds the clock, and starts handlers.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use futures_io::{AsyncRead, AsyncWrite};
use scamp_proto::error::Loss;
use scamp_proto::{Duplex, End, Instant, Outbox, limits};

use crate::registry::Place;
use crate::runtime::{Runtime, Timer};
use crate::shared::{Shared, Task};
use crate::work;

/// Moves bytes between one machine and one stream until both are done.
///
/// ```text
/// Moving ──machine is drained──> Closing ──stream closed, or 1 s──> over
/// ```
///
/// Each turn writes once, reads at most 16 KiB, and starts the handlers that this led to
/// (performance 3, rules 1, 2, 4, 11). Writing that is blocked never stops reading (rule 6).
pub(crate) struct Driver<R: Runtime, S> {
    runtime: R,
    shared: Arc<Shared>,
    stream: S,
    timer: R::Timer,
    /// When the timer goes off. It may be too early, never too late.
    armed: Option<Instant>,
    outbox: Outbox,
    /// Whether the stream has ended, so that nothing more can be read.
    input_over: bool,
    /// Until when the last octets may take to leave, once the machine is drained.
    give_up: Option<Instant>,
    tasks: VecDeque<Task>,
    place: Option<Place>,
}

/// What a turn came to.
enum Turn {
    /// Something moved; there may be more.
    Busy,
    /// Nothing moved.
    Waits,
    /// Nothing will move any more.
    Over,
}

/// What the machine wants.
struct Wants {
    read: bool,
    drained: bool,
}

impl<R, S> Driver<R, S>
where
    R: Runtime,
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(runtime: R, shared: Arc<Shared>, stream: S, place: Option<Place>) -> Self {
        Self {
            timer: runtime.timer(),
            runtime,
            shared,
            stream,
            armed: None,
            outbox: Outbox::default(),
            input_over: false,
            give_up: None,
            tasks: VecDeque::new(),
            place,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if !self.outbox.has_remaining() {
            self.outbox = OUTBOX.take();
        }
        let turn = self.take_turn(cx);
        if !self.outbox.has_remaining() {
            OUTBOX.set(std::mem::take(&mut self.outbox));
        }
        turn
    }

    fn take_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let outbox = &mut self.outbox;
        let give_up = &mut self.give_up;
        // Whether there may be more to write once this is written.
        let mut more = outbox.has_remaining();
        let wants = self.shared.with(|state, now| {
            state.begin_turn();
            state.expire(now);
            // Asked only when all has gone: what is not asked for counts as not sent.
            while !more && state.machine.poll_transmit(now, outbox).is_some() {
                more = outbox.remaining() >= limits::TURN;
            }
            // A peer that takes nothing must not keep an ended connection: the machine has no more
            // to say that is worth more than a moment (HD-31).
            let ended =
                state.machine.is_drained() || state.machine.inner().connection().is_closed();
            if ended && give_up.is_none() {
                *give_up = Some(now + limits::CLOSE_LINGER);
            }
            if give_up.is_some_and(|at| at <= now) && !outbox.is_empty() {
                outbox.clear();
                let end = End::io("the peer takes nothing more");
                state.machine.receive_end(now, end);
            }
            Wants {
                read: state.machine.wants_read(),
                drained: state.machine.is_drained(),
            }
        });
        let wrote = self.write(cx);
        if wants.drained {
            return match (wrote, self.outbox.has_remaining()) {
                (_, false) => Turn::Over,
                (true, true) => Turn::Busy,
                (false, true) => Turn::Waits,
            };
        }
        let mut moved = wrote && (more || self.input_over || self.outbox.has_remaining());
        if wants.read && !self.input_over {
            moved |= self.read(cx);
        }
        moved |= self.start_tasks();
        if moved { Turn::Busy } else { Turn::Waits }
    }

    /// Writes what there is, and returns whether any of it went.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.chunks_vectored(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.lose("the transport takes nothing more".into()),
                Poll::Ready(Ok(count)) => self.outbox.advance(count),
                Poll::Ready(Err(error)) if is_passing(&error) => return true,
                Poll::Ready(Err(error)) => self.lose(error.to_string()),
            }
            moved = true;
        }
        moved
    }

    /// The transport is gone: what was to leave is lost with it (F-8).
    fn lose(&mut self, text: String) {
        self.outbox.clear();
        self.input_over = true;
        self.shared
            .with(|state, now| state.machine.receive_end(now, End::io(text)));
    }

    /// Reads once, and returns whether that brought anything.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut inbox = INBOX.take();
        if inbox.is_empty() {
            inbox = vec![0; limits::TURN];
        }
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut inbox);
        let moved = match result {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.input_over = true;
                self.shared
                    .with(|state, now| state.machine.receive_end(now, End::Eof));
                true
            }
            Poll::Ready(Ok(count)) => {
                let octets = inbox.get(..count).unwrap_or_default();
                self.shared
                    .with(|state, now| state.machine.receive(now, octets));
                true
            }
            Poll::Ready(Err(error)) if is_passing(&error) => true,
            Poll::Ready(Err(error)) => {
                self.lose(error.to_string());
                true
            }
        };
        INBOX.set(inbox);
        moved
    }

    /// Starts what requests and notifications ask for, and returns whether there was anything.
    fn start_tasks(&mut self) -> bool {
        if self.tasks.is_empty() {
            self.shared
                .look(|state| std::mem::swap(&mut self.tasks, &mut state.tasks));
        }
        let any = !self.tasks.is_empty();
        while let Some(task) = self.tasks.pop_front() {
            work::start(&self.runtime, &self.shared, task);
        }
        any
    }

    fn report(&mut self) {
        if let Some(place) = &mut self.place {
            place.report(&self.shared);
        }
    }

    /// Sets the alarm and goes to rest; `false` if there is something to do after all.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        self.report();
        let (timer, armed, give_up) = (&mut self.timer, &mut self.armed, self.give_up);
        let next = self.shared.look(|state| state.deadline());
        let next = [next, give_up].into_iter().flatten().min();
        // An alarm that is too early costs one look at the clock; setting it anew costs more.
        if next.is_some_and(|next| armed.is_none_or(|at| next < at)) {
            timer.reset(next);
            *armed = next;
        }
        if armed.is_some() && timer.poll_alarm(cx).is_ready() {
            *armed = None;
            return false;
        }
        self.shared.look(|state| state.rest(*armed, cx))
    }
}

impl<R, S> Future for Driver<R, S>
where
    R: Runtime,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..TURNS {
            match this.turn(cx) {
                Turn::Busy => {}
                Turn::Waits if this.rest(cx) => return Poll::Pending,
                Turn::Waits => {}
                Turn::Over => match Pin::new(&mut this.stream).poll_close(cx) {
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if this.is_time_up() => return Poll::Ready(()),
                    Poll::Pending if this.rest(cx) => return Poll::Pending,
                    Poll::Pending => {}
                },
            }
        }
        // Others have their turn (HD-21).
        this.report();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime, S> Driver<R, S> {
    fn is_time_up(&self) -> bool {
        self.give_up.is_some_and(|at| at <= self.runtime.now())
    }
}

impl<R: Runtime, S> Drop for Driver<R, S> {
    /// Whoever still waits is told, should the runtime drop the task before its end.
    fn drop(&mut self) {
        self.shared
            .cut(Loss::Io("the connection's task was dropped".into()));
        let waiting = self.shared.look(|state| std::mem::take(&mut state.tasks));
        for task in self.tasks.drain(..).chain(waiting) {
            work::drop_task(&self.shared, task);
        }
    }
}

/// Whether an error means no more than "again".
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

thread_local! {
    /// Where a turn reads to, so that an idle connection owns no buffer (performance 3, rule 12).
    static INBOX: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// What a turn writes from; a connection keeps it while its transport takes no more.
    static OUTBOX: Cell<Outbox> = Cell::new(Outbox::default());
}

/// Turns before other tasks run: 256 KiB at 16 KiB each (HD-21).
const TURNS: usize = 16;

/// Pieces written at a time.
const SLICES: usize = 32;
