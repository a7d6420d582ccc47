//! An application: it does what its script says, and tells the oracle what it is told.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::oracle::Oracle;
use super::script::{Answer, Ask, Finale, Happening, Listen, Plan, Script, Speech, What, octets};
use crate::session::{
    AckPolicy, Board, Event, ExchangeId, Read, RecvId, RequestOptions, SendId, ServeId, Session,
};
use crate::wire::{RemoteError, ReplyHead, RequestHead};
use crate::{Instant, Rng, SendError};

/// One side's application.
#[derive(Debug)]
pub struct App {
    side: usize,
    rng: Rng,
    /// Plans of ours that have not begun, by the time they are due.
    due: Vec<(Instant, usize)>,
    /// Whether a request was refused, so that we wait for [`Event::Room`].
    waits_for_room: bool,
    cancels: Vec<(Instant, ExchangeId)>,
    happenings: Vec<Happening>,
    naps: Vec<(Instant, Instant)>,
    handlers: BTreeMap<ServeId, Handler>,
    writers: BTreeMap<SendId, Writer>,
    readers: BTreeMap<RecvId, Reader>,
    /// Replies that are being read, and whose they are.
    tags: BTreeMap<ExchangeId, usize>,
    board: Board,
    /// What the peer has told us of its topics.
    pub replica: BTreeMap<(String, String), String>,
    drains: bool,
}

#[derive(Debug)]
struct Handler {
    tag: usize,
    body: RecvId,
    /// When it answers, once it knows.
    answers_at: Option<Instant>,
}

#[derive(Debug)]
struct Writer {
    tag: usize,
    is_reply: bool,
    speech: Speech,
    offset: u64,
    is_blocked: bool,
}

#[derive(Debug)]
struct Reader {
    listen: Listen,
    from: Instant,
    read: u64,
    serve: Option<ServeId>,
    /// Whether it waits to be told of something to read.
    waits: bool,
}

impl App {
    /// The application of one side of a script.
    pub fn new(script: &Script, side: usize) -> Self {
        let plans = script.plans.iter().enumerate();
        let due = plans.filter(|(_, plan)| plan.from == side);
        let happenings = script.happenings.iter().filter(|one| one.side == side);
        Self {
            side,
            rng: Rng::new(script.seed ^ side as u64),
            due: due.map(|(index, plan)| (plan.at, index)).collect(),
            waits_for_room: false,
            cancels: Vec::new(),
            happenings: happenings.cloned().collect(),
            naps: script.naps[side].clone(),
            handlers: BTreeMap::new(),
            writers: BTreeMap::new(),
            readers: BTreeMap::new(),
            tags: BTreeMap::new(),
            board: Board::default(),
            replica: BTreeMap::new(),
            drains: false,
        }
    }

    /// Does what there is to do; returns whether there was anything.
    pub fn act(
        &mut self,
        now: Instant,
        session: &mut Session,
        script: &Script,
        oracle: &mut Oracle,
    ) -> bool {
        if self.is_asleep(now) {
            return false;
        }
        let mut acted = false;
        while let Some(event) = session.poll_event() {
            acted = true;
            self.take(now, session, script, oracle, event);
        }
        acted |= self.happen(now, session);
        acted |= self.begin(now, session, script, oracle);
        acted |= self.cancel(now, session);
        acted |= self.answer(now, session, script);
        acted |= self.write(now, session);
        acted | self.read(now, session, oracle)
    }

