//! The room's parts together: texts in, directory out.

use alloc::sync::Arc;
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::*;
use crate::auth::{AuthorizedServices, Fingerprint, Padding, PublicKey, Sign, SignError, Verify};

/// A signature that anybody can make: for tests of everything but RSA itself.
pub(super) struct Toy;

impl Sign for Toy {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(Fingerprint::of(message).octets().to_vec())
    }
}

impl Verify for Toy {
    fn verify(
        &self,
        _: &PublicKey<'_>,
        padding: Padding,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        padding == Padding::Pkcs1 && Fingerprint::of(message).octets() == signature
    }
}

pub(super) const E13: &[u8] = include_bytes!("../../tests/data/e13.txt");

/// The certificate of E-13, as DER.
pub(super) fn certificate() -> Vec<u8> {
    Unverified::split(E13)
        .unwrap()
        .trusted()
        .unwrap()
        .certificate()
        .to_vec()
}

pub(super) fn sign(service: &Description, micros: i64) -> Announcement {
    let text = service
        .sign(UnixTime::from_micros(micros), &certificate(), &Toy)
        .unwrap();
    Unverified::split(&text).unwrap().verify(&Toy).unwrap()
}

/// The announcement with this JSON, signed.
pub(super) fn with_json(json: &str) -> Result<Announcement, AnnouncementError> {
    let text = text_of(json);
    Unverified::split(text.as_bytes())?.verify(&Toy)
}

pub(super) fn text_of(json: &str) -> String {
    use base64::Engine;
    let signature = Toy.sign(json.as_bytes()).unwrap();
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let e13 = std::str::from_utf8(E13).unwrap();
    let certificate = e13.split("\n\n").nth(1).unwrap();
    format!("{json}\n\n{certificate}\n\n{signature}\n\n")
}

fn service() -> Description {
    Description::new(
        "greeter:1",
        "beepish+tls://192.0.2.7:30100".parse().unwrap(),
    )
}

fn names(announcement: &Announcement) -> Vec<String> {
    announcement
        .actions()
        .map(|action| action.to_string())
        .collect()
}

/// E-13, D-9, D-10: the worked example says what it says.
#[test]
fn e13_is_read() {
    let announcement = Unverified::split(E13).unwrap().trusted().unwrap();
    assert_eq!(announcement.identity(), "greeter:c2NhbXAgc3BlYyBleGFtcGxl");
    assert_eq!(
        (announcement.sector(), announcement.weight()),
        ("main", 1.0)
    );
    assert_eq!(announcement.interval(), core::time::Duration::from_secs(5));
    assert_eq!(
        announcement.uri().to_string(),
        "beepish+tls://192.0.2.7:30100"
    );
    assert_eq!(announcement.timestamp().number(), 1_700_000_000.25);
    assert_eq!(
        names(&announcement),
        ["main:Greetings.hello~1", "main:Greetings.wave~2"]
    );
    let wave = announcement.action(1).unwrap();
    assert_eq!(wave.timeout(), Some(core::time::Duration::from_secs(600)));
    assert!(wave.envelopes.contains("json") && !wave.envelopes.contains("jsonstore"));
    assert_eq!(
        Fingerprint::of(&announcement.certificate()),
        announcement.fingerprint()
    );
    assert!(!announcement.has_more());
    assert_eq!(announcement.text().as_bytes(), E13);
}

/// E-13, D-2, D-16: described again, it is the same text but for the signature.
#[test]
fn e13_is_written() {
    let mut service = Description::new(
        "greeter:c2NhbXAgc3BlYyBleGFtcGxl",
        "beepish+tls://192.0.2.7:30100".parse().unwrap(),
    );
    service.actions = vec![
        Offer::new("Greetings.wave")
            .unwrap()
            .version(2)
            .flags("t600"),
        Offer::new("Greetings.hello").unwrap().flags("read,noauth"),
    ];
    let time = UnixTime::from_micros(1_700_000_000_250_000);
    let text = service.sign(time, &certificate(), &Toy).unwrap();
    let e13: Vec<_> = std::str::from_utf8(E13).unwrap().split("\n\n").collect();
    let ours: Vec<_> = std::str::from_utf8(&text).unwrap().split("\n\n").collect();
    assert_eq!(ours[..2], e13[..2]);
    assert_eq!((ours.len(), ours[3]), (4, ""));
}

