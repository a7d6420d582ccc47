//! Connects to a service, asks it one thing, prints the answer, closes (R-27).
//!
//! ```text
//! hello_blocking [ADDRESS FINGERPRINT]
//! ```
//!
//! Without an address it asks a service of its own.

use std::error::Error;

use scamp_blocking::{Client, Identity, Pin, Reply, RequestHead, Service};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(address), Some(fingerprint)) => ask(&address, fingerprint.parse()?),
        (None, _) => serve_and_ask(),
        (Some(_), None) => Err("which fingerprint does the service have?".into()),
    }
}

fn ask(address: &str, fingerprint: scamp_blocking::Fingerprint) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(address, Pin::Fingerprint(fingerprint))?;

    let head = RequestHead::new("helloworld.hello")
        .version(1)
        .envelope("json");
    let reply = client.call(head, r#"{"name":"World"}"#)?;
    println!("{}", reply.text()?);

    client.close();
    Ok(())
}

fn serve_and_ask() -> Result<(), Box<dyn Error>> {
    let certificate = include_str!("../tests/data/p256.crt");
    let identity = Identity::from_pem(certificate, include_str!("../tests/data/p256.key"))?;
    let fingerprint = identity.fingerprint();
    let service = Service::builder(identity)
        .action(("helloworld.hello~1", "noauth"), |mut request| {
            let asked = request.text()?;
            Ok(Reply::new(format!(r#"{{"hello":{asked}}}"#)))
        })?
        .bind("127.0.0.1:0")?;
    let address = service.local_addr().to_string();
    let handle = service.handle();
    let running = std::thread::spawn(move || service.run());

    ask(&address, fingerprint)?;

    handle.shutdown();
    running.join().map_err(|_| "the service panicked".into())
}
