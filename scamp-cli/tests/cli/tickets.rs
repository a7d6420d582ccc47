//! `ticket`, over the recorded tickets.

use serde_json::json;

use crate::support::{index, run, run_with, text, vector};

/// T-1…T-5: every recorded ticket gets the verdict that its index gives, in the shape of issue 3.
#[test]
fn recorded_tickets() {
    let index = index("tickets/index.json");
    let key = vector("tickets/ticket.pub");
    let mut judged = 0;
    for case in index["tickets"].as_array().unwrap() {
        let (name, ticket) = (&case["name"], case["ticket"].as_str().unwrap());
        let at = case["at_time"]
            .as_i64()
            .unwrap_or(1_800_000_000)
            .to_string();
        let options = [
            "ticket",
            "verify",
            "--json",
            "--key",
            text(&key),
            "--at",
            &at,
        ];
        let seen = run([&options[..], &[ticket]].concat());
        let lines = seen.lines();
        assert_eq!(lines.len(), 1, "{name}: {seen:?}");
        let members: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 5, "{name}: {members:?}");
        let valid = lines[0]["valid"] == true;
        assert_eq!(seen.code, Some(if valid { 0 } else { 6 }), "{name}");
        assert_eq!(lines[0]["reason"].is_null(), valid, "{name}");
        let expect = case["expect"].as_str().unwrap();
        match expect {
            "valid" => {
                assert!(valid, "{name}: {seen:?}");
                let fields = &case["fields"];
                assert_eq!(lines[0]["user_id"], fields["user_id"], "{name}");
                assert_eq!(lines[0]["client_id"], fields["client_id"], "{name}");
            }
            "see-peers" => {}
            // T-5: absent and empty are one thing, and what has no signature is malformed.
            _ if ticket.is_empty() => assert_eq!(lines[0]["reason"], "missing", "{name}"),
            _ if name == "sig-missing" => assert!(!valid, "{name}"),
            _ => assert_eq!(lines[0]["reason"], expect, "{name}"),
        }
        judged += 1;
    }
    assert!(judged >= 25, "{judged}");
}

/// issue 3: what a ticket says is told if its signature is good, and only then.
#[test]
fn shape_of_a_verdict() {
    let index = index("tickets/index.json");
    let ticket = |name: &str| {
        let tickets = index["tickets"].as_array().unwrap();
        let case = tickets.iter().find(|case| case["name"] == name).unwrap();
        case["ticket"].as_str().unwrap().to_owned()
    };
    let key = vector("tickets/ticket.pub");
    let verify = |name: &str| {
        let options = ["ticket", "verify", "--json", "--key", text(&key)];
        run([&options[..], &[&ticket(name)]].concat())
    };
    assert_eq!(
        verify("valid").good(),
        "{\"valid\":true,\"reason\":null,\"user_id\":42,\"client_id\":100,\"privileges\":[1,2,30]}\n"
    );
    let expired = verify("expired");
    expired.failed(6, "ticket has expired");
    assert_eq!(
        expired.text(),
        "{\"valid\":false,\"reason\":\"expired\",\"user_id\":42,\"client_id\":100,\
         \"privileges\":[1,2]}\n"
    );
    let forged = verify("user-changed");
    forged.failed(6, "signature");
    assert_eq!(
        forged.text(),
        "{\"valid\":false,\"reason\":\"bad signature\",\"user_id\":null,\"client_id\":null,\
         \"privileges\":null}\n"
    );

    // T-4: a skew moves the end; a file and standard input are read, too.
    let options = [
        "ticket",
        "verify",
        "--key",
        text(&key),
        "--at",
        "1700003600",
    ];
    let late = ticket("clock-exactly-at-end");
    run([&options[..], &[&late]].concat()).failed(6, "expired");
    let seen = run([&options[..], &["--skew", "1", &late]].concat());
    assert!(
        seen.good()
            .starts_with("valid: user 42, client 100, privileges 1;")
    );
    run_with(
        [&options[..], &["--skew", "1", "-"]].concat(),
        late.as_bytes(),
    )
    .good();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticket");
    std::fs::write(&file, format!("{late}\n")).unwrap();
    let from_file = format!("@{}", text(&file));
    run([&options[..], &["--skew", "1", &from_file]].concat()).good();
}

/// K-12, T-8: what is issued is valid, and `show` tells what it says without being asked to believe.
#[test]
fn issuing_and_showing() {
    let (key, public) = (vector("tickets/ticket.key"), vector("tickets/ticket.pub"));
    let issue = |more: &[&str]| {
        let options = ["ticket", "issue", "--key", text(&key), "--user", "7"];
        run([&options[..], more].concat())
    };
    let made = issue(&[
        "--privilege",
        "20,1",
        "--privilege",
        "3",
        "--start",
        "1000",
        "--ttl",
        "50",
    ]);
    let ticket = made.good().trim_end();
    assert!(ticket.starts_with("1,7,0,1000,50,1+3+20,"), "{ticket}");
    let verify = |at: &str| {
        run([
            "ticket",
            "verify",
            "--key",
            text(&public),
            "--at",
            at,
            ticket,
        ])
    };
    verify("1000").good();
    verify("1049").good();
    verify("999").failed(6, "not yet valid");
    verify("1050").failed(6, "expired");
    assert_eq!(
        run(["ticket", "show", "--json", ticket]).good(),
        "{\"user_id\":7,\"client_id\":0,\"start\":1000,\"ttl\":50,\"privileges\":[1,3,20]}\n"
    );
    let shown = run(["ticket", "show", ticket]);
    assert!(
        shown
            .good()
            .starts_with("user        7\nclient      0\nstart       1000\n")
    );
    let object = &issue(&["--json", "--client", "8"]).lines()[0];
    assert_eq!(
        (&object["client_id"], &object["ttl"]),
        (&json!(8), &json!(3600))
    );
    assert!(object["ticket"].as_str().unwrap().starts_with("1,7,8,"));

    issue(&["--start", "0", "--ttl=-1"]).failed(8, "negative");
    run(["ticket", "show", "1,2"]).failed(8, "malformed");
    run(["ticket", "verify", "--key", "/none.pem", ticket]).failed(8, "/none.pem");
    let wrong = vector("discovery/base.txt");
    // A certificate is a key, too, though not the one (T-6).
    run(["ticket", "verify", "--key", text(&wrong), ticket]).failed(6, "signature");
    run(["ticket", "verify", "--key", text(&public), ""]).failed(6, "missing");
    run(["ticket"]).failed(2, "Usage");
}
