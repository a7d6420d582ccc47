//! Ends, proper and otherwise.

use std::time::Duration;

use scamp_proto::error::Loss;
use scamp_proto::limits::CLOSE_LINGER;
use scamp_proto::{Duplex, End};
use scamp_tls::Options;

use crate::support::*;

/// S-35: what is queued leaves, then close_notify; the peer's own close ends the wait.
#[test]
fn a_proper_close() {
    for options in both_versions() {
        let mut pair = Pair::established(&options);
        pair.client.inner_mut().say(&b"last words"[..]);
        pair.client.inner_mut().finishing = true;
        let up = drain(&mut pair.client, pair.now);
        assert!(
            !pair.client.is_drained(),
            "the peer's close is worth waiting for"
        );
        assert!(pair.client.wants_read());
        assert_eq!(pair.client.poll_timeout(), Some(pair.now + CLOSE_LINGER));

        feed(&mut pair.server, pair.now, &up, 1);
        assert_eq!(pair.server.inner().heard, b"last words");
        assert_eq!(pair.server.inner().ends, [End::Eof]);
        assert!(!pair.server.wants_read());
        assert!(!pair.server.is_drained());

        pair.server.inner_mut().say(&b"farewell"[..]);
        pair.server.inner_mut().finishing = true;
        pair.settle();
        assert_eq!(pair.client.inner().heard, b"farewell");
        assert_eq!(pair.client.inner().ends, [End::Eof]);
        assert!(pair.client.is_drained() && pair.server.is_drained());
        assert_eq!(pair.client.poll_timeout(), None);

        // What the sockets say afterwards changes nothing.
        pair.client.receive_end(pair.now, End::Eof);
        pair.server.receive_end(pair.now, End::Eof);
        pair.client.receive(pair.now, b"more");
        assert_eq!(
            pair.client.inner().ends.len() + pair.server.inner().ends.len(),
            2
        );
    }
}

/// S-35: a peer that does not close has one second.
#[test]
fn the_wait_for_the_peers_close_is_bounded() {
    let mut pair = Pair::established(&Options::default());
    pair.client.inner_mut().finishing = true;
    drain(&mut pair.client, pair.now);
    pair.client
        .handle_timeout(pair.now + (CLOSE_LINGER - Duration::from_nanos(1)));
    assert!(!pair.client.is_drained() && pair.client.wants_read());
    pair.client.handle_timeout(pair.now + CLOSE_LINGER);
    assert!(pair.client.is_drained() && !pair.client.wants_read());
    assert_eq!(pair.client.inner().ends, [End::Cut]);
    assert_eq!(pair.client.poll_timeout(), None);
}

/// A machine that listens no more, for instance after a violation, closes at once; still with
/// close_notify, and once.
#[test]
fn a_machine_that_listens_no_more_closes_at_once() {
    for finished in [false, true] {
        let mut pair = Pair::established(&Options::default());
        if finished {
            pair.client.inner_mut().finishing = true;
            pair.client.inner_mut().full = true;
        } else {
            pair.client.inner_mut().drained = true;
        }
        assert!(
            !pair.client.is_drained(),
            "close_notify has not been asked for"
        );
        let up = drain(&mut pair.client, pair.now);
        assert_eq!(records(&up).len(), 1);
        assert!(pair.client.is_drained());
        assert_eq!(drain(&mut pair.client, pair.now), b"");
        feed(&mut pair.server, pair.now, &up, 7);
        assert_eq!(pair.server.inner().ends, [End::Eof]);
    }
}

/// Closing while the handshake runs ends it; the machine inside was never asked for output.
#[test]
fn closing_during_the_handshake() {
    let mut pair = Pair::ordinary(&Options::default());
    let hello = drain(&mut pair.client, pair.now);
    feed(&mut pair.server, pair.now, &hello, usize::MAX);
    pair.client.inner_mut().finishing = true;
    pair.settle();
    assert!(pair.client.is_drained());
    assert_eq!(pair.client.inner().asked, 0);
    assert_eq!(pair.client.inner().ends, [End::Cut]);
}

/// F-3, F-4: the end of the socket without close_notify is a cut, whosever fault it is.
#[test]
fn the_socket_alone_is_a_cut() {
    for options in both_versions() {
        for end in [End::Eof, End::Cut] {
            let mut pair = Pair::established(&options);
            pair.server.receive_end(pair.now, end);
            assert_eq!(pair.server.inner().ends, [End::Cut]);
            assert!(!pair.server.wants_read());
            // Our own direction is still open.
            pair.server.inner_mut().say(&b"answer"[..]);
            pair.settle();
            assert_eq!(pair.client.inner().heard, b"answer");
            pair.server.inner_mut().finishing = true;
            pair.settle();
            assert!(pair.server.is_drained());
        }
    }
}

