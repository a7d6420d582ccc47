//! The core driven by hand: one thread, one socket, `poll(2)`, and no adapter.
//!
//! ```sh
//! cargo run -p scamp-tls --example embed -- 127.0.0.1:30100 78:CA:… Greetings.hello '"World"'
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant as StdInstant;

use bytes::{Buf, Bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use scamp_proto::session::{Config, Event, Read as Piece, RequestOptions, SendId, Session, Side};
use scamp_proto::wire::RequestHead;
use scamp_proto::{Duplex, End, Instant, Outbox, SendError};
use scamp_tls::{ClientTls, Pin, Tls};

struct Driver {
    machine: Tls<Session>,
    socket: TcpStream,
    out: Outbox,
    begun: StdInstant,
}

impl Driver {
    fn connect(address: &str, pin: Pin) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let session = Session::new(Config::new(Side::Client), Side::Client, Instant::EPOCH);
        Ok(Self {
            machine: Tls::client(session, &ClientTls::new(host, pin), Instant::EPOCH),
            socket,
            out: Outbox::default(),
            begun: StdInstant::now(),
        })
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.begun.elapsed())
    }

    fn session(&mut self) -> &mut Session {
        self.machine.inner_mut()
    }

    /// Hands over as much of a body as may be in flight; `Event::Writable` asks for more.
    fn pour(&mut self, send: SendId, body: &mut Bytes) -> Result<(), SendError> {
        let now = self.now();
        self.session().write(now, send, body)?;
        match body.is_empty() {
            true => self.session().finish(now, send),
            false => Ok(()),
        }
    }

    /// Writes, waits, reads, minds the time; afterwards the session may have events.
    fn turn(&mut self) -> io::Result<()> {
        self.write()?;
        self.wait()?;
        let now = self.now();
        let mut room = [0; 16 * 1024];
        if self.machine.wants_read() {
            match self.socket.read(&mut room) {
                Ok(0) => self.machine.receive_end(now, End::Eof),
                Ok(count) => self.machine.receive(now, &room[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.machine.receive_end(now, End::io(error.to_string())),
            }
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            let now = self.now();
            if self.out.is_empty() && self.machine.poll_transmit(now, &mut self.out).is_none() {
                return Ok(());
            }
            match self.socket.write(self.out.chunk()) {
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.machine.wants_read());
        flags.set(PollFlags::OUT, !self.out.is_empty());
        let patience = self.machine.poll_timeout().map(|at| at - self.now());
        let patience = patience.map(Timespec::try_from).transpose();
        let patience = patience.map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.socket, flags)], patience.as_ref())?;
        Ok(())
    }
}

/// Asks, and returns the whole reply.
pub(crate) fn call(
    address: &str,
    pin: Pin,
    action: &str,
    mut body: Bytes,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut driver = Driver::connect(address, pin)?;
    let (head, options) = (RequestHead::new(action), RequestOptions::default());
    let (_, send) = driver.session().request(Instant::EPOCH, &head, &options)?;
    driver.pour(send, &mut body)?;
    let mut reply = Vec::new();
    loop {
        driver.turn()?;
        let now = driver.now();
        while let Some(event) = driver.session().poll_event() {
            match event {
                Event::Reply { header, .. } if header.error().is_some() => {
                    return Err(format!("{:?}", header.error()).into());
                }
                Event::Reply { body, .. } | Event::Readable(body) => loop {
                    match driver.session().read(now, body) {
                        Piece::Data(piece) => reply.extend_from_slice(&piece),
                        Piece::Pending => break,
                        Piece::End => return Ok(reply),
                        other => return Err(format!("half a reply: {other:?}").into()),
                    }
                },
                Event::Writable(send) => driver.pour(send, &mut body)?,
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, fingerprint, action, body] = &arguments[..] else {
        return Err("ADDRESS:PORT FINGERPRINT ACTION BODY".into());
    };
    let pin = Pin::Fingerprint(fingerprint.parse()?);
    let reply = call(address, pin, action, body.clone().into())?;
    println!("{}", String::from_utf8_lossy(&reply));
    Ok(())
}
