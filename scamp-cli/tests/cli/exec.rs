//! `serve --exec`: programs as actions.

use std::fs;

use serde_json::json;

use crate::named::Bus;
use crate::support::{Serve, run, text};

/// cli.md: input to output, and an exit code other than 0 is an error.
#[test]
#[cfg(unix)]
fn programs() {
    let service = Serve::start(&[
        "--exec",
        "main:Sh.upper~2,read=tr a-z A-Z",
        "--exec",
        "Sh.fail=cat >/dev/null; echo 'first' >&2; echo 'no luck' >&2; exit 3",
        "--exec",
        "Sh.big=head -c 1000000 /dev/zero",
        "--exec",
        "Sh.late=head -c 1000000 /dev/zero; exit 4",
        "--exec",
        "Sh.killed=kill -9 $$",
        "--exec",
        "Sh.env=printf %s $SCAMP_ACTION~$SCAMP_VERSION",
        "--exec",
        "Sh.deaf=exec 0<&-; echo ok",
    ]);
    let actions = &service.ready["actions"];
    assert_eq!(actions[0], json!("Sh.upper~2"));
    assert!(!actions.as_array().unwrap().contains(&json!("Demo.echo~1")));
    assert_eq!(service.call(&["Sh.upper~2", "hello"]).good(), "HELLO");
    assert_eq!(service.call(&["Sh.env", ""]).good(), "Sh.env~1");
    service
        .call(&["Sh.fail", "x"])
        .failed(1, "error_code exit_3: no luck");
    service
        .call(&["Sh.killed"])
        .failed(1, "error_code signal_9");
    assert_eq!(service.call(&["Sh.big"]).stdout.len(), 1_000_000);
    service.call(&["Sh.late"]).failed(1, "ended with code 4");
    assert_eq!(
        service
            .call_with(&["Sh.deaf", "-"], &[b'x'; 1_000_000])
            .good(),
        "ok\n"
    );
    for bad in ["Sh.x", "x=cat", "Sh.x="] {
        run(["serve", "--exec", bad]).failed(2, "--exec");
    }
    let sectors = ["serve", "--exec", "a:Sh.x=cat", "--exec", "b:Sh.y=cat"];
    Bus::new().run(&sectors).failed(2, "one sector");
}

/// T-9: with --require only those with a ticket that has the privilege.
#[test]
#[cfg(unix)]
fn privileges() {
    let bus = Bus::new();
    let made = run([
        "keygen",
        "tickets",
        "--bits",
        "2048",
        "--out",
        text(bus.at("").as_path()),
    ]);
    made.good();
    let (key, certificate) = (bus.at("tickets.key"), bus.at("tickets.crt"));
    let config = fs::read_to_string(bus.config()).unwrap();
    let keys = format!("{config}auth.ticket_verify_key = {}\n", text(&certificate));
    fs::write(bus.config(), keys).unwrap();
    let _service = bus.serve(&[
        "--exec",
        "Sh.who=printf %s $SCAMP_USER_ID",
        "--require",
        "7",
    ]);
    bus.run(&["call", "Sh.who"]).failed(1, "authn");
    let issue = |privilege: &str| {
        let always = ["ticket", "issue", "--user", "42", "--key", text(&key)];
        let issued = run([&always[..], &["--privilege", privilege]].concat());
        issued.good().trim_end().to_owned()
    };
    bus.run(&["call", "Sh.who", "--ticket", &issue("8")])
        .failed(1, "authz");
    fs::write(bus.at("ticket"), issue("7")).unwrap();
    let file = format!("@{}", text(&bus.at("ticket")));
    assert_eq!(bus.run(&["call", "Sh.who", "--ticket", &file]).good(), "42");
}