/// F-4: inside a record it is a cut too, and nothing of that record is delivered.
#[test]
fn a_cut_inside_a_record_delivers_nothing_of_it() {
    for options in both_versions() {
        let mut pair = Pair::established(&options);
        pair.client.inner_mut().say(vec![b'x'; 1000]);
        let up = drain(&mut pair.client, pair.now);
        pair.server.receive(pair.now, &up[..up.len() - 1]);
        pair.server.receive_end(pair.now, End::Eof);
        assert_eq!(pair.server.inner().ends, [End::Cut]);
        assert_eq!(pair.server.inner().heard, b"");
    }
}

/// A socket that failed ends everything at once: there is nobody to say farewell to.
#[test]
fn a_failed_socket() {
    let mut pair = Pair::established(&Options::default());
    pair.client.inner_mut().say(&b"unsent"[..]);
    pair.client.receive_end(pair.now, End::io("reset"));
    assert_eq!(
        pair.client.inner().ends,
        [End::Lost(Loss::Io("reset".into()))]
    );
    assert!(pair.client.is_drained());
    assert_eq!(drain(&mut pair.client, pair.now), b"");
    pair.client.receive_end(pair.now, End::io("again"));
    assert_eq!(pair.client.inner().ends.len(), 1);
}

/// A write that fails after the peer has closed its side is told as well.
#[test]
fn a_socket_that_fails_after_the_peers_close() {
    let mut pair = Pair::established(&Options::default());
    pair.server.receive_end(pair.now, End::Eof);
    pair.server.receive_end(pair.now, End::Eof);
    assert_eq!(pair.server.inner().ends, [End::Cut]);
    pair.server.receive_end(pair.now, End::io("broken pipe"));
    assert_eq!(pair.server.inner().ends.len(), 2);
    assert!(pair.server.is_drained());
}

/// F-5: a handshake cut after each record, and inside each, ends as a loss at either end.
#[test]
fn a_handshake_that_is_cut() {
    for options in both_versions() {
        for to_server in [true, false] {
            for cut_inside in [0, 3] {
                let mut kept = 0;
                while cut_after(&options, to_server, kept, cut_inside) {
                    kept += 1;
                }
                assert!(kept >= 1);
            }
        }
    }
}

/// Lets so many records and octets through to one end before the stream is cut; `false` if the
/// handshake was complete by then.
fn cut_after(options: &Options, to_server: bool, kept: usize, octets: usize) -> bool {
    let mut pair = Pair::ordinary(options);
    let mut left = kept;
    for _round in 0..4 {
        let up = drain(&mut pair.client, pair.now);
        let up = if to_server {
            through(&up, &mut left, octets)
        } else {
            &up
        };
        feed(&mut pair.server, pair.now, up, usize::MAX);
        let down = drain(&mut pair.server, pair.now);
        let down = if to_server {
            &down
        } else {
            through(&down, &mut left, octets)
        };
        feed(&mut pair.client, pair.now, down, usize::MAX);
    }
    let end = if to_server {
        &mut pair.server
    } else {
        &mut pair.client
    };
    if end.is_established() {
        return false;
    }
    end.receive_end(pair.now, End::Eof);
    let loss = Loss::Tls("connection closed during the handshake".into());
    assert_eq!(end.inner().ends, [End::Lost(loss)]);
    assert_eq!((end.inner().asked, end.inner().fed), (0, 0));
    assert!(end.is_drained() && !end.wants_read());
    assert_eq!(drain(end, pair.now), b"");
    true
}

/// The first `left` records of `stream`, which are then used up, and some octets of the next.
fn through<'a>(stream: &'a [u8], left: &mut usize, octets: usize) -> &'a [u8] {
    let whole = records(stream);
    if whole.len() < *left {
        *left -= whole.len();
        return stream;
    }
    let len: usize = whole.iter().take(*left).map(|(_, len)| len).sum();
    *left = 0;
    &stream[..(len + octets).min(stream.len())]
}

/// A `Tls` that was made before its socket tells of a dial that failed.
#[test]
fn a_dial_that_failed() {
    let mut pair = Pair::ordinary(&Options::default());
    let refused = End::Lost(Loss::Connect("refused".into()));
    pair.client.receive_end(pair.now, refused.clone());
    assert_eq!(pair.client.inner().ends, [refused]);
    assert!(pair.client.is_drained());
    assert_eq!(drain(&mut pair.client, pair.now), b"");
}

/// F-5: close_notify during the handshake neither opens the connection nor lets it hang: the socket's
/// end or the deadline ends it.
#[test]
fn close_notify_during_the_handshake() {
    for (warning, fatal) in [(true, false), (false, true)] {
        for client_hears in [true, false] {
            let mut pair = Pair::ordinary(&Options::default());
            let alert = [21, 3, 3, 0, 2, if fatal { 2 } else { 1 }, 0];
            let end = if client_hears {
                &mut pair.client
            } else {
                &mut pair.server
            };
            end.receive(pair.now, &alert);
            drain(end, pair.now);
            assert!(!end.is_established());
            assert_eq!((end.inner().fed, end.inner().asked), (0, 0));
            if warning {
                assert!(end.inner().ends.is_empty());
                end.receive_end(pair.now, End::Eof);
            }
            assert!(matches!(end.inner().ends[..], [End::Lost(Loss::Tls(_))]));
            assert!(end.is_drained());
        }
    }
}