/// D-17, S-21: flags are announced sorted, each once, and of several time limits the one that counts.
#[test]
fn flags_are_written() {
    for (flags, written, seconds) in [
        ("", "", None),
        ("t5,update,read,,read", "read,update,t5", Some(5)),
        ("t5,t30,read", "read,t30", Some(30)),
        ("t30,t5", "t5", Some(5)),
        ("t5,t0,t86401,secret", "secret,t0,t86401,t5", Some(5)),
        ("t0", "t0", None),
    ] {
        let mut service = service();
        service.actions = vec![Offer::new("A.b").unwrap().flags(flags)];
        let announcement = sign(&service, 1);
        let action = announcement.action(0).unwrap();
        assert!(
            action.flags.iter().eq(Flags::parse(written).iter()),
            "{flags}: {action:?}"
        );
        let limit = action.timeout().map(|limit| limit.as_secs());
        assert_eq!(limit, seconds, "{flags}");
    }
}

/// E-13, D-18, D-19, N-38: the keys it is found by, and those it is not.
#[test]
fn e13_is_found() {
    let announcement = Arc::new(Unverified::split(E13).unwrap().trusted().unwrap());
    let fingerprint = announcement.fingerprint();
    let instance = Arc::new(Instance::from_cache(announcement));
    let directory = Directory::build([instance], &mut |event| panic!("{event}"));
    let all = AuthorizedServices::allow_all();
    let find = |action: &str, version, authorized: &AuthorizedServices| {
        let query = Query {
            version,
            ..Query::new("MAIN", action)
        };
        let found = directory.lookup(&query, authorized)?.next().unwrap();
        Ok::<_, LookupError>(found.action.to_string())
    };
    let hello = Ok("main:Greetings.hello~1".to_string());
    let not_found = Err(LookupError::NotFound);
    assert_eq!(find("greetings.HELLO", 1, &all), hello);
    assert_eq!(find("Greetings._read", 1, &all), hello);
    assert_eq!(
        find("Greetings.wave", 2, &all),
        Ok("main:Greetings.wave~2".into())
    );
    for (action, version) in [
        ("Greetings.hello", 2),
        ("Greetings.wave", 1),
        ("Greetings._read", 2),
        ("Greetings._noauth", 1),
        ("Greetings._create", 1),
        ("hello", 1),
        ("", 1),
    ] {
        assert_eq!(find(action, version, &all), not_found, "{action}");
    }
    // The alias is authorized if the real action is, and only then.
    let only = |token: &str| {
        AuthorizedServices::parse(format!("{fingerprint} {token}\n").as_bytes(), &mut |_| ())
    };
    assert_eq!(find("Greetings._read", 1, &only("greetings.hello")), hello);
    let refused = Err(LookupError::NotAuthorized);
    assert_eq!(
        find("Greetings._read", 1, &only("greetings._read")),
        refused
    );
    assert_eq!(
        find("Greetings.hello", 1, &AuthorizedServices::none()),
        refused
    );
}

