//! The requester: one call's way to its connection.

use std::sync::Arc;

use scamp_proto::Instant;
use scamp_proto::auth::{AuthorizedServices, Fingerprint};
use scamp_proto::discovery::{Description, Directory, Instance, Offer};
use scamp_proto::requester::{Call, Command, Config, Requester, Verdict};

use super::Job;

/// Its jobs.
pub const JOBS: &[Job] = &[
    Job::new("call-1-instance", |n| calls(n, 1)).goal("", None, Some(4.0)),
    Job::new("call-10-instances", |n| calls(n, 10)).goal("", None, Some(4.0)),
];

/// Calls that are sent at once and answered at once, to one of `instances` that are all connected.
fn calls(times: u64, instances: u16) {
    let now = Instant::EPOCH;
    let mut requester = Requester::new(Config::default(), 1);
    requester.set_authorized(now, Arc::new(AuthorizedServices::allow_all()));
    let listed = (0..instances).map(instance);
    let directory = Directory::build(listed, &mut |event| panic!("{event}"));
    requester.set_directory(now, Arc::new(directory));
    for number in 0..instances {
        let name = format!("greeter:{number}");
        let wanted = Call {
            instance: Some(&name),
            ..Call::new("Benchmark.Echo.say")
        };
        requester.call(now, &wanted);
        while let Some(command) = requester.poll_command() {
            match command {
                Command::Dial { link, .. } => requester.established(now, link),
                Command::Send(dispatch) => {
                    let _ = requester.outcome(now, dispatch.call, Ok(()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let wanted = Call::new("Benchmark.Echo.say");
    for _ in 0..times {
        let call = requester.call(now, &wanted);
        let Some(Command::Send(dispatch)) = requester.poll_command() else {
            panic!("all are connected");
        };
        assert_eq!(dispatch.call, call);
        assert_eq!(requester.outcome(now, call, Ok(())), Verdict::Done);
    }
}

fn instance(number: u16) -> Arc<Instance> {
    let uri = format!("beepish+tls://192.0.2.1:{}", 30_100 + number);
    let mut service = Description::new(
        format!("greeter:{number}"),
        uri.parse().expect("an address"),
    );
    for other in 0..20 {
        let other = format!("Benchmark.Echo.other{other}");
        service.actions.push(Offer::new(&other).expect("a name"));
    }
    let said = Offer::new("Benchmark.Echo.say").expect("a name");
    service.actions.push(said.flags("read,t30"));
    let fingerprint = Fingerprint::of(&number.to_be_bytes());
    Arc::new(Instance::fixed(&service, fingerprint, None).expect("it fits"))
}
