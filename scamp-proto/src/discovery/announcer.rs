//! A service that tells the world of itself, again and again.
//!
//! ```text
//! start ──> every interval, and at once after a change ──leave──> once, and ten times more ──> done
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::datagram::compress;
use super::{Description, Offer, OfferError, UnixTime, Uri};
use crate::Instant;
use crate::auth::Sign;
use crate::limits::{ANNOUNCE_LEAST, LEAVE_INTERVAL, LEAVE_TIMES};

/// When an announcement gets a new time and a new signature (`service.announce_resign`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Resign {
    /// Each time, which is the only form that every receiver accepts (D-28).
    #[default]
    Always,
    /// When the last one is older than this, or something changed.
    Every(Duration),
    /// When something changed.
    OnChange,
}

/// What makes a service's announcements, and when.
///
/// A program has one for each service. It has an output for each address that the service listens
/// on, and each output announces its own address (D-27).
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::auth::{Sign, SignError};
/// use scamp_proto::discovery::{Announcer, Description, Resign, UnixTime};
///
/// # struct Key;
/// # impl Sign for Key {
/// #     fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
/// #         Ok(vec![0; 256])
/// #     }
/// # }
/// # let key = Key;
/// let uri = "beepish+tls://192.0.2.7:30100".parse()?;
/// let service = Description::new("greeter:1", uri);
/// let certificate = b"its DER".as_slice();
/// let mut announcer = Announcer::new(service, certificate, Resign::Always);
///
/// let now = Instant::EPOCH;
/// announcer.start(now);
/// let wall = UnixTime::from_micros(1_700_000_000_000_000);
/// let (output, datagram) = announcer.poll_datagram(now, wall, &key).expect("it is due")?;
/// assert_eq!((output, datagram.first()), (0, Some(&0x78)));
/// assert_eq!(announcer.poll_timeout(), Some(now + Duration::from_secs(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Announcer {
    service: Description,
    certificate: Bytes,
    resign: Resign,
    outputs: Vec<Output>,
    phase: Phase,
    /// When everything was last announced.
    last: Option<Instant>,
    /// Outputs of which the turn has come.
    due: VecDeque<usize>,
    /// No announcement is older than one before it, whatever the clock does (D-21, F-48).
    time: UnixTime,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Output {
    uri: Uri,
    /// What was last sent, and when it was signed.
    signed: Option<(Bytes, Instant)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing listens yet, so there is nothing to announce (V-4).
    Idle,
    /// The next time.
    Announcing(Instant),
    /// The next time, and how many times are left.
    Leaving(Instant, u32),
    Done,
}

impl Announcer {
    /// Announces nothing until it is told to [`start`](Self::start). `certificate` is DER.
    pub fn new(service: Description, certificate: impl Into<Bytes>, resign: Resign) -> Self {
        let outputs = Vec::from([Output {
            uri: service.uri.clone(),
            signed: None,
        }]);
        Self {
            service,
            certificate: certificate.into(),
            resign,
            outputs,
            phase: Phase::Idle,
            last: None,
            due: VecDeque::new(),
            time: UnixTime::from_micros(i64::MIN),
            sent: 0,
        }
    }

    /// Whether the service can be announced as it is: receivers would take it, and it fits into a
    /// datagram (D-30).
    ///
    /// # Errors
    ///
    /// [`OfferError`] says why not.
    pub fn check(&self, key: &dyn Sign) -> Result<(), OfferError> {
        sign(
            &self.service,
            UnixTime::from_micros(LONGEST),
            &self.certificate,
            key,
        )
        .map(|_| ())
    }