/// E-14, D-12, D-13: vectors as production data has them, and those that are refused.
#[test]
fn e14_vectors() {
    let object = |version: &str| {
        with_json(&format!(
            r#"[3,"x","main",1,5000,"beepish+tls://192.0.2.7:30100",["json",{{"vmaj":4,"vmin":0,
            "acname":["journalentries","csv","pdf",[3,"calculate"]],
            "acns":["Download.Financials",[2,"Download.PO"],"Flat","TaxJar","VAT"],
            "acflag":[[3,"noauth"],[3,""]],"acsec":[[3,"web"],[3,"taxmodule"]],
            "acenv":[[3,"web"],[3,"json,jsonstore,extdirect"]],"acver":{version}}}],[],1]"#
        ))
    };
    for good in [
        "[[6,1]]",
        "1",
        "[1,[5,1]]",
        "[[6,1],[0,7]]",
        "[[3.0,1],[3,1]]",
        "null",
    ] {
        let announcement = object(good).unwrap();
        assert_eq!(
            names(&announcement),
            [
                "web:Download.Financials.journalentries~1",
                "web:Download.PO.csv~1",
                "web:Download.PO.pdf~1",
                "taxmodule:Flat.calculate~1",
                "taxmodule:TaxJar.calculate~1",
                "taxmodule:VAT.calculate~1",
            ],
            "{good}"
        );
        let action = announcement.action(1).unwrap();
        assert!(action.flags.is_noauth() && action.envelopes.iter().eq(["web"]));
        let action = announcement.action(5).unwrap();
        assert!(!action.flags.is_noauth());
        assert!(
            action
                .envelopes
                .iter()
                .eq(["json", "jsonstore", "extdirect"])
        );
    }
    for bad in [
        "[[5,1]]",
        "[[7,1]]",
        "[[-1,1],[7,1]]",
        "[[1.5,1],[5,1]]",
        "[[4294967296,1]]",
        "[[4294967302,1]]",
        "[[18446744073709551615,1],[7,1]]",
        "[[6]]",
        "[[6,1,1]]",
        "[[]]",
        "[[\"6\",1]]",
        "[[6,\"1\"]]",
        "[[6,1.5]]",
        "[]",
        "{}",
        "\"1\"",
    ] {
        assert_eq!(
            object(bad).err(),
            Some(AnnouncementError::BadVector("acver")),
            "{bad}"
        );
    }
}

/// Q-16's generator: services of all kinds.
fn services() -> impl Strategy<Value = Description> {
    let name = "[A-Za-z_/ é\"\\\\]{1,6}";
    let namespace = "[A-Za-z.é]{1,8}";
    let flags = prop::sample::select(vec!["", "read", "t30,noauth", "create,update", "secret"]);
    let envelopes = prop::collection::vec("[a-z]{1,4}", 0..3);
    let action = (
        prop::option::of("[a-z]{1,3}"),
        namespace,
        name,
        1_u32..4,
        flags,
        prop::option::of(envelopes.clone()),
    )
        .prop_map(
            |(sector, namespace, name, version, flags, envelopes)| Offer {
                sector,
                namespace,
                name,
                version,
                flags: flags.to_string(),
                envelopes,
            },
        );
    let actions = prop::collection::vec(action, 0..8);
    (
        "\\PC{1,9}",
        "[a-z]{1,3}",
        any::<u32>(),
        0_u64..1_000_000,
        envelopes,
        actions,
    )
        .prop_map(
            |(identity, sector, weight, interval, envelopes, actions)| Description {
                identity,
                sector,
                weight,
                interval: core::time::Duration::from_millis(interval),
                envelopes,
                actions,
                ..service()
            },
        )
}

fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort();
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Q-16: what is signed is what is read.
    #[test]
    fn parse_after_sign_is_identity(service in services(), micros in -5_i64..4_000_000_000_000_000) {
        let read = sign(&service, micros);
        prop_assert_eq!(read.identity(), &service.identity);
        prop_assert_eq!(read.sector(), &service.sector);
        prop_assert_eq!(read.weight(), f64::from(service.weight));
        prop_assert_eq!(read.interval(), service.interval);
        prop_assert_eq!(read.uri(), &service.uri);
        prop_assert!(read.envelopes().iter().eq(service.envelopes.iter()));
        prop_assert!((read.timestamp().number() - micros as f64 / 1e6).abs() < 1e-6);
        let describe = |sector: &str, space: &str, name: &str, version, mut flags: Vec<&str>, envelopes: Vec<&str>| {
            flags.sort_unstable();
            format!("{sector}:{space}.{name}~{version} {flags:?} {envelopes:?}")
        };
        let asked = service.actions.iter().map(|action| describe(
            action.sector.as_ref().unwrap_or(&service.sector),
            &action.namespace,
            &action.name,
            action.version,
            Flags::parse(&action.flags).iter().collect(),
            action.envelopes.as_ref().unwrap_or(&service.envelopes).iter().map(String::as_str).collect(),
        ));
        let got = read.actions().map(|action| describe(
            action.sector,
            action.namespace,
            action.name,
            action.version,
            action.flags.iter().collect(),
            action.envelopes.iter().collect(),
        ));
        prop_assert_eq!(sorted(got.collect()), sorted(asked.collect()));
    }

    /// Q-16: any octet of the signed part changed, removed or added, and it is refused.
    #[test]
    fn any_change_is_refused(at in 0_usize..165, octet in any::<u8>(), how in 0..3) {
        let service = Description { actions: vec![Offer::new("A.b").unwrap()], ..service() };
        let text = service.sign(UnixTime::from_micros(1), &certificate(), &Toy).unwrap().to_vec();
        let json = text.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let at = at % json;
        let mut changed = text.clone();
        match how {
            0 if changed[at] != octet => changed[at] = octet,
            1 => { changed.remove(at); }
            _ => changed.insert(at, octet),
        }
        prop_assume!(changed != text);
        let verified = Unverified::split(&changed).and_then(|unverified| unverified.verify(&Toy));
        prop_assert!(verified.is_err());
    }
}

