//! The example that drives the core by hand, against a service.

#![allow(clippy::unwrap_used)]

#[path = "../../scamp-tls/examples/embed.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod embed;
#[path = "support/face.rs"]
#[allow(dead_code, reason = "this file uses a part of it")]
mod face;

use face::{Face, Running, body, bounded};
use scamp_tls::Pin;

/// S-1, S-30, L-3: it is answered, it is told errors, and it speaks to nobody else.
#[test]
fn it_calls() {
    bounded(|| {
        for face in Face::ALL {
            let service = Running::start(face);
            let pin = Pin::Fingerprint(service.fingerprint);
            let call = |action, octets| embed::call(&service.address, pin.clone(), action, octets);
            let octets = body(0, 1_000_000);
            let reply = call("Echo.whole", octets.clone()).unwrap();
            assert!(reply == octets, "{} octets", reply.len());
            let error = call("Bad.error", "".into()).unwrap_err().to_string();
            assert!(error.contains("bad_luck"), "{error}");
            let error = call("Bad.half", "".into()).unwrap_err().to_string();
            assert!(error.contains("out of words"), "{error}");
            let stranger = Pin::Fingerprint(scamp_tls::Fingerprint::of(b"another"));
            let refused = embed::call(&service.address, stranger, "Echo.whole", "".into());
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("fingerprint"), "{error}");
        }
    });
}
