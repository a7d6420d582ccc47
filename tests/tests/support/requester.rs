//! A requester of any face that knows of one service.

use bytes::Bytes;
use scamp_async::Runtime;
use scamp_proto::CallError;
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::discovery::{Description, Directory, Instance, Offer};

use crate::face::{Face, RUNTIME, identity, wait};

pub(crate) enum Requester {
    Blocking(scamp_blocking::Requester),
    Tokio(scamp_tokio::Requester),
    AsyncStd(scamp_async_std::Requester),
    Smol(scamp_async_std::smol::Requester),
}

impl Requester {
    /// One that knows of the service at this address, which offers this action, and of no other.
    pub(crate) fn to(face: Face, address: &str, action: &str) -> Self {
        let uri = format!("beepish+tls://{address}").parse().unwrap();
        let mut described = Description::new("there:1", uri);
        described.actions.push(Offer::new(action).unwrap());
        let instance = Instance::fixed(&described, identity().fingerprint(), None).unwrap();
        let directory = Directory::build([instance.into()], &mut |event| panic!("{event}"));
        match face {
            Face::Blocking => {
                let builder = scamp_blocking::Requester::builder().directory(directory);
                let all = AuthorizedServices::allow_all();
                Self::Blocking(builder.authorized(all).build().unwrap())
            }
            Face::Tokio => Self::Tokio(asynchronous(directory)),
            Face::AsyncStd => Self::AsyncStd(asynchronous(directory)),
            Face::Smol => Self::Smol(asynchronous(directory)),
        }
    }

    pub(crate) fn call(&self, action: &str, body: impl Into<Bytes>) -> Result<Bytes, CallError> {
        let body = body.into();
        let reply = match self {
            Self::Blocking(requester) => {
                return requester.call_raw(action, body).map(|reply| reply.body);
            }
            Self::Tokio(requester) => wait(requester.call_raw(action, body)),
            Self::AsyncStd(requester) => wait(requester.call_raw(action, body)),
            Self::Smol(requester) => wait(requester.call_raw(action, body)),
        };
        reply.map(|reply| reply.body)
    }
}

fn asynchronous<R: Runtime + Default>(directory: Directory) -> scamp_async::Requester<R> {
    let _inside = RUNTIME.enter();
    let builder = scamp_async::Requester::<R>::builder().directory(directory);
    let all = AuthorizedServices::allow_all();
    builder.authorized(all).build().unwrap()
}
