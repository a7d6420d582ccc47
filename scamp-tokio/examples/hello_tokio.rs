//! A service and a client in one process: connect, send a request, print the reply, close.
//!
//! ```text
//! cargo run -p scamp-tokio --example hello_tokio
//! ```

use scamp_tokio::{Client, Identity, Pin, Reply, Service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let certificate = include_str!("../tests/data/greeter.crt");
    let key = include_str!("../tests/data/greeter.key");
    let service = Service::builder(Identity::from_pem(certificate, key)?)
        .action(("Greetings.hello", "noauth"), |request| async move {
            Ok(Reply::new(format!("Hello {}", request.text()?)))
        })?
        .bind("127.0.0.1:0")?;
    let address = service.local_addr().to_string();
    let fingerprint = service.fingerprint().ok_or("the service has TLS")?;
    let handle = service.handle();
    let running = tokio::spawn(service.run());

    let client = Client::connect(&address, Pin::Fingerprint(fingerprint)).await?;
    let reply = client.call("Greetings.hello~1", "World").await?;
    println!("{}", reply.text()?);
    drop(client);

    handle.shutdown();
    running.await?;
    Ok(())
}
