//! What an echo costs in system calls.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use scamp_blocking::{Client, Patience, Pin, Service, Socket, Transport};

use crate::support::{Running, actions, bounded, head, identity, octets};

#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 3]>);

impl Counts {
    fn take(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.0[at].swap(0, SeqCst))
    }
}

/// A socket that counts reads, writes, and waits for room to write.
struct Counting {
    socket: Socket,
    counts: Counts,
}

impl Transport for Counting {
    fn receive(&self, room: &mut [u8], patience: Patience) -> io::Result<usize> {
        let result = self.socket.receive(room, patience);
        self.counts.0[0].fetch_add(1, SeqCst);
        result
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.counts.0[1].fetch_add(1, SeqCst);
        self.socket.send(pieces)
    }

    fn wait_writable(&self, or_readable: bool, patience: Option<Duration>) -> io::Result<()> {
        self.counts.0[2].fetch_add(1, SeqCst);
        self.socket.wait_writable(or_readable, patience)
    }

    fn shutdown(&self) {
        self.socket.shutdown();
    }
}

/// PF-13: an echo is one write and one read at each end, for all bodies that fit in a record.
#[test]
fn an_echo_is_one_write_and_one_read_at_each_end() {
    bounded(|| {
        for tls in [true, false] {
            let service = Running::start(actions(match tls {
                true => Service::builder(identity()).default_access(scamp_blocking::Access::Allow),
                false => Service::plain().default_access(scamp_blocking::Access::Allow),
            }));
            let pair = std::os::unix::net::UnixStream::pair().unwrap();
            let (near, far) = (Counts::default(), Counts::default());
            let accepted = Counting {
                socket: pair.0.into(),
                counts: far.clone(),
            };
            service.handle.adopt(accepted).unwrap();
            let builder = match tls {
                true => Client::builder(Pin::AnyCertificate),
                false => Client::plain(),
            };
            let connected = Counting {
                socket: pair.1.into(),
                counts: near.clone(),
            };
            let client = builder.over("127.0.0.1", connected).unwrap();
            for len in [0, 1, 100, 3000] {
                let body = bytes::Bytes::from(octets(len));
                // The first also brings TLS session tickets, and makes a small inbox large.
                client.call(head("Test.echo"), body.clone()).unwrap();
                near.take();
                far.take();
                for _ in 0..100 {
                    assert!(client.call(head("Test.echo"), body.clone()).unwrap().body == body);
                }
                assert_eq!(
                    near.take(),
                    [100, 100, 0],
                    "client, {len} octets, TLS {tls}"
                );
                assert_eq!(
                    far.take(),
                    [100, 100, 0],
                    "service, {len} octets, TLS {tls}"
                );
            }
        }
    });
}

/// PF-13: a streamed request and a streamed reply leave in one write as well, if they are small.
#[test]
fn small_streams_are_one_write() {
    bounded(|| {
        let service = Running::start(
            Service::builder(identity())
                .default_access(scamp_blocking::Access::Allow)
                .streaming_action("Test.write", |mut request| {
                    let text = request.text()?;
                    Ok(scamp_blocking::Reply::stream(move |out| {
                        text.chars()
                            .try_for_each(|c| io::Write::write_all(out, &[c as u8]))
                    }))
                })
                .unwrap(),
        );
        let pair = std::os::unix::net::UnixStream::pair().unwrap();
        let (near, far) = (Counts::default(), Counts::default());
        service
            .handle
            .adopt(Counting {
                socket: pair.0.into(),
                counts: far.clone(),
            })
            .unwrap();
        let connected = Counting {
            socket: pair.1.into(),
            counts: near.clone(),
        };
        let client = Client::builder(Pin::AnyCertificate)
            .over("127.0.0.1", connected)
            .unwrap();
        client.call(head("Test.write"), "hello").unwrap();
        near.take();
        far.take();
        let (mut body, reply) = client
            .request(head("Test.write"), &Default::default())
            .unwrap();
        for octet in b"hello" {
            io::Write::write_all(&mut body, &[*octet]).unwrap();
        }
        body.finish().unwrap();
        assert_eq!(reply.wait().unwrap().whole(9).unwrap().body, "hello");
        assert_eq!(near.take(), [1, 1, 0]);
        assert_eq!(far.take()[1], 1);
    });
}