    /// When it will next have something to do that nobody tells it.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let later = |at: Instant| (at > now).then_some(at);
        let due = self.due.iter().filter_map(|(at, _)| later(*at));
        let cancels = self.cancels.iter().filter_map(|(at, _)| later(*at));
        let happenings = self.happenings.iter().filter_map(|one| later(one.at));
        let handlers = self
            .handlers
            .values()
            .filter_map(|one| later(one.answers_at?));
        let readers = self.readers.values().filter_map(|one| later(one.from));
        let naps = self.naps.iter().filter_map(|(_, to)| later(*to));
        due.chain(cancels)
            .chain(happenings)
            .chain(handlers)
            .chain(readers)
            .chain(naps)
            .min()
    }

    /// Whether it does nothing at this time, whatever happens.
    pub fn is_asleep(&self, now: Instant) -> bool {
        let mut naps = self.naps.iter();
        naps.any(|(from, to)| *from <= now && now < *to)
    }

    /// Waits for no body any more.
    pub fn give_up(&mut self, now: Instant, session: &mut Session, oracle: &mut Oracle) {
        let readers: Vec<RecvId> = self.readers.keys().copied().collect();
        for id in readers {
            session.discard(now, id);
            oracle.dropped(self.side, id.msgno().0);
            self.over(now, id);
        }
    }

    /// What still lies about, for a message that says what hung.
    pub fn loose_ends(&self) -> Option<String> {
        let clean = self.readers.is_empty() && self.handlers.is_empty();
        (!clean).then(|| format!("{:?} {:?}", self.readers, self.handlers))
    }

    /// Its topics as records, for those named.
    pub fn published(&self, topics: &[String]) -> BTreeMap<(String, String), String> {
        let records = self.board.records(topics);
        records
            .map(|(code, key, value)| ((code.to_string(), key.to_string()), value.to_string()))
            .collect()
    }

    fn take(
        &mut self,
        now: Instant,
        session: &mut Session,
        script: &Script,
        oracle: &mut Oracle,
        event: Event,
    ) {
        assert!(!oracle.is_closed(self.side), "{event:?} after Closed");
        match event {
            Event::Request { id, header, body } => {
                let tag = oracle.started(self.side, body.msgno().0) as usize;
                assert_eq!(header.get("tag"), Some(tag.to_string().as_str()));
                let plan = &script.plans[tag - 1];
                let answers_at = (plan.answer == Answer::Early).then(|| now + plan.thinking);
                self.handlers.insert(
                    id,
                    Handler {
                        tag,
                        body,
                        answers_at,
                    },
                );
                self.listen(now, session, body, plan.reading, Some(id));
            }
            Event::Notify { body, .. } => {
                let tag = oracle.started(self.side, body.msgno().0) as usize;
                self.listen(now, session, body, script.plans[tag - 1].reading, None);
            }
            Event::Reply { id, header, body } => {
                oracle.replied(self.side, id.request_id(), body.msgno().0, &header);
                let tag = self.tags[&id];
                self.listen(now, session, body, script.plans[tag - 1].listening, None);
            }
            Event::Failed { id, error } => {
                oracle.failed(self.side, now, id.request_id(), &error);
                self.tags.remove(&id);
            }
            Event::Subscribe { id, .. } => {
                session.welcome(now, id, &self.board).ok();
            }
            Event::Subscribed { id, .. } => {
                oracle.subscribed(self.side, id.request_id());
                self.tags.remove(&id);
            }
            Event::Changed(changes) => {
                for change in changes {
                    let key = (change.code, change.key);
                    match change.value.as_str() {
                        "null" => self.replica.remove(&key),
                        _ => self.replica.insert(key, change.value),
                    };
                }
            }
            Event::Cancelled(id) => {
                self.handlers.remove(&id);
            }
            Event::Readable(id) => {
                if let Some(reader) = self.readers.get_mut(&id) {
                    reader.waits = false;
                }
            }
            Event::Writable(id) => {
                if let Some(writer) = self.writers.get_mut(&id) {
                    writer.is_blocked = false;
                }
            }
            Event::Lost(id) => {
                self.writers.remove(&id);
            }
            Event::Room => self.waits_for_room = false,
            Event::Ended(_) | Event::Note(_) => {}
            Event::Closed(reason) => {
                oracle.closed(self.side, &reason);
                assert!(self.handlers.is_empty(), "handlers not cancelled (S-31)");
                self.writers.clear();
            }
        }
    }

    fn happen(&mut self, now: Instant, session: &mut Session) -> bool {
        let (due, later): (Vec<_>, Vec<_>) = core::mem::take(&mut self.happenings)
            .into_iter()
            .partition(|one| one.at <= now);
        self.happenings = later;
        for one in &due {
            match one.what {
                What::Allow(octets) => session.set_allowance(now, octets),
                What::Drain => {
                    self.drains = true;
                    session.drain(now);
                }
                What::Close => session.close(now),
                What::Publish(code, key, value) => {
                    let value = if value == 0 {
                        "null".to_string()
                    } else {
                        value.to_string()
                    };
                    let key = format!("k{key}");
                    if let Some(change) = self.board.set(topic(code), &key, &value) {
                        session.publish(now, &change);
                    }
                }
            }
        }
        !due.is_empty()
    }

    fn begin(
        &mut self,
        now: Instant,
        session: &mut Session,
        script: &Script,
        oracle: &mut Oracle,
    ) -> bool {
        let mut began = false;
        while let Some(place) = self.due.iter().position(|(at, _)| *at <= now) {
            if self.waits_for_room {
                break;
            }
            let (_, index) = self.due[place];
            let plan = &script.plans[index];
            match self.send(now, session, plan, index + 1, oracle) {
                Err(SendError::WouldBlock) => {
                    self.waits_for_room = true;
                    break;
                }
                Ok(())
                | Err(SendError::Closed | SendError::Draining | SendError::MsgnoExhausted) => {}
                Err(error) => panic!("plan {index}: {error:?}"),
            }
            self.due.remove(place);
            began = true;
        }
        began
    }

    fn send(
        &mut self,
        now: Instant,
        session: &mut Session,
        plan: &Plan,
        tag: usize,
        oracle: &mut Oracle,
    ) -> Result<(), SendError> {
        let text = tag.to_string();
        let send = match plan.ask {
            Ask::Notify => session.send_other(now, "notify", &[("tag".into(), text.into())])?,
            Ask::Subscribe(kind) => {
                let topics = ["a", "b"];
                let wanted = topics
                    .get(..usize::from(kind))
                    .filter(|topics| !topics.is_empty());
                let id = session.subscribe(now, wanted)?;
                let deadline = now + crate::limits::RPC_TIMEOUT;
                oracle.asked(self.side, id.request_id(), tag as u64, deadline);
                self.tags.insert(id, tag);
                return Ok(());
            }
            Ask::Request => {
                let head = RequestHead::new("Sim.run").extra("tag", text);
                let options = RequestOptions {
                    timeout: plan.timeout,
                    timeout_covers_body: plan.covers_body,
                    keep_sending: plan.keep_sending,
                };
                let (id, send) = session.request(now, &head, &options)?;
                let deadline = now + plan.timeout.unwrap_or(crate::limits::RPC_TIMEOUT);
                oracle.asked(self.side, id.request_id(), tag as u64, deadline);
                self.tags.insert(id, tag);
                if let Some(after) = plan.cancel_after {
                    self.cancels.push((now + after, id));
                }
                send
            }
        };
        self.speak(send, tag, false, plan.body);
        Ok(())
    }

    fn speak(&mut self, send: SendId, tag: usize, is_reply: bool, speech: Speech) {
        let writer = Writer {
            tag,
            is_reply,
            speech,
            offset: 0,
            is_blocked: false,
        };
        self.writers.insert(send, writer);
    }

    fn cancel(&mut self, now: Instant, session: &mut Session) -> bool {
        let before = self.cancels.len();
        self.cancels.retain(|(at, id)| {
            if *at <= now {
                session.cancel(now, *id);
            }
            *at > now
        });
        before != self.cancels.len()
    }

    fn answer(&mut self, now: Instant, session: &mut Session, script: &Script) -> bool {
        let due = self
            .handlers
            .iter()
            .filter(|(_, one)| one.answers_at.is_some_and(|at| at <= now));
        let due: Vec<ServeId> = due.map(|(id, _)| *id).collect();
        let mut answered = false;
        for id in due {
            let tag = self.handlers[&id].tag;
            let plan = &script.plans[tag - 1];
            let text = tag.to_string();
            let extras = vec![("tag".into(), text.into())];
            let result = match plan.answer {
                Answer::Early | Answer::Late => {
                    let head = ReplyHead {
                        error: None,
                        extras,
                    };
                    let sent = session.reply(now, id, &head);
                    sent.map(|send| self.speak(send, tag, true, plan.reply))
                }
                Answer::Error => {
                    session.reply_error(now, id, RemoteError::new("x_sim", "as planned"))
                }
                Answer::Abandon => {
                    session.abandon(now, id);
                    Ok(())
                }
            };
            match result {
                // Headers wait for the transport; it is tried again when some of them have left.
                Err(SendError::WouldBlock) => continue,
                Ok(())
                | Err(SendError::Closed | SendError::NotOpen | SendError::MsgnoExhausted) => {}
                Err(error) => panic!("answer {tag}: {error:?}"),
            }
            self.handlers.remove(&id);
            answered = true;
        }
        answered
    }

    fn write(&mut self, now: Instant, session: &mut Session) -> bool {
        let ready: Vec<SendId> = self
            .writers
            .iter()
            .filter(|(_, one)| !one.is_blocked)
            .map(|(id, _)| *id)
            .collect();
        let mut wrote = false;
        for id in ready {
            let Some(writer) = self.writers.get_mut(&id) else {
                continue;
            };
            let left = writer.speech.len - writer.offset;
            if left > 0 {
                let len = writer
                    .speech
                    .piece
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                let mut body = Bytes::from(octets(
                    writer.tag as u64,
                    writer.is_reply,
                    writer.offset,
                    len,
                ));
                match session.write(now, id, &mut body) {
                    Ok(count) => {
                        writer.offset += count as u64;
                        writer.is_blocked = !body.is_empty();
                        wrote |= count > 0;
                    }
                    Err(SendError::NotOpen | SendError::Closed) => {
                        self.writers.remove(&id);
                        wrote = true;
                    }
                    Err(error) => panic!("write: {error:?}"),
                }
                continue;
            }
            let speech = writer.speech;
            if speech.end == Finale::Leave && !writer.is_reply {
                continue;
            }
            self.writers.remove(&id);
            wrote = true;
            let result = match speech.end {
                Finale::Finish => session.finish(now, id),
                Finale::Fail => session.fail(now, id, "sim failed"),
                Finale::Drop | Finale::Leave => {
                    session.drop_body(now, id);
                    Ok(())
                }
            };
            match result {
                Ok(()) | Err(SendError::NotOpen | SendError::Closed) => {}
                Err(error) => panic!("end of a body: {error:?}"),
            }
        }
        wrote
    }

    fn listen(
        &mut self,
        now: Instant,
        session: &mut Session,
        body: RecvId,
        listen: Listen,
        serve: Option<ServeId>,
    ) {
        match listen {
            Listen::Collect(limit) => session.collect(now, body, limit),
            Listen::Manual => session.set_ack_policy(now, body, AckPolicy::Manual),
            Listen::OnReceive => session.set_ack_policy(now, body, AckPolicy::OnReceive),
            Listen::All
            | Listen::UpTo(_)
            | Listen::Into(_)
            | Listen::DiscardAt(_)
            | Listen::After(_) => {}
        }
        let wait = match listen {
            Listen::After(span) => span,
            _ => Duration::ZERO,
        };
        let reader = Reader {
            listen,
            from: now + wait,
            read: 0,
            serve,
            waits: false,
        };
        self.readers.insert(body, reader);
    }

    fn read(&mut self, now: Instant, session: &mut Session, oracle: &mut Oracle) -> bool {
        let ready = self
            .readers
            .iter()
            .filter(|(_, one)| !one.waits && one.from <= now);
        let ready: Vec<RecvId> = ready.map(|(id, _)| *id).collect();
        let any = !ready.is_empty();
        for id in ready {
            // One octet run at a time, so that bodies take turns; sometimes more.
            for _ in 0..=self.rng.below(3) {
                if !self.read_once(now, session, oracle, id) {
                    break;
                }
            }
        }
        any
    }

    /// Reads once; returns whether there may be more.
    fn read_once(
        &mut self,
        now: Instant,
        session: &mut Session,
        oracle: &mut Oracle,
        id: RecvId,
    ) -> bool {
        let Some(reader) = self.readers.get_mut(&id) else {
            return false;
        };
        let msgno = id.msgno().0;
        if matches!(reader.listen, Listen::DiscardAt(stop) if reader.read >= stop) {
            session.discard(now, id);
            oracle.dropped(self.side, msgno);
            self.over(now, id);
            return false;
        }
        let read = match reader.listen {
            Listen::UpTo(limit) => session.read_up_to(now, id, limit),
            Listen::DiscardAt(stop) => session.read_up_to(now, id, (stop - reader.read) as usize),
            Listen::Into(limit) => {
                let mut room = vec![0; limit];
                match session.read_into(now, id, &mut room) {
                    Read::Data(count) => {
                        room.truncate(count);
                        Read::Data(Bytes::from(room))
                    }
                    Read::End => Read::End,
                    Read::Failed(error) => Read::Failed(error),
                    Read::Pending => Read::Pending,
                    Read::Gone => Read::Gone,
                }
            }
            Listen::All
            | Listen::Collect(_)
            | Listen::Manual
            | Listen::OnReceive
            | Listen::After(_) => session.read(now, id),
        };
        match read {
            Read::Data(octets) => {
                reader.read += octets.len() as u64;
                oracle.read(self.side, msgno, &octets);
                if reader.listen == Listen::Manual {
                    match session.ack(now, id, reader.read) {
                        Ok(()) | Err(SendError::NotOpen) => {}
                        Err(error) => panic!("ack: {error:?}"),
                    }
                }
                true
            }
            Read::Pending => {
                reader.waits = true;
                false
            }
            Read::End => {
                oracle.complete(self.side, msgno);
                self.over(now, id);
                false
            }
            Read::Failed(error) => {
                oracle.broken(self.side, msgno, &error);
                self.over(now, id);
                false
            }
            Read::Gone => panic!("message {msgno} is gone before its end was told"),
        }
    }

    /// A body has been read, or given up; a handler that waited for it answers.
    fn over(&mut self, now: Instant, id: RecvId) {
        let Some(reader) = self.readers.remove(&id) else {
            return;
        };
        if let Some(handler) = reader.serve.and_then(|serve| self.handlers.get_mut(&serve)) {
            debug_assert_eq!(handler.body, id);
            handler.answers_at = handler.answers_at.or(Some(now));
        }
    }
}

fn topic(code: u8) -> &'static str {
    ["a", "b", "c"][usize::from(code % 3)]
}