/// D-4, D-8: what is no certificate, or none of a key that counts.
#[test]
fn certificates_that_are_refused() {
    let e13 = std::str::from_utf8(E13).unwrap();
    let part = e13.split("\n\n").nth(1).unwrap();
    let refused = |certificate: &str| {
        let text = e13.replacen(part, certificate, 1);
        match Unverified::split(text.as_bytes()) {
            Err(AnnouncementError::BadCertificate(why)) => why,
            other => panic!("{certificate}: {other:?}"),
        }
    };
    refused(&format!("{part}\n{part}"));
    refused(&part.replace("CERTIFICATE", "X509 CERTIFICATE"));
    refused(&part.replacen("-----BEGIN CERTIFICATE-----\n", "", 1));
    refused(&part.replacen("MIID", "MIIE", 1));
    refused(&part.replacen("MIID", "MI=D", 1));
    refused("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----");
    // CR LF and other breaks of the lines change nothing (D-3, E-13).
    let crlf = part.replace('\n', "\r\n");
    let long = part
        .replacen("\nMIID", "\n M I I D", 1)
        .replacen("BQUAMIID", "", 0);
    for same in [crlf, long, format!(" {part} \n")] {
        let text = e13.replacen(part, &same, 1);
        let split = Unverified::split(text.as_bytes()).unwrap();
        assert_eq!(
            split.fingerprint(),
            Unverified::split(E13).unwrap().fingerprint()
        );
        let announcement = split.trusted().unwrap();
        assert_eq!(announcement.certificate(), certificate());
    }
}

