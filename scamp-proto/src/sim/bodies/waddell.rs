//! U-14: waddell frames and the server's state.

use alloc::vec::Vec;

use super::bites::Bites;
use crate::sim::flock::{Plan, run_plan};
use crate::waddell::{
    Client, ClientConfig, ClientEvent, Content, Peer, PeerConfig, PeerEvent, PeerId,
};
use crate::{Duplex, End, Instant, Outbox, Rng};

/// U-14: a stream means the same in any cut, to both ends, and what a plain reader of the whole finds;
/// and a server whose peers send such streams keeps its promises to the others.
///
/// The first octet says how long the pieces are; the second, whether a flock is run as well.
pub fn waddell(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    let piece = 1 + usize::from(bites.octet());
    let flock = bites.octet();
    let stream = bites.rest();
    let whole = to_server(stream, usize::MAX);
    assert!(
        whole == to_server(stream, piece),
        "another cut, another meaning"
    );
    assert!(
        whole == naive(stream),
        "a plain reader reads something else"
    );
    assert!(to_client(stream, usize::MAX) == to_client(stream, piece));
    if flock % 4 == 3 {
        let mut rng = Rng::new(u64::from(flock));
        let mut plan = Plan::draw(&mut rng);
        plan.vandals = 2;
        plan.body = plan.body.min(3000);
        run_plan(plan, rng.next_u64(), stream);
    }
}

/// What a server's end makes of a stream: contents of messages, how many frames were none, and whether
/// it closed.
type Meaning = (Vec<Vec<u8>>, u64, bool);

fn to_server(stream: &[u8], piece: usize) -> Meaning {
    let now = Instant::EPOCH;
    let mut peer = Peer::new(PeerConfig::default(), now);
    peer.assign(now, PeerId::from_octets([1; 16]));
    let mut meaning = Meaning::default();
    for piece in stream.chunks(piece) {
        peer.receive(now, piece);
        while let Some(event) = peer.poll_event() {
            assert!(!meaning.2, "nothing follows Closed");
            match event {
                PeerEvent::Message(frame) => {
                    let mut out = Outbox::default();
                    frame.encode(&mut out);
                    meaning.0.push(out.take_all().split_off(2));
                }
                PeerEvent::Malformed { count, .. } => meaning.1 += count,
                PeerEvent::Closed(_) => meaning.2 = true,
            }
        }
        assert!(peer.held() <= 20 + 65_535, "one frame (WD-127)");
    }
    assert_eq!(meaning.2, peer.is_drained());
    meaning
}

/// The same, read from the whole stream by places alone.
fn naive(stream: &[u8]) -> Meaning {
    let mut meaning = Meaning::default();
    let (mut at, mut row) = (0, 0);
    while let Some(&[low, high]) = stream.get(at..at + 2) {
        let len = usize::from(low) + 256 * usize::from(high);
        let Some(content) = stream.get(at + 2..at + 2 + len) else {
            break;
        };
        at += 2 + len;
        if len >= 18 {
            meaning.0.push(content.to_vec());
            row = 0;
        } else if content == b"k" {
            row = 0;
        } else {
            meaning.1 += 1;
            row += 1;
        }
        if row == 16 {
            meaning.2 = true;
            break;
        }
    }
    meaning
}

fn to_client(stream: &[u8], piece: usize) -> (Vec<ClientEvent>, u64) {
    let now = Instant::EPOCH;
    let mut client = Client::new(ClientConfig::default(), now);
    let (mut events, mut malformed) = (Vec::new(), 0);
    let pieces = stream.chunks(piece).map(Some).chain([None]);
    for piece in pieces {
        match piece {
            Some(piece) => client.receive(now, piece),
            None => client.receive_end(now, End::Eof),
        }
        while let Some(event) = client.poll_event() {
            let closed = matches!(events.last(), Some(ClientEvent::Closed(_)));
            assert!(!closed, "nothing follows Closed");
            match event {
                ClientEvent::Malformed { count, .. } => malformed += count,
                event => events.push(event),
            }
        }
    }
    assert!(client.is_drained());
    if let Some(ClientEvent::Assigned(id)) = events.first() {
        let content = stream.get(2..).map(Content::decode);
        assert!(matches!(content, Some(Content::Message { id: first, .. }) if first == *id));
    }
    (events, malformed)
}