    /// Begins to announce, now that the service listens (V-4).
    pub fn start(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Announcing(now);
        }
    }

    /// The service as it is announced.
    pub fn service(&self) -> &Description {
        &self.service
    }

    /// Announces another weight from now on; 0 suspends the service, which announces no actions then
    /// (V-13).
    pub fn set_weight(&mut self, now: Instant, weight: u32) {
        if self.service.weight != weight {
            self.service.weight = weight;
            self.changed(now);
        }
    }

    /// Announces other actions from now on (V-1).
    pub fn set_actions(&mut self, now: Instant, actions: Vec<Offer>) {
        if self.service.actions != actions {
            self.service.actions = actions;
            self.changed(now);
        }
    }

    /// Announces other addresses from now on, one for each output; the first is the service's.
    pub fn set_addresses(&mut self, now: Instant, addresses: Vec<Uri>) {
        if let Some(first) = addresses.first() {
            self.service.uri = first.clone();
        }
        let output = |uri| Output { uri, signed: None };
        self.outputs = addresses.into_iter().map(output).collect();
        // Their turn comes again.
        self.due.clear();
        self.changed(now);
    }

    /// Announces that the service leaves: at once, and then ten times, a second apart (D-29).
    pub fn leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => self.phase = Phase::Done,
            Phase::Announcing(_) => {
                self.service.weight = 0;
                self.forget_signed();
                self.due.clear();
                self.phase = Phase::Leaving(now, LEAVE_TIMES);
            }
            Phase::Leaving(..) | Phase::Done => {}
        }
    }

    /// Whether nothing will be announced any more.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done && self.due.is_empty()
    }

    /// How many datagrams were made (V-11).
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// When [`poll_datagram`](Self::poll_datagram) has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            _ if !self.due.is_empty() => Some(self.last.unwrap_or(Instant::EPOCH)),
            Phase::Announcing(next) | Phase::Leaving(next, _) => Some(next),
            Phase::Idle | Phase::Done => None,
        }
    }

    /// The next datagram to send now, and by which output; to be asked until there is none.
    ///
    /// `wall` is the time it bears.
    ///
    /// # Errors
    ///
    /// [`OfferError`] if it cannot be made. It is tried again when the next one is due.
    pub fn poll_datagram(
        &mut self,
        now: Instant,
        wall: UnixTime,
        key: &dyn Sign,
    ) -> Option<Result<(usize, Bytes), OfferError>> {
        self.begin_round(now);
        let output = self.due.pop_front()?;
        let keep = self.keep();
        let place = self.outputs.get_mut(output)?;
        let datagram = match &place.signed {
            Some((datagram, at)) if now - *at < keep => Ok(datagram.clone()),
            Some(_) | None => {
                self.time = wall.max(self.time.next());
                let service = described(&self.service, &place.uri);
                sign(&service, self.time, &self.certificate, key)
            }
        };
        Some(datagram.map(|datagram| {
            if !matches!(&place.signed, Some((old, _)) if *old == datagram) {
                place.signed = Some((datagram.clone(), now));
            }
            self.sent = self.sent.saturating_add(1);
            (output, datagram)
        }))
    }

    /// How long a signature is used again.
    fn keep(&self) -> Duration {
        match self.resign {
            _ if self.service.weight == 0 => Duration::ZERO,
            Resign::Always => Duration::ZERO,
            Resign::Every(span) => span,
            Resign::OnChange => Duration::MAX,
        }
    }

    fn begin_round(&mut self, now: Instant) {
        let next = match self.phase {
            Phase::Announcing(next) if next <= now => {
                // An interval of nothing would be a round without end.
                Phase::Announcing(now + self.service.interval.max(ANNOUNCE_LEAST))
            }
            Phase::Leaving(next, 0) if next <= now => Phase::Done,
            Phase::Leaving(next, left) if next <= now => {
                Phase::Leaving(now + LEAVE_INTERVAL, left.saturating_sub(1))
            }
            Phase::Idle | Phase::Announcing(_) | Phase::Leaving(..) | Phase::Done => return,
        };
        self.phase = next;
        self.last = Some(now);
        self.due = (0..self.outputs.len()).collect();
    }

    /// Announces at once what changed, unless it was announced just now (D-28).
    fn changed(&mut self, now: Instant) {
        self.forget_signed();
        match self.phase {
            Phase::Announcing(next) => {
                let earliest = self.last.map_or(now, |last| now.max(last + ANNOUNCE_LEAST));
                self.phase = Phase::Announcing(next.min(earliest));
            }
            Phase::Leaving(..) => self.service.weight = 0,
            Phase::Idle | Phase::Done => {}
        }
    }

    fn forget_signed(&mut self) {
        self.outputs
            .iter_mut()
            .for_each(|output| output.signed = None);
    }
}

/// What is announced of a service at one of its addresses.
fn described(service: &Description, uri: &Uri) -> Description {
    let mut service = service.clone();
    service.uri = uri.clone();
    if service.weight == 0 {
        // Go does not look at the weight; without actions it calls none (D-29, X-72).
        service.actions.clear();
    }
    service
}

