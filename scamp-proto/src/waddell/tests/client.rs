use std::vec;

use super::*;
use crate::End;
use crate::error::Loss;
use crate::limits::WADDELL_UNTAKEN;

fn open(config: ClientConfig) -> Client {
    let mut client = Client::new(config, at(0));
    client.receive(at(0), &wire(Frame::assignment(id(7))));
    assert_eq!(client.poll_event(), Some(ClientEvent::Assigned(id(7))));
    client
}

/// WD-50, WD-51, WD-75: the first frame assigns the id, whatever topic and body it has; before it
/// nothing is sent but keepalives.
#[test]
fn wd_51_assignment() {
    let mut client = Client::new(ClientConfig::default(), at(0));
    let refused = client.send(at(0), id(8), TopicId(1), &[b"x"]);
    assert_eq!((refused, client.id()), (Err(SendError::NotReady), None));
    client.keepalive(at(0)).unwrap();
    assert_eq!(sent(&mut client, at(0)), KEEPALIVE);
    client.receive(at(0), &wire(frame(id(7), 9, b"ignored")));
    assert_eq!(client.poll_event(), Some(ClientEvent::Assigned(id(7))));
    assert_eq!((client.poll_event(), client.id()), (None, Some(id(7))));
}

/// WD-51: a first frame that is too short is a failed connection.
#[test]
fn wd_51_short_assignments() {
    for len in 0..18_u8 {
        let mut client = Client::new(ClientConfig::default(), at(0));
        client.receive(at(0), &[&[len, 0], &vec![b'k'; len.into()][..]].concat());
        let reason = CloseReason::BadAssignment(len.into());
        assert_eq!(client.poll_event(), Some(ClientEvent::Closed(reason)));
        assert!(client.is_drained());
    }
}

/// WD-51, defect 9: whoever assigns nothing in ten seconds has failed.
#[test]
fn wd_51_assignment_in_time() {
    let mut client = Client::new(ClientConfig::default(), at(0));
    client.receive(at(9_999), &[18]);
    assert_eq!(client.poll_timeout(), Some(at(10_000)));
    client.handle_timeout(at(9_999));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(at(10_000));
    let reason = CloseReason::NoAssignment(Duration::from_secs(10));
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(reason)));
    assert_eq!(client.poll_timeout(), None);
}

/// WD-6, WD-55: only the first frame is an assignment; a message on topic 0 without a body is one.
#[test]
fn wd_6_topic_zero_is_a_message() {
    let mut client = open(ClientConfig::default());
    client.receive(at(0), &wire(Frame::assignment(id(8))));
    let Some(ClientEvent::Message(message)) = client.poll_event() else {
        panic!("no message")
    };
    assert_eq!((message.from, message.topic), (id(8), TopicId::UNKNOWN));
    assert!(message.body.is_empty());
    assert_eq!(client.id(), Some(id(7)));
}

/// WD-52, defect 4: a message that is too long is refused, and the connection and its id stay.
#[test]
fn wd_52_too_long_changes_nothing() {
    let mut client = open(ClientConfig::default());
    let long = vec![0; 65_518];
    let refused = client.send(at(0), id(8), TopicId(1), &[&long]);
    assert_eq!(refused, Err(SendError::TooLong(65_518)));
    assert_eq!(
        (sent(&mut client, at(0)).len(), client.poll_event()),
        (0, None)
    );
    client
        .send(at(0), id(8), TopicId(1), &[&long[1..]])
        .unwrap();
    assert_eq!(sent(&mut client, at(0)).len(), 65_537);
    assert_eq!(client.id(), Some(id(7)));
}

/// WD-52, WD-84: parts are joined to one frame; frames leave in the order of sending over all topics.
#[test]
fn wd_84_order_over_topics() {
    let mut client = open(ClientConfig::default());
    for number in 0..200_u8 {
        let (to, topic) = (id(number % 3), TopicId(number.into()));
        client
            .send(at(0), to, topic, &[&[number], b"", &[number]])
            .unwrap();
    }
    let all = contents(&sent(&mut client, at(0)));
    assert_eq!(all.len(), 200);
    for (number, content) in (0..).zip(&all) {
        let (to, topic) = (id(number % 3), TopicId(number.into()));
        let body = &[number, number][..];
        let expected = Content::Message {
            id: to,
            topic,
            body,
        };
        assert_eq!(Content::decode(content), expected);
    }
}

