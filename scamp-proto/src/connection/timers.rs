//! Every deadline of a connection that is not a pause.

use core::time::Duration;

use super::{Config, Connection, Heartbeat};
use crate::Instant;
use crate::error::{BodyError, CloseReason, ViolationKind};
use crate::limits::{HEARTBEAT, WRITE_PROGRESS};
use crate::ordered::Ordered;
use crate::wire::MsgNo;

/// Timers that belong to one message. They may go off early; the message then has the last word.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Alarm {
    /// An incoming message brings nothing (HD-30).
    Silence(MsgNo),
    /// An outgoing message's window stays shut (HD-31).
    Stall(MsgNo),
}

#[derive(Debug)]
pub(super) struct Timers {
    alarms: Ordered<(Instant, Alarm), ()>,
    /// When the last octet passed or the connection became idle.
    quiet_since: Instant,
    idle_timeout: Duration,
    /// Whether the layer above has something in progress.
    pub(super) held: bool,
    busy: bool,
    packet_since: Instant,
    packet_timeout: Duration,
    /// Since when output waits for the transport, and how much of it was taken since.
    output: Option<(Instant, u64)>,
    write_timeout: Duration,
    heartbeat: Option<Duration>,
    auto_heartbeat: bool,
    next_ping: Instant,
    ping_open: bool,
}