/// D-1, D-3: parts that are missing, and what follows the last.
#[test]
fn parts() {
    let text = text_of(r#"[3,"x","main",1,5000,"beepish+tls://192.0.2.7:1",[],[],1]"#);
    let hunks: Vec<_> = text.split("\n\n").collect();
    let missing = AnnouncementError::Missing;
    for (text, error) in [
        ("", missing("certificate")),
        (hunks[0], missing("certificate")),
        (&text.replace('\n', "\r\n"), missing("certificate")),
        (&hunks[..2].join("\n\n"), missing("signature")),
        (
            &hunks[..2].join("\n\n").replacen("\n\n", "\r\n\r\n", 1),
            missing("certificate"),
        ),
    ] {
        assert_eq!(
            Unverified::split(text.as_bytes()).err(),
            Some(error),
            "{text}"
        );
    }
    let ends = [
        ("", false),
        ("\n", false),
        ("\n\n", false),
        ("\n\n\n\n", false),
        ("\n\nx", true),
    ];
    for (end, has_more) in ends {
        let text = hunks[..3].join("\n\n") + end;
        let read = Unverified::split(text.as_bytes())
            .unwrap()
            .verify(&Toy)
            .unwrap();
        assert_eq!((read.has_more(), read.text()), (has_more, &text[..]));
    }
    // A fourth part that is no text is left out of the text.
    let binary = [hunks[..3].join("\n\n").as_bytes(), b"\n\n\xFF"].concat();
    let read = Unverified::split(&binary).unwrap().verify(&Toy).unwrap();
    assert!(read.has_more() && read.text().ends_with("\n\n"));
}

/// D-43: an instance is wanted by its identity or with its fingerprint; N-8, HD-37: a second
/// certificate with the same identity is a second instance.
#[test]
fn instances_are_told_apart() {
    let mut service = service();
    service.actions.push(Offer::new("A.b").unwrap());
    let make = |certificate: &[u8], port: u16| {
        let service = Description {
            uri: format!("beepish+tls://192.0.2.7:{port}").parse().unwrap(),
            ..service.clone()
        };
        Arc::new(Instance::fixed(&service, Fingerprint::of(certificate), None).unwrap())
    };
    let directory = Directory::build([make(b"one", 1), make(b"two", 2)], &mut |_| ());
    assert_eq!(directory.instances().len(), 2);
    let all = AuthorizedServices::allow_all();
    let ports = |instance: Option<&str>, authorized: &AuthorizedServices| {
        let query = Query {
            instance,
            ..Query::new("main", "A.b")
        };
        let found = directory.lookup(&query, authorized);
        found.map(|all| all.map(|found| found.instance.uri().port()).sum::<u16>())
    };
    assert_eq!(ports(None, &all), Ok(3));
    assert_eq!(ports(Some("greeter:1"), &all), Ok(3));
    let one = Fingerprint::of(b"one");
    assert_eq!(ports(Some(&format!("{one}#greeter:1")), &all), Ok(1));
    assert_eq!(
        ports(Some(&format!("{one}#greeter:2")), &all),
        Err(LookupError::NotFound)
    );
    assert_eq!(ports(Some("greeter"), &all), Err(LookupError::NotFound));
    let only = AuthorizedServices::parse(format!("{one} A").as_bytes(), &mut |_| ());
    assert_eq!(ports(None, &only), Ok(1));
}

/// D-36, D-43, D-46: what the cache file lists does not count when it is stale; the rest does.
#[test]
fn a_stale_cache_hides_what_it_lists() {
    let mut cached = service();
    cached.actions = vec![Offer::new("A.b").unwrap(), Offer::new("A.c").unwrap()];
    let cached = Arc::new(Instance::from_cache(Arc::new(sign(&cached, 1))));
    let mut fixed = service();
    fixed.identity = "fixed".into();
    fixed.actions = vec![Offer::new("A.b").unwrap()];
    let fixed = Instance::fixed(&fixed, Fingerprint::of(b"x"), None).unwrap();
    let fresh = Directory::build([cached, Arc::new(fixed)], &mut |_| ());
    let stale = fresh.with_stale_cache(true);
    let all = AuthorizedServices::allow_all();
    let count = |directory: &Directory, action: &str| {
        directory
            .lookup(&Query::new("main", action), &all)
            .map(Iterator::count)
    };
    assert_eq!((count(&fresh, "A.b"), count(&fresh, "A.c")), (Ok(2), Ok(1)));
    assert_eq!(count(&stale, "A.b"), Ok(1));
    assert_eq!(count(&stale, "A.c"), Err(LookupError::StaleCache));
    assert_eq!(count(&stale, "A.d"), Err(LookupError::StaleCache));
    assert_eq!(count(&fresh, "A.d"), Err(LookupError::NotFound));
}

/// D-43: each reason for finding nobody, the nearest to success first; and each instance's reason.
#[test]
fn reasons() {
    let offer = |identity: &str, weight, offer: Offer| {
        let service = Description {
            identity: identity.into(),
            weight,
            actions: vec![offer],
            ..service()
        };
        Arc::new(Instance::fixed(&service, Fingerprint::of(identity.as_bytes()), None).unwrap())
    };
    let action = || Offer::new("A.b").unwrap();
    let directory = Directory::build(
        [
            offer("other envelope", 1, action().envelopes(&["web"])),
            offer("other version", 1, action().version(2)),
            offer("unlisted", 1, action()),
            offer("withdrawn", 0, action()),
            offer("another action", 1, Offer::new("A.c").unwrap()),
        ],
        &mut |_| (),
    );
    let listed: String = [
        "other envelope",
        "other version",
        "withdrawn",
        "another action",
    ]
    .iter()
    .map(|identity| format!("{} A\n", Fingerprint::of(identity.as_bytes())))
    .collect();
    let authorized = AuthorizedServices::parse(listed.as_bytes(), &mut |_| ());
    let query = Query::new("main", "A.b");
    let error = |authorized: &AuthorizedServices| directory.lookup(&query, authorized).err();
    assert_eq!(error(&authorized), Some(LookupError::UnsupportedEnvelope));
    assert_eq!(
        error(&AuthorizedServices::none()),
        Some(LookupError::NotAuthorized)
    );
    let mut reasons: Vec<_> = directory
        .explain(&query, &authorized)
        .into_iter()
        .map(|(instance, why)| (instance.identity().to_string(), why))
        .collect();
    reasons.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        reasons,
        [
            (
                "other envelope".to_string(),
                Some(WhyNot::UnsupportedEnvelope)
            ),
            ("other version".to_string(), Some(WhyNot::OtherVersion(2))),
            ("unlisted".to_string(), Some(WhyNot::NotAuthorized)),
            ("withdrawn".to_string(), Some(WhyNot::Withdrawn)),
        ]
    );
}