/// WD-53: what waits to leave is bounded, or one message; there is an event when there is room.
#[test]
fn wd_53_send_queue() {
    let config = ClientConfig {
        send_queue: 1000,
        ..ClientConfig::default()
    };
    let mut client = open(config);
    let send = |client: &mut Client, len| client.send(at(0), id(8), TopicId(1), &[&vec![0; len]]);
    assert_eq!(send(&mut client, 5000), Ok(()));
    assert_eq!(send(&mut client, 0), Err(SendError::Full));
    sent(&mut client, at(0));
    assert_eq!(client.poll_event(), Some(ClientEvent::Writable));
    assert_eq!(send(&mut client, 480), Ok(()));
    assert_eq!(send(&mut client, 480), Ok(()));
    assert_eq!(send(&mut client, 0), Err(SendError::Full));
    assert_eq!((client.queued(), client.poll_event()), (1000, None));
    sent(&mut client, at(0));
    assert_eq!(client.poll_event(), Some(ClientEvent::Writable));
    assert_eq!((client.queued(), client.poll_event()), (0, None), "once");
}

/// WD-54: a keepalive comes after silence in the sending direction, and only then.
#[test]
fn wd_54_keepalive_after_silence() {
    let config = ClientConfig {
        keepalive_interval: Some(Duration::from_secs(30)),
        ..ClientConfig::default()
    };
    let mut client = open(config);
    assert_eq!(client.poll_timeout(), Some(at(30_000)));
    client.handle_timeout(at(29_999));
    assert_eq!(sent(&mut client, at(29_999)), b"");
    client.handle_timeout(at(30_000));
    assert_eq!(sent(&mut client, at(30_000)), KEEPALIVE);
    assert_eq!(client.poll_timeout(), Some(at(60_000)));
    client.send(at(50_000), id(8), TopicId(1), &[]).unwrap();
    assert_eq!(sent(&mut client, at(50_000)).len(), 20);
    // What arrives does not count.
    client.receive(at(70_000), &wire(frame(id(8), 1, b"")));
    assert_eq!(client.poll_timeout(), Some(at(80_000)));
    assert_eq!(
        open(ClientConfig::default()).poll_timeout(),
        None,
        "off unless asked for"
    );
}

/// WD-57, defect 3: frames that hold no message are counted, and neither the connection nor the id
/// changes; a keepalive from a server is one of them.
#[test]
fn wd_57_malformed_frames_unseat_nobody() {
    let mut client = open(ClientConfig::default());
    let lens = [0, 1, 2, 15, 16, 17, 1];
    for len in lens {
        client.receive(at(0), &[&[len, 0], &vec![b'k'; len.into()][..]].concat());
    }
    client.receive(at(0), &wire(frame(id(8), 1, b"k")));
    let (length, count) = (1, lens.len() as u64);
    let expected = ClientEvent::Malformed { length, count };
    assert_eq!(client.poll_event(), Some(expected));
    assert!(matches!(client.poll_event(), Some(ClientEvent::Message(_))));
    assert_eq!((client.malformed(), client.id()), (count, Some(id(7))));
    // However many there are, they take one place.
    client.receive(at(0), &[0; 100_000]);
    let expected = ClientEvent::Malformed {
        length: 0,
        count: 50_000,
    };
    assert_eq!(
        (client.poll_event(), client.poll_event()),
        (Some(expected), None)
    );
}

/// WD-2: a stream that ends inside a frame delivers nothing of it, and that is an ordinary end.
#[test]
fn wd_2_cut_frames() {
    let whole = wire(frame(id(8), 1, b"never whole"));
    for len in 1..whole.len() {
        let mut client = open(ClientConfig::default());
        client.receive(at(0), &whole[..len]);
        client.receive_end(at(0), End::Eof);
        let closed = ClientEvent::Closed(CloseReason::ClosedByPeer);
        assert_eq!(
            (client.poll_event(), client.poll_event()),
            (Some(closed), None)
        );
    }
}