impl Timers {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let heartbeat = match config.heartbeat {
            Heartbeat::On(interval) => Some(interval),
            Heartbeat::Off | Heartbeat::Auto => None,
        };
        Self {
            alarms: Ordered::new(),
            quiet_since: now,
            idle_timeout: config.idle_timeout,
            held: false,
            busy: false,
            packet_since: now,
            packet_timeout: config.packet_timeout,
            output: None,
            write_timeout: config.write_timeout,
            heartbeat,
            auto_heartbeat: config.heartbeat == Heartbeat::Auto,
            next_ping: now + heartbeat.unwrap_or_default(),
            ping_open: false,
        }
    }

    pub(super) fn arm(&mut self, at: Instant, alarm: Alarm) {
        self.alarms.insert((at, alarm), ());
    }

    pub(super) fn note_octets(&mut self, now: Instant) {
        self.quiet_since = now;
    }

    /// A packet has begun.
    pub(super) fn note_packet(&mut self, now: Instant) {
        self.packet_since = now;
    }

    /// A pause of ours does not count as the peer's slowness.
    pub(super) fn extend_packet(&mut self, pause: Duration) {
        self.packet_since = self.packet_since + pause;
    }

    /// Returns whether the connection has become idle.
    pub(super) fn note_busy(&mut self, now: Instant, busy: bool) -> bool {
        let idle = self.busy && !busy;
        if idle {
            self.quiet_since = now;
        }
        self.busy = busy;
        idle
    }

    pub(super) fn note_output(&mut self, now: Instant, pending: bool) {
        match pending {
            false => self.output = None,
            true => self.output = self.output.or(Some((now, 0))),
        }
    }

    pub(super) fn note_taken(&mut self, count: u64) {
        if let Some((_, taken)) = &mut self.output {
            *taken = taken.saturating_add(count);
        }
    }

    /// The peer has sent a PING, so it will understand ours (S-27).
    pub(super) fn note_ping(&mut self, now: Instant) {
        if self.auto_heartbeat && self.heartbeat.is_none() {
            self.heartbeat = Some(HEARTBEAT);
            self.next_ping = now + HEARTBEAT;
        }
    }

    /// Sends PING from now on.
    pub(super) fn start_heartbeat(&mut self, now: Instant, interval: Duration) {
        self.heartbeat = Some(interval);
        self.next_ping = now + interval;
        self.ping_open = false;
    }

    /// Sends PING no more, unless the settings ask for it.
    pub(super) fn stop_heartbeat(&mut self) {
        self.heartbeat = None;
        self.ping_open = false;
    }

    /// Whether a PONG was due.
    pub(super) fn take_pong(&mut self) -> bool {
        core::mem::take(&mut self.ping_open)
    }

    pub(super) fn clear(&mut self) {
        drop(self.alarms.take_all());
        self.output = None;
        self.heartbeat = None;
    }

    pub(super) fn next(&self, in_packet: bool) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| at);
        let idle = (!self.busy).then(|| self.quiet_since + self.idle_timeout);
        let packet = in_packet.then(|| self.packet_since + self.packet_timeout);
        let write = self.output.map(|(since, _)| since + self.write_timeout);
        let ping = self.heartbeat.map(|_| self.next_ping);
        [alarm, idle, packet, write, ping]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Connection {
    /// Acts on every deadline that has passed.
    pub(super) fn expire(&mut self) {
        let now = self.clock;
        let in_packet = self.inbound.is_in_packet() && !self.pause.is_paused();
        if in_packet && self.timers.packet_since + self.timers.packet_timeout <= now {
            return self.violated(ViolationKind::PacketTimeout);
        }
        if let Some((since, taken)) = self.timers.output {
            if since + self.timers.write_timeout <= now {
                if taken < WRITE_PROGRESS {
                    let reason = CloseReason::PeerStalled(self.timers.write_timeout);
                    return self.end(reason, false);
                }
                self.timers.output = Some((now, 0));
            }
        }
        if let Some(interval) = self.timers.heartbeat {
            if self.timers.next_ping <= now {
                if self.timers.ping_open {
                    return self.end(CloseReason::HeartbeatExpired(interval), false);
                }
                self.timers.ping_open = true;
                self.timers.next_ping = now + interval;
                self.queues.ask_ping();
            }
        }
        self.expire_pause();
        while let Some((at, alarm)) = self.timers.alarms.first() {
            if at > now || self.is_closed() {
                break;
            }
            self.timers.alarms.pop_first();
            match alarm {
                Alarm::Silence(msgno) => self.expire_silence(msgno),
                Alarm::Stall(msgno) => self.expire_stall(msgno),
            }
        }
        if !self.is_busy() && self.timers.quiet_since + self.timers.idle_timeout <= now {
            self.close_for(CloseReason::Idle(self.timers.idle_timeout));
        }
    }

    /// Arms a timer of a message, and forgets those of messages that have gone if they are many.
    pub(super) fn arm(&mut self, at: Instant, alarm: Alarm) {
        self.timers.arm(at, alarm);
        let open = self.incoming.len() + self.outgoing.len();
        if self.timers.alarms.len() > 2 * open + ALARMS {
            let (incoming, outgoing) = (&self.incoming, &self.outgoing);
            self.timers.alarms.retain(|(_, alarm)| match alarm {
                Alarm::Silence(msgno) => incoming.get(*msgno).is_some(),
                Alarm::Stall(msgno) => outgoing.get(*msgno).is_some(),
            });
        }
    }

    fn expire_silence(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        let Some(limit) = message.idle_limit else {
            return;
        };
        message.idle_armed = false;
        if message.ended || message.mode == super::Mode::Discard {
            return;
        }
        // Octets we refuse to read are not the peer's silence.
        if self.pause.is_paused() {
            message.last_octet = self.clock;
        }
        let due = message.last_octet + limit;
        if due > self.clock {
            message.idle_armed = true;
            self.arm(due, Alarm::Silence(msgno));
        } else {
            self.discard_message(msgno, Some(BodyError::Timeout));
        }
    }

    fn expire_stall(&mut self, msgno: MsgNo) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        message.stall_armed = false;
        let Some(since) = message.blocked_since else {
            return;
        };
        let due = since + self.config.send_stall;
        if due > self.clock {
            message.stall_armed = true;
            self.arm(due, Alarm::Stall(msgno));
        } else {
            self.abort_message(msgno, "receiver stalled");
            self.tell_lost(msgno);
        }
    }

    /// Sends PING at this interval from now on, whatever the settings say; `None` stops (S-27).
    pub fn set_heartbeat(&mut self, now: Instant, interval: Option<Duration>) {
        self.tick(now);
        match interval {
            Some(interval) => self.timers.start_heartbeat(self.clock, interval),
            None => self.timers.stop_heartbeat(),
        }
        self.settle();
    }
}

/// Timers of messages that have gone are never worth forgetting below this number.
const ALARMS: usize = 64;