/// N-41, X-62, D-9, F-51: numbers of all kinds, and those that are refused.
#[test]
fn numbers() {
    let read = |weight: &str, interval: &str, time: &str| {
        let json = r#","beepish+tls://192.0.2.7:1",["json"],null,"#;
        with_json(&format!(
            r#"[3,"x","main",{weight},{interval}{json}{time}]"#
        ))
    };
    assert_eq!(read("0.5", "0.1", "1").unwrap().weight(), 0.5);
    assert_eq!(
        read("1e308", "1e308", "1e308").unwrap().interval(),
        core::time::Duration::MAX
    );
    assert_eq!(read("0", "0", "-1.5").unwrap().timestamp().number(), -1.5);
    assert!(read("-0", "-0.0", "-0").unwrap().is_withdrawal());
    for (weight, interval, time, field) in [
        ("-1", "1", "1", "weight"),
        ("1e309", "1", "1", "weight"),
        ("\"1\"", "1", "1", "weight"),
        ("null", "1", "1", "weight"),
        ("1", "-1", "1", "interval"),
        ("1", "null", "1", "interval"),
        ("1", "1", "\"1\"", "timestamp"),
        ("1", "1", "-1e309", "timestamp"),
    ] {
        let error = read(weight, interval, time).err();
        assert_eq!(error, Some(AnnouncementError::BadField(field)));
    }
}

/// F-51, D-5, D-9: an address of 4 KiB is refused; one that may be anybody's is an address like any
/// other, since nothing is said there before its certificate is the one announced (L-3).
#[test]
fn addresses_beyond_reason() {
    let read = |uri: &str| {
        with_json(&format!(
            r#"[3,"x","main",1,5000,"{uri}",["json"],[["A",["b"]]],1]"#
        ))
    };
    let long = |len: usize| {
        let rest = "beepish+tls://:1".len();
        format!("beepish+tls://{}:1", "a".repeat(len - rest))
    };
    let is_bad = |uri: &str| matches!(read(uri), Err(AnnouncementError::BadUri(_)));
    assert!(is_bad(&long(4096)));
    assert_eq!(
        read(&long(4097)).err(),
        Some(AnnouncementError::TextTooLong)
    );
    for refused in [
        "",
        "http://169.254.169.254/",
        "beepish+tls://169.254.169.254/:1",
    ] {
        assert!(is_bad(refused), "{refused}");
    }
    for taken in [
        "beepish+tls://169.254.169.254:80",
        "beepish+tls://127.0.0.1:30100",
    ] {
        assert_eq!(read(taken).unwrap().uri().to_string(), taken);
    }
}