/// WD-59, defect 11: closing flushes what is queued; whatever is asked afterwards is refused, and
/// whatever comes is ignored.
#[test]
fn wd_59_closing() {
    let mut client = open(ClientConfig::default());
    client.send(at(0), id(8), TopicId(1), &[b"last"]).unwrap();
    client.close(at(0));
    client.close(at(0));
    assert_eq!(
        client.send(at(0), id(8), TopicId(1), &[]),
        Err(SendError::Closed)
    );
    assert_eq!(client.keepalive(at(0)), Err(SendError::Closed));
    assert!(!client.is_drained() && !client.wants_read());
    client.receive(at(0), &wire(frame(id(8), 1, b"late")));
    assert_eq!(client.poll_event(), None);
    assert_eq!(sent(&mut client, at(0)).len(), 24);
    let closed = ClientEvent::Closed(CloseReason::ClosedLocally);
    assert_eq!(
        (client.poll_event(), client.poll_event()),
        (Some(closed), None)
    );
    assert!(client.is_drained());
    client.receive_end(at(1), End::Eof);
    client.handle_timeout(at(99_999));
    assert_eq!((client.poll_event(), client.poll_timeout()), (None, None));
}

/// WD-59: what cannot be flushed within the linger is given up.
#[test]
fn wd_59_linger() {
    let mut client = open(ClientConfig::default());
    client.send(at(0), id(8), TopicId(1), &[b"stuck"]).unwrap();
    client.close(at(500));
    assert_eq!(client.poll_timeout(), Some(at(1500)));
    client.handle_timeout(at(1499));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(at(1500));
    let closed = ClientEvent::Closed(CloseReason::ClosedLocally);
    assert_eq!(client.poll_event(), Some(closed));
    assert_eq!(sent(&mut client, at(1500)), b"");
}

/// HD-30, HD-31: a frame that is begun and not completed, and a transport that takes nothing, end the
/// connection.
#[test]
fn hd_30_slowness() {
    let mut client = open(ClientConfig::default());
    client.receive(at(0), &wire(frame(id(8), 1, b"whole")));
    client.receive(at(1000), &[18]);
    client.receive(at(20_000), &[0, 1]);
    assert_eq!(client.poll_timeout(), Some(at(31_000)));
    client.handle_timeout(at(30_999));
    assert!(!client.is_closed());
    client.handle_timeout(at(31_000));
    client.poll_event();
    let reason = CloseReason::FrameTimeout(Duration::from_secs(30));
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(reason)));

    let mut client = open(ClientConfig::default());
    client.send(at(1000), id(8), TopicId(1), &[]).unwrap();
    client.handle_timeout(at(120_999));
    assert!(!client.is_closed());
    client.handle_timeout(at(121_000));
    let reason = CloseReason::Stalled(Duration::from_secs(120));
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(reason)));
}

/// HD-4, HD-30: reading pauses while nobody takes what came, and that is not the server's slowness.
#[test]
fn reading_pauses() {
    let mut client = open(ClientConfig::default());
    let message = wire(frame(id(8), 1, &vec![0; 60_000]));
    let mut count = 0;
    while client.wants_read() {
        client.receive(at(0), &message);
        count += 1;
    }
    assert!(count * 60_000 < WADDELL_UNTAKEN + 70_000);
    client.receive(at(0), &message[..9]);
    assert_eq!(client.poll_timeout(), None);
    client.handle_timeout(at(100_000));
    while client.poll_event().is_some() {}
    client.handle_timeout(at(100_000));
    assert_eq!(client.poll_timeout(), Some(at(130_000)));
}

/// HD-8: a transport that fails is told once, and nothing follows.
#[test]
fn losses_are_told_once() {
    let mut client = open(ClientConfig::default());
    client.receive_end(at(0), End::io("reset"));
    client.receive_end(at(0), End::Eof);
    client.receive(at(0), &wire(frame(id(8), 1, b"x")));
    let reason = CloseReason::Lost(Loss::Io("reset".into()));
    let events = (client.poll_event(), client.poll_event());
    assert_eq!(events, (Some(ClientEvent::Closed(reason)), None));
}