fn sign(
    service: &Description,
    time: UnixTime,
    certificate: &[u8],
    key: &dyn Sign,
) -> Result<Bytes, OfferError> {
    compress(&service.sign(time, certificate, key)?)
}

/// A time that takes as many digits as any in the next centuries, in microseconds.
const LONGEST: i64 = 9_999_999_999_999_999;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::auth::SignError;
    use crate::discovery::datagram::Inflater;
    use crate::discovery::tests::{Toy, certificate};
    use crate::discovery::{Announcement, Unverified};

    fn announcer(resign: Resign) -> Announcer {
        let uri = "beepish+tls://192.0.2.7:30100".parse().unwrap();
        let mut service = Description::new("greeter:1", uri);
        service.actions.push(Offer::new("Greetings.hello").unwrap());
        Announcer::new(service, certificate(), resign)
    }

    fn seconds(seconds: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(seconds))
    }

    fn read(datagram: &[u8]) -> Announcement {
        let mut inflater = Inflater::new();
        let text = inflater.text(datagram).unwrap();
        Unverified::split(text).unwrap().verify(&Toy).unwrap()
    }

    /// All that is sent until `end`, and when, while the wall clock shows `wall`.
    fn run(
        announcer: &mut Announcer,
        end: Instant,
        wall: i64,
    ) -> Vec<(Duration, usize, Announcement)> {
        let mut sent = Vec::new();
        while let Some(now) = announcer.poll_timeout().filter(|at| *at <= end) {
            let wall = UnixTime::from_micros(wall);
            while let Some(datagram) = announcer.poll_datagram(now, wall, &Toy) {
                let (output, datagram) = datagram.unwrap();
                sent.push((now.since_epoch(), output, read(&datagram)));
            }
        }
        sent
    }

    /// D-28, V-4, N-17: nothing before it listens; then at once and every interval, which is the one
    /// announced, each time with a later timestamp, even if the clock goes back (F-48).
    #[test]
    fn announces_every_interval() {
        let mut announcer = announcer(Resign::Always);
        assert_eq!(announcer.poll_timeout(), None);
        assert!(run(&mut announcer, seconds(100), 0).is_empty());
        announcer.start(seconds(3));
        let sent = run(&mut announcer, seconds(20), 1_700_000_000_000_000);
        let times: Vec<_> = sent.iter().map(|(at, ..)| at.as_secs()).collect();
        assert_eq!(times, [3, 8, 13, 18]);
        assert!(
            sent.iter()
                .all(|(.., said)| said.interval() == Duration::from_secs(5))
        );
        let later = run(&mut announcer, seconds(30), -5);
        let stamps: Vec<_> = sent
            .iter()
            .chain(&later)
            .map(|(.., said)| said.timestamp())
            .collect();
        assert!(
            stamps.windows(2).all(|pair| pair[0] < pair[1]),
            "{stamps:?}"
        );
        assert_eq!(announcer.sent(), 6);
    }

    /// D-28: a change is announced at once, but not within 200 ms of the last; then the interval
    /// begins anew.
    #[test]
    fn announces_changes() {
        let mut announcer = announcer(Resign::OnChange);
        announcer.start(seconds(0));
        run(&mut announcer, seconds(6), 0);
        announcer.set_weight(seconds(7), 1);
        assert_eq!(
            announcer.poll_timeout(),
            Some(seconds(10)),
            "nothing changed"
        );
        announcer.set_weight(seconds(7), 3);
        let sent = run(&mut announcer, seconds(7), 0);
        assert_eq!((sent.len(), sent[0].2.weight()), (1, 3.0));
        let now = seconds(7) + Duration::from_millis(50);
        announcer.set_actions(now, vec![]);
        announcer.set_weight(now, 4);
        let soon = seconds(7) + Duration::from_millis(200);
        assert_eq!(announcer.poll_timeout(), Some(soon));
        let sent = run(&mut announcer, soon, 0);
        assert_eq!(
            (sent.len(), sent[0].2.weight(), sent[0].2.action_count()),
            (1, 4.0, 0)
        );
        assert_eq!(
            announcer.poll_timeout(),
            Some(soon + Duration::from_secs(5))
        );
    }

    /// D-28: the same octets again, for as long as they may be used.
    #[test]
    fn signs_as_often_as_asked() {
        for (resign, expected) in [
            (Resign::Always, 5),
            (Resign::Every(Duration::from_secs(10)), 3),
            (Resign::OnChange, 1),
        ] {
            let mut announcer = announcer(resign);
            announcer.start(seconds(0));
            let sent = run(&mut announcer, seconds(20), 0);
            let mut stamps: Vec<_> = sent.iter().map(|(.., said)| said.timestamp()).collect();
            stamps.dedup();
            assert_eq!((sent.len(), stamps.len()), (5, expected), "{resign:?}");
        }
    }

    /// D-29, N-54: leaving is weight 0 and no actions, at once and then ten times a second apart, and
    /// then never again; the interval stays, and each is signed anew.
    #[test]
    fn leaves() {
        let mut announcer = announcer(Resign::OnChange);
        announcer.start(seconds(0));
        run(&mut announcer, seconds(1), 0);
        let now = seconds(1) + Duration::from_millis(1);
        announcer.leave(now);
        announcer.set_weight(now, 5);
        announcer.leave(now);
        let sent = run(&mut announcer, seconds(1000), 0);
        let times: Vec<_> = sent.iter().map(|(at, ..)| at.as_millis()).collect();
        let expected: Vec<_> = (0..=10).map(|n| 1001 + n * 1000).collect();
        assert_eq!(times, expected);
        for (.., said) in &sent {
            assert!(said.is_withdrawal() && said.action_count() == 0);
            assert_eq!(said.interval(), Duration::from_secs(5));
        }
        assert!(
            sent.windows(2)
                .all(|pair| pair[0].2.timestamp() < pair[1].2.timestamp())
        );
        assert!(announcer.is_done() && announcer.poll_timeout().is_none());
        // One that never began has nothing to say.
        let mut silent = super::tests::announcer(Resign::Always);
        silent.leave(now);
        assert!(silent.is_done() && silent.poll_timeout().is_none());
    }

    /// V-13: suspended, it announces weight 0 every interval; resumed, what it was before.
    #[test]
    fn is_suspended_and_resumed() {
        let mut announcer = announcer(Resign::OnChange);
        announcer.start(seconds(0));
        run(&mut announcer, seconds(1), 0);
        announcer.set_weight(seconds(2), 0);
        let sent = run(&mut announcer, seconds(12), 0);
        assert_eq!(sent.len(), 3);
        assert!(
            sent.iter()
                .all(|(.., said)| said.is_withdrawal() && said.action_count() == 0)
        );
        announcer.set_weight(seconds(13), 1);
        let sent = run(&mut announcer, seconds(13), 0);
        assert_eq!(
            (sent.len(), sent[0].2.weight(), sent[0].2.action_count()),
            (1, 1.0, 1)
        );
    }

    /// D-27: each output announces the address of its own.
    #[test]
    fn each_output_has_its_address() {
        let mut announcer = announcer(Resign::Always);
        announcer.start(seconds(0));
        run(&mut announcer, seconds(1), 0);
        let uris = ["beepish+tls://192.0.2.7:1", "beepish+tls://[2001:db8::1]:2"];
        announcer.set_addresses(seconds(2), uris.map(|uri| uri.parse().unwrap()).to_vec());
        let sent = run(&mut announcer, seconds(2), 0);
        let said: Vec<_> = sent
            .iter()
            .map(|(_, output, said)| (*output, said.uri().port()))
            .collect();
        assert_eq!(said, [(0, 1), (1, 2)]);
        assert_ne!(sent[0].2.timestamp(), sent[1].2.timestamp());
    }

    /// D-30: what cannot be announced is an error, before and each time it is due.
    #[test]
    fn errors_are_told() {
        struct Mute;
        impl Sign for Mute {
            fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
                Err(SignError)
            }
        }
        let mut announcer = announcer(Resign::Always);
        assert_eq!(announcer.check(&Toy), Ok(()));
        assert_eq!(announcer.check(&Mute), Err(OfferError::Key(SignError)));
        announcer.start(seconds(0));
        let wall = UnixTime::default();
        let said = announcer.poll_datagram(seconds(0), wall, &Mute);
        assert_eq!(said, Some(Err(OfferError::Key(SignError))));
        assert_eq!(announcer.poll_datagram(seconds(0), wall, &Mute), None);
        assert_eq!(announcer.poll_timeout(), Some(seconds(5)));
        assert_eq!(announcer.sent(), 0);
    }
}