/// D-11, N-7: a bad action is left out and told; its neighbours stay.
#[test]
fn bad_actions_leave_their_neighbours() {
    let announcement = with_json(
        r#"[3,"x","main",1,5000,"beepish+tls://192.0.2.7:1",["json"],[
        5,["",["a"]],["Y:Z",["a"]],[7,["a"]],[],["Only"],
        ["X",["good"],5,[],[5],["a.b"],["a:b"],[""],["f",5],["g","",0],["h","",2147483648],
        ["i","","x"],["j","",1.5],["k","",-1],["l",null,"3"],["m","",2.0],["n","",null],
        ["o","","",4],["p","read",2147483647,"more"],["bg/q"]]],1]"#,
    )
    .unwrap();
    assert_eq!(
        names(&announcement),
        [
            "main:X.good~1",
            "main:X.l~3",
            "main:X.m~2",
            "main:X.n~1",
            "main:X.p~2147483647",
            "main:X.bg/q~1",
        ]
    );
    let (bad, count) = announcement.bad_actions();
    assert_eq!((bad.len(), count), (10, 17));
    let faults: Vec<_> = bad.iter().map(|bad| bad.fault).collect();
    assert_eq!(
        faults[..4],
        [
            ActionFault::Form,
            ActionFault::Namespace,
            ActionFault::Namespace,
            ActionFault::Form,
        ]
    );
}

/// D-14, N-41: `accompat` other than 1 is left out silently, and absent it is 1.
#[test]
fn compatibility() {
    let read = |compat: &str| {
        let announcement = with_json(&format!(
            r#"[3,"x","main",1,5000,"beepish+tls://192.0.2.7:1",[{{"acname":["a","b","c"],"acns":"N",
            "acsec":"s","acenv":"json"{compat}}}],[],1]"#
        ))
        .unwrap();
        assert_eq!(announcement.bad_actions().1, 0);
        names(&announcement).len()
    };
    assert_eq!(read(""), 3);
    assert_eq!(read(r#","accompat":[[3,1]]"#), 3);
    assert_eq!(read(r#","accompat":[1,2,99999999999]"#), 1);
    assert_eq!(read(r#","accompat":0"#), 0);
}

/// D-15: the form that is version 4 alone.
#[test]
fn version_4_alone() {
    let rest =
        r#""vmin":0,"ident":"x","wgt":1,"intvl":5000,"uri":"beepish+tls://192.0.2.7:1","ts":1"#;
    let columns = r#""acname":["a"],"acns":["N"],"acsec":["s"],"acenv":["json"]"#;
    let read = |json: &str| with_json(json).map(|read| names(&read));
    assert_eq!(
        read(&format!("{{\"vmaj\":4,{rest},{columns}}}")),
        Ok(vec!["s:N.a~1".into()])
    );
    let all = format!(
        r#"{{{columns},{rest},"v3actions":[["M",["b","read"]]],"sector":"main","env":["json"],"vmaj":4.0}}"#
    );
    assert_eq!(read(&all), Ok(vec!["main:M.b~1".into(), "s:N.a~1".into()]));
    for (json, error) in [
        (
            r#"{"vmaj":5,"ident":7}"#.to_string(),
            AnnouncementError::TooNew(5),
        ),
        (format!("{{{rest}}}"), AnnouncementError::BadVersion),
        (
            r#"{"vmaj":4}"#.to_string(),
            AnnouncementError::BadField("identity"),
        ),
        (
            all.replace(r#""sector":"main","#, ""),
            AnnouncementError::BadField("sector"),
        ),
    ] {
        assert_eq!(read(&json), Err(error), "{json}");
    }
}

/// B-14, N-29, D-5: a text of a few octets that claims gigabytes is refused for what it claims, with
/// and without a good signature; how much memory that takes is counted in `scamp-tests`.
#[test]
fn claims_are_not_believed() {
    for count in [
        "100001",
        "4294967295",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        let json = format!(
            r#"[3,"x","m",1,1,"beepish+tls://192.0.2.7:1",[{{"acname":[[{count},"a"]],"acns":"N","acsec":"s","acenv":"j"}}],[],1]"#
        );
        let text = text_of(&json);
        let unsigned = Unverified::split(&text.as_bytes()[1..]).unwrap();
        assert_eq!(
            unsigned.verify(&Toy).err(),
            Some(AnnouncementError::WrongSignature)
        );
        let error = with_json(&json).err();
        let claims = [
            AnnouncementError::TooManyActions,
            AnnouncementError::BadVector("acname"),
        ];
        assert!(claims.map(Some).contains(&error), "{count}: {error:?}");
    }
    // At the limit it is taken, and its memory is that of its text (Q-15, HD-36).
    let most = with_json(
        r#"[3,"x","m",1,1,"beepish+tls://192.0.2.7:1",[{"acname":[[100000,"a"]],"acns":"N","acsec":"s","acenv":"j"}],[],1]"#,
    )
    .unwrap();
    assert_eq!(most.actions().count(), 100_000);
    assert!(most.memory() < 4096, "{}", most.memory());
    let directory = Directory::build([Arc::new(Instance::heard(Arc::new(most)))], &mut |event| {
        panic!("{event}")
    });
    assert!(directory.memory() < 1024, "{}", directory.memory());
}

/// D-5, F-51: the limits act at their value.
#[test]
fn limits_are_exact() {
    let read = |identity: usize, actions: usize| {
        let identity = "i".repeat(identity);
        let actions = vec![r#"["a"]"#; actions].join(",");
        with_json(&format!(
            r#"[3,"{identity}","m",1,1,"beepish+tls://192.0.2.7:1",[],[["N",{actions}]],1]"#
        ))
        .map(|read| read.action_count())
    };
    assert_eq!(read(4096, 1), Ok(1));
    assert_eq!(read(4097, 1), Err(AnnouncementError::TextTooLong));
    assert_eq!(read(1, 100_000), Ok(100_000));
    assert_eq!(read(1, 100_001), Err(AnnouncementError::TooManyActions));
    let spare = text_of("[]").len();
    let padded = |len: usize| {
        let json = format!("[{}]", " ".repeat(len - spare));
        Unverified::split(text_of(&json).as_bytes()).err()
    };
    assert_eq!(padded(crate::limits::ANNOUNCEMENT), None);
    assert_eq!(
        padded(crate::limits::ANNOUNCEMENT + 1),
        Some(AnnouncementError::TooLong)
    );
}

/// D-30, D-11, V-5: what nobody would take is not announced.
#[test]
fn offers_that_nobody_would_take() {
    for bad in ["", "a", ".a", "a.", "x:a.b", "A.b:c"] {
        assert!(
            matches!(Offer::new(bad), Err(OfferError::BadName(_))),
            "{bad}"
        );
    }
    let check = |change: &dyn Fn(&mut Description)| {
        let mut service = service();
        change(&mut service);
        service.check()
    };
    assert_eq!(check(&|_| ()), Ok(()));
    type Change = Box<dyn Fn(&mut Description)>;
    let changes: [Change; 6] = [
        Box::new(|service| service.identity.clear()),
        Box::new(|service| service.sector = "a:b".into()),
        Box::new(|service| service.envelopes = vec!["a,b".into()]),
        Box::new(|service| service.identity = "x".repeat(4097)),
        Box::new(|service| service.actions = vec![Offer::new("A.b").unwrap().version(0)]),
        Box::new(|service| service.actions = vec![Offer::new("A.b").unwrap().sector("")]),
    ];
    for change in changes {
        assert!(check(&*change).is_err());
    }
    let mut rng = crate::Rng::new(1);
    let mut big = service();
    big.actions = (0..5000)
        .map(|_| Offer::new(&format!("A.x{:x}", rng.next_u64())).unwrap())
        .collect();
    let text = big.sign(UnixTime::default(), &certificate(), &Toy).unwrap();
    assert!(datagram::compress(&text).is_ok());
    big.actions
        .extend((0..15_000).map(|_| Offer::new(&format!("A.x{:x}", rng.next_u64())).unwrap()));
    let text = big.sign(UnixTime::default(), &certificate(), &Toy).unwrap();
    assert!(matches!(datagram::compress(&text), Err(OfferError::TooLong(len)) if len > 65_507));
}

/// N-17, D-9: times are written with all their zeros, and none that is not needed.
#[test]
fn times_are_written() {
    for (micros, text) in [
        (5_000_042, "5.000042"),
        (1_700_000_000_250_000, "1700000000.25"),
        (1_700_000_000_000_000, "1700000000"),
        (0, "0"),
        (-1, "-0.000001"),
        (-1_500_000, "-1.5"),
        (i64::MAX, "9223372036854.775807"),
        (i64::MIN, "-9223372036854.775808"),
    ] {
        assert_eq!(UnixTime::from_micros(micros).to_string(), text);
    }
}
