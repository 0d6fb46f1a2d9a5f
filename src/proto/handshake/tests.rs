//! Tables: every state against every wrong frame, every byte flipped, reflections, replays, roles, refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::{
    keys::{Bound, Keys, Tag},
    *,
};
use crate::proto::{
    id::{Incarnation, NodeId},
    limits::Limits,
    naming,
};

const HI: [u8; 32] = [0x11; 32];
const HR: [u8; 32] = [0x22; 32];
const MODES: [Mode; 2] = [Mode::Secret, Mode::Certificate];

fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

fn local(id: &str, formats: &[&str]) -> Local {
    let formats = formats.iter().map(|f| (*f).to_owned()).collect();
    let limits = PeerLimits::of(&Limits::default());
    let life = Incarnation::new(0, if id == "i" { 1 } else { 2 });
    Local::new(node(id), life, "example", formats, Vec::new(), limits).unwrap()
}

/// The two ends of one connection.
fn channels(mode: Mode, exporter: u8) -> (Channel, Channel) {
    let certified = |id: &str| (mode == Mode::Certificate).then(|| node(id));
    let channel = |own_key, peer_key, peer| Channel {
        mode,
        exporter: [exporter; 32],
        own_key,
        peer_key,
        certified: certified(peer),
    };
    (channel(HI, HR, "r"), channel(HR, HI, "i"))
}

fn secret(n: u8) -> Secret {
    Secret::from_bytes([n; 32])
}

/// Both sides of one handshake, up to where the test wants to interfere.
struct Pair {
    mode: Mode,
    exporter: u8,
    i: Local,
    r: Local,
    i_secret: Secret,
    r_secrets: Secrets,
}

impl Pair {
    fn new(mode: Mode) -> Self {
        Pair {
            mode,
            exporter: 7,
            i: local("i", &["json", "cbor"]),
            r: local("r", &["cbor", "json"]),
            i_secret: secret(1),
            r_secrets: secret(1).into(),
        }
    }
    fn initiator(&self) -> (Initiator, Vec<u8>) {
        let channel = channels(self.mode, self.exporter).0;
        Initiator::start(&self.i, channel, Some(&self.i_secret)).unwrap()
    }
    fn responder(&self) -> Responder {
        let channel = channels(self.mode, self.exporter).1;
        Responder::start(&self.r, channel, Some(&self.r_secrets)).unwrap()
    }
    fn answered(&self, auth1: &[u8]) -> (ResponderAnswered, Vec<u8>) {
        self.responder()
            .handle_auth1(auth1)
            .unwrap()
            .answer()
            .unwrap()
    }
    /// AUTH1, AUTH2, READY of a whole run.
    fn transcript(&self) -> [Vec<u8>; 3] {
        let (i, auth1) = self.initiator();
        let (_, auth2) = self.answered(&auth1);
        let (_, ready) = i.handle_auth2(&auth2, None).unwrap().finish();
        [auth1, auth2, ready.to_vec()]
    }
    fn keys(&self) -> (Keys, Bound) {
        let channel = channels(self.mode, self.exporter).0;
        let s = match self.mode {
            Mode::Secret => *self.i_secret.bytes(),
            Mode::Certificate => channel.exporter,
        };
        let bound = Bound::new(Role::Initiator, channel.exporter, HI, HR);
        (Keys::new(&s, "example").unwrap(), bound)
    }
    /// What a member could send who says whatever it likes.
    fn forged_auth1(&self, greeting: &[u8]) -> Vec<u8> {
        let (keys, bound) = self.keys();
        frame(greeting, &Tag::Auth1(greeting).make(&keys, &bound))
    }
    fn forged_auth2(&self, auth1: &[u8], greeting: &[u8]) -> Vec<u8> {
        let (keys, bound) = self.keys();
        let (g_i, t_i) = (&auth1[2..auth1.len() - 32], &auth1[auth1.len() - 32..]);
        let tag = Tag::Auth2(g_i, t_i, greeting).make(&keys, &bound);
        frame(greeting, &tag)
    }
    fn refusal_of_auth1(&self, greeting: &[u8]) -> HandshakeError {
        let frame = self.forged_auth1(greeting);
        self.responder().handle_auth1(&frame).err().unwrap()
    }
    fn refusal_of_auth2(&self, greeting: &[u8]) -> HandshakeError {
        let (i, auth1) = self.initiator();
        let frame = self.forged_auth2(&auth1, greeting);
        i.handle_auth2(&frame, None).err().unwrap()
    }
}

fn frame(greeting: &[u8], tag: &[u8]) -> Vec<u8> {
    [&(greeting.len() as u16).to_be_bytes(), greeting, tag].concat()
}

fn json(local: &Local, mode: Mode, pick: Option<&str>) -> serde_json::Value {
    let pick = pick.map(|format| Pick {
        version: VERSION,
        format: format.to_owned(),
    });
    serde_json::from_slice(&local.greeting(mode, pick)).unwrap()
}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn both_sides_agree_in_both_modes() {
    for mode in MODES {
        let pair = Pair::new(mode);
        let (i, auth1) = pair.initiator();
        let verified = pair.responder().handle_auth1(&auth1).unwrap();
        assert_eq!(verified.peer().node, node("i"));
        let (r, auth2) = verified.answer().unwrap();
        let verified = i.handle_auth2(&auth2, Some(&node("r"))).unwrap();
        assert_eq!(verified.peer().node, node("r"));
        let (at_i, ready) = verified.finish();
        let at_r = r.handle_ready(&ready).unwrap();
        assert_eq!((&at_i.pick, &at_i.features), (&at_r.pick, &at_r.features));
        // The initiator's preference counts.
        assert_eq!(at_i.pick.format, "json");
        assert_eq!(at_i.peer.limits, PeerLimits::of(&Limits::default()));
    }
}

#[test]
fn every_state_refuses_every_wrong_frame() {
    for mode in MODES {
        let pair = Pair::new(mode);
        let [auth1, auth2, ready] = pair.transcript();
        let elsewhere = Pair {
            exporter: 8,
            ..Pair::new(mode)
        };
        let [other1, other2, other_ready] = elsewhere.transcript();
        let garbage = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        let frames = [
            ("AUTH1", &auth1),
            ("AUTH2", &auth2),
            ("READY", &ready),
            ("AUTH1 of another connection", &other1),
            ("AUTH2 of another connection", &other2),
            ("READY of another connection", &other_ready),
            ("garbage", &garbage),
            ("nothing", &Vec::new()),
        ];
        for (name, frame) in frames {
            let as_auth1 = pair.responder().handle_auth1(frame).is_ok();
            assert_eq!(as_auth1, name == "AUTH1", "{name} as AUTH1");
            let as_auth2 = pair.initiator().0.handle_auth2(frame, None).is_ok();
            assert_eq!(as_auth2, name == "AUTH2", "{name} as AUTH2");
            let as_ready = pair.answered(&auth1).0.handle_ready(frame).is_ok();
            assert_eq!(as_ready, name == "READY", "{name} as READY");
        }
    }
}

#[test]
fn every_flipped_bit_cut_or_added_byte_is_refused() {
    for mode in MODES {
        let pair = Pair::new(mode);
        let [auth1, auth2, ready] = pair.transcript();
        let refused = |which: usize, frame: &[u8]| match which {
            0 => pair.responder().handle_auth1(frame).is_err(),
            1 => pair.initiator().0.handle_auth2(frame, None).is_err(),
            _ => pair.answered(&auth1).0.handle_ready(frame).is_err(),
        };
        for (which, good) in [&auth1, &auth2, &ready].into_iter().enumerate() {
            assert!(!refused(which, good));
            for at in 0..good.len() {
                for bit in [0x01, 0x80] {
                    let mut bad = good.clone();
                    bad[at] ^= bit;
                    assert!(refused(which, &bad), "frame {which}, byte {at}");
                }
                assert!(refused(which, &good[..at]), "frame {which} cut at {at}");
            }
            assert!(refused(which, &[good, &[0][..]].concat()));
        }
    }
}

#[test]
fn a_changed_greeting_is_refused_before_it_is_parsed() {
    let pair = Pair::new(Mode::Secret);
    let mut auth1 = pair.transcript()[0].clone();
    auth1[2] = b'!'; // not JSON any more
    let refusal = pair.responder().handle_auth1(&auth1).err().unwrap();
    assert_eq!(refusal, HandshakeError::BadTag(Mode::Secret));
}

#[test]
fn our_own_messages_reflected_are_refused() {
    for mode in MODES {
        let pair = Pair::new(mode);
        // To the initiator, on its own connection.
        let (i, auth1) = pair.initiator();
        let refusal = i.handle_auth2(&auth1, None).err().unwrap();
        assert_eq!(refusal, HandshakeError::BadTag(mode));
        // To this node's own responder, over a connection with the same exporter (which TLS rules out).
        let swapped = Channel {
            own_key: HI,
            peer_key: HR,
            ..channels(mode, 7).1
        };
        let responder = Responder::start(&pair.i, swapped, Some(&pair.r_secrets)).unwrap();
        assert!(responder.handle_auth1(&auth1).is_err());
        // The same key at both ends.
        let looped = Channel {
            own_key: HI,
            peer_key: HI,
            ..channels(mode, 7).1
        };
        let refusal = Responder::start(&pair.i, looped, Some(&pair.r_secrets)).err();
        assert_eq!(refusal, Some(HandshakeError::OwnKey));
    }
}

#[test]
fn roles_have_keys_and_labels_of_their_own() {
    let pair = Pair::new(Mode::Secret);
    let [auth1, auth2, _] = pair.transcript();
    let (keys, bound) = pair.keys();
    let (g_i, t_i) = (&auth1[2..auth1.len() - 32], &auth1[auth1.len() - 32..]);
    let (g_r, t_r) = (&auth2[2..auth2.len() - 32], &auth2[auth2.len() - 32..]);
    let tags = [
        Tag::Auth1(g_i).make(&keys, &bound),
        Tag::Auth2(g_i, t_i, g_r).make(&keys, &bound),
        Tag::Ready(g_i, t_i, g_r, t_r).make(&keys, &bound),
        // The same greeting in another place.
        Tag::Auth1(g_r).make(&keys, &bound),
        Tag::Auth2(g_r, t_r, g_i).make(&keys, &bound),
    ];
    for (n, a) in tags.iter().enumerate() {
        assert!(tags[n + 1..].iter().all(|b| a != b));
    }
    // Who exchanges the two public keys changes every tag.
    let swapped = Bound::new(Role::Responder, [7; 32], HI, HR);
    assert_ne!(Tag::Auth1(g_i).make(&keys, &swapped), tags[0]);
}

#[test]
fn the_parts_of_a_tag_cannot_be_shifted_into_one_another() {
    let (keys, bound) = Pair::new(Mode::Secret).keys();
    let a = Tag::Auth2(b"ab", b"c", b"d").make(&keys, &bound);
    let b = Tag::Auth2(b"a", b"bc", b"d").make(&keys, &bound);
    assert_ne!(a, b);
}

#[test]
fn another_secret_or_cluster_is_a_bad_tag() {
    let bad = Some(HandshakeError::BadTag(Mode::Secret));
    let mut pair = Pair::new(Mode::Secret);
    pair.r_secrets = secret(2).into();
    let (_, auth1) = pair.initiator();
    assert_eq!(pair.responder().handle_auth1(&auth1).err(), bad);
    for mode in MODES {
        let mut pair = Pair::new(mode);
        pair.r.cluster = "other".into();
        let (_, auth1) = pair.initiator();
        let refusal = pair.responder().handle_auth1(&auth1).err();
        assert_eq!(refusal, Some(HandshakeError::BadTag(mode)));
    }
}

#[test]
fn up_to_four_secrets_are_accepted_and_the_matching_one_answers() {
    let mut pair = Pair::new(Mode::Secret);
    pair.r_secrets = [2, 3, 4].iter().fold(secret(1).into(), |all: Secrets, n| {
        all.accept(secret(*n)).unwrap()
    });
    let fifth = pair.r_secrets.clone().accept(secret(5));
    assert_eq!(fifth, Err(SecretError::TooMany));
    assert!(pair.r_secrets.clone().accept(secret(4)).is_ok());
    for n in 1..=4 {
        pair.i_secret = secret(n);
        let [_, _, ready] = pair.transcript();
        assert_eq!(ready.len(), TAG_BYTES);
    }
    pair.i_secret = secret(5);
    let (_, auth1) = pair.initiator();
    assert!(pair.responder().handle_auth1(&auth1).is_err());
}

#[test]
fn who_lacks_what_the_mode_needs_does_not_begin() {
    let (i, r) = channels(Mode::Secret, 1);
    let pair = Pair::new(Mode::Secret);
    let refusal = Initiator::start(&pair.i, i, None).err();
    assert_eq!(refusal, Some(HandshakeError::NoSecret));
    let refusal = Responder::start(&pair.r, r, None).err();
    assert_eq!(refusal, Some(HandshakeError::NoSecret));
    let nameless = Channel {
        certified: None,
        ..channels(Mode::Certificate, 1).0
    };
    let refusal = Initiator::start(&pair.i, nameless, None).err();
    assert_eq!(refusal, Some(HandshakeError::NoCertifiedName));
}

#[test]
fn members_that_lie_are_refused_with_the_reason() {
    for mode in MODES {
        let pair = Pair::new(mode);
        let own = |role: Role| match role {
            Role::Initiator => (json(&pair.i, mode, None), "r"),
            Role::Responder => (json(&pair.r, mode, Some("json")), "i"),
        };
        let refusal = |role, change: &dyn Fn(&mut serde_json::Value, &str)| {
            let (mut value, other) = own(role);
            change(&mut value, other);
            match role {
                Role::Initiator => pair.refusal_of_auth1(&bytes(&value)),
                Role::Responder => pair.refusal_of_auth2(&bytes(&value)),
            }
        };
        for role in [Role::Initiator, Role::Responder] {
            let e = refusal(role, &|v, _| v["cluster"] = "elsewhere".into());
            assert!(matches!(e, HandshakeError::WrongCluster { .. }), "{e}");
            let e = refusal(role, &|v, other| v["id"] = other.into());
            assert!(matches!(e, HandshakeError::OwnId(_)), "{e}");
            let wrong = if mode == Mode::Secret {
                "certificate"
            } else {
                "secret"
            };
            let e = refusal(role, &|v, _| v["mode"] = wrong.into());
            assert!(matches!(e, HandshakeError::WrongMode { .. }), "{e}");
            let e = refusal(role, &|v, _| v["versions"] = vec![2, 3].into());
            assert!(matches!(e, HandshakeError::NoCommonVersion { .. }), "{e}");
            let e = refusal(role, &|v, _| v["formats"] = vec!["x"].into());
            assert!(matches!(e, HandshakeError::NoCommonFormat { .. }), "{e}");
            let e = refusal(role, &|v, _| {
                v["formats"] = serde_json::Value::Array(vec![])
            });
            assert!(matches!(e, HandshakeError::NoCommonFormat { .. }), "{e}");
            if mode == Mode::Certificate {
                let e = refusal(role, &|v, _| v["id"] = "mallory".into());
                let named = matches!(e, HandshakeError::CertificateNamesAnother { .. });
                assert!(named, "{e}");
            }
        }
    }
}

#[test]
fn a_dial_for_one_node_takes_no_other() {
    let pair = Pair::new(Mode::Secret);
    let (i, auth1) = pair.initiator();
    let (_, auth2) = pair.answered(&auth1);
    let refusal = i.handle_auth2(&auth2, Some(&node("x"))).err().unwrap();
    let wanted = HandshakeError::Unexpected {
        wanted: node("x"),
        found: node("r"),
    };
    assert_eq!(refusal, wanted);
}

#[test]
fn the_initiator_computes_the_pick_again() {
    let pair = Pair::new(Mode::Secret);
    let good = json(&pair.r, Mode::Secret, Some("json"));
    let picks = [
        serde_json::json!({"version": 1, "format": "cbor"}),
        serde_json::json!({"version": 2, "format": "json"}),
        serde_json::json!({"version": 1, "format": "storable"}),
    ];
    for pick in picks {
        let mut bad = good.clone();
        bad["pick"] = pick;
        let e = pair.refusal_of_auth2(&bytes(&bad));
        assert!(matches!(e, HandshakeError::PickDiffers { .. }), "{e}");
    }
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("pick");
    let e = pair.refusal_of_auth2(&bytes(&without));
    assert!(matches!(e, HandshakeError::PickDiffers { .. }), "{e}");
    // A responder that hides a format (as a downgrade would) cannot: its list is under the tag, and the pick follows it.
    let mut fewer = good;
    fewer["formats"] = vec!["cbor"].into();
    let e = pair.refusal_of_auth2(&bytes(&fewer));
    assert!(matches!(e, HandshakeError::PickDiffers { .. }), "{e}");
}

#[test]
fn versions_and_features_are_what_both_have() {
    let mut pair = Pair::new(Mode::Secret);
    pair.i.versions = vec![1, 3, 2];
    pair.r.versions = vec![2, 1, 4];
    pair.i.features = vec!["renew".into(), "db".into(), "relay".into()];
    pair.r.features = vec!["db".into(), "streams".into(), "renew".into()];
    let (i, auth1) = pair.initiator();
    let (r, auth2) = pair.answered(&auth1);
    let (agreed, ready) = i.handle_auth2(&auth2, None).unwrap().finish();
    assert_eq!(agreed.pick.version, 2);
    assert_eq!(agreed.features, ["db", "renew"]);
    assert_eq!(r.handle_ready(&ready).unwrap().features, agreed.features);
}

#[test]
fn a_self_certifying_id_needs_its_key() {
    for (key, good) in [(HI, true), (HR, false), ([0; 32], false)] {
        let mut pair = Pair::new(Mode::Secret);
        pair.i.node = naming::self_certifying("i", &key).unwrap();
        let (_, auth1) = pair.initiator();
        match pair.responder().handle_auth1(&auth1) {
            Ok(_) => assert!(good),
            Err(e) => assert!(!good && matches!(e, HandshakeError::NotItsKey(_)), "{e}"),
        }
    }
}

#[test]
fn lengths_outside_the_bounds_are_refused_at_the_header() {
    for n in [0, 2049, 65_535] {
        let header = u16::to_be_bytes(n);
        let wanted = HandshakeError::Length(n.into());
        assert_eq!(auth_bytes_after(header), Err(wanted));
    }
    for n in [1, 2048] {
        assert_eq!(
            auth_bytes_after(u16::to_be_bytes(n)),
            Ok(usize::from(n) + 32)
        );
    }
}

#[test]
fn greetings_are_read_strictly_and_leave_room_for_later_versions() {
    let pair = Pair::new(Mode::Secret);
    let good = json(&pair.i, Mode::Secret, None);
    let accepted = |text: &str| {
        let frame = pair.forged_auth1(text.as_bytes());
        pair.responder().handle_auth1(&frame).is_ok()
    };
    let text = good.to_string();
    assert!(accepted(&text));
    // Unknown keys, at any depth and of any kind.
    let later = text.replacen('{', r#"{"later":[{"a":[1.5,null,true,-3]}],"#, 1);
    assert!(accepted(&later));
    // Every key is needed.
    for key in good.as_object().unwrap().keys() {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(key);
        let e = pair.refusal_of_auth1(&bytes(&without));
        assert!(e.to_string().contains(&format!("{key} is missing")), "{e}");
        let mut null = good.clone();
        null[key] = serde_json::Value::Null;
        assert!(!accepted(&null.to_string()), "{key}");
    }
    // A key twice is refused at any depth.
    let doubles = [
        text.replacen('{', r#"{"id":"i","#, 1),
        text.replacen(r#""limits":{"#, r#""limits":{"frame_bytes":1048576,"#, 1),
        text.replacen('{', r#"{"x":{"y":1,"y":1},"#, 1),
    ];
    for double in doubles {
        assert_ne!(double, text);
        let e = pair.refusal_of_auth1(double.as_bytes());
        assert!(e.to_string().contains("twice"), "{e}");
    }
    let limit = |key: &str, n: u64| {
        let mut changed = good.clone();
        changed["limits"][key] = n.into();
        changed.to_string()
    };
    for (key, least) in [
        ("frame_bytes", 1024),
        ("message_bytes", 1024),
        ("window_bytes", 1024),
        ("link_timeout_ms", 1000),
    ] {
        assert!(accepted(&limit(key, least)));
        assert!(accepted(&limit(key, u64::MAX)));
        assert!(!accepted(&limit(key, least - 1)), "{key}");
    }
    let many: Vec<String> = (0..33).map(|n| format!("f{n}")).collect();
    let bad = [
        ("versions", serde_json::json!([65_536])),
        ("versions", serde_json::json!(["1"])),
        ("formats", serde_json::json!(["json", "json"])),
        ("formats", serde_json::json!(["Storable; rm"])),
        ("formats", serde_json::json!([""])),
        ("formats", serde_json::json!(["x".repeat(33)])),
        ("features", serde_json::json!(many)),
        ("id", serde_json::json!("a b")),
        ("id", serde_json::json!("x".repeat(256))),
        ("incarnation", serde_json::json!("1")),
        ("cluster", serde_json::json!("Example")),
        ("mode", serde_json::json!("none")),
        ("pick", serde_json::json!({"version": 1})),
        ("pick", serde_json::json!("json")),
    ];
    for (key, value) in bad {
        let mut changed = good.clone();
        changed[key] = value;
        let e = pair.refusal_of_auth1(&bytes(&changed));
        assert!(matches!(e, HandshakeError::Greeting(_)), "{key}: {e}");
    }
    for not in [
        "",
        " ",
        "[]",
        "{}",
        "null",
        "{",
        &format!("{text}{text}"),
        &format!("{text} x"),
    ] {
        let frame = pair.forged_auth1(not.as_bytes());
        assert!(pair.responder().handle_auth1(&frame).is_err(), "{not}");
    }
    // Deep nesting ends with an error, not with the stack.
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let e = pair.refusal_of_auth1(deep.as_bytes());
    assert!(matches!(e, HandshakeError::Greeting(_)), "{e}");
    let e = pair.refusal_of_auth1(b"\xff\xfe");
    assert!(matches!(e, HandshakeError::Greeting(_)), "{e}");
}

#[test]
fn what_cannot_be_announced_is_found_at_the_start() {
    let make = |cluster: &str, formats: Vec<String>| {
        let limits = PeerLimits::of(&Limits::default());
        let life = Incarnation::new(0, 0);
        let id = node(&"x".repeat(255));
        Local::new(id, life, cluster, formats, Vec::new(), limits)
    };
    let names = |n: usize| (0..n).map(|n| format!("{n:032}")).collect();
    assert!(make("c", names(1)).is_ok());
    assert!(make(&"c".repeat(63), names(32)).is_ok());
    for (cluster, formats) in [
        ("", names(1)),
        ("c", names(0)),
        ("c", names(33)),
        ("c", vec!["a b".to_owned()]),
        ("c", vec!["a".to_owned(), "a".to_owned()]),
        ("a..b", names(1)),
        ("-a", names(1)),
        ("a_b", names(1)),
    ] {
        let refused = make(cluster, formats);
        assert!(
            matches!(refused, Err(HandshakeError::Config(_))),
            "{cluster}"
        );
    }
}

#[test]
fn secret_texts_survive_and_typing_errors_do_not() {
    let secret = Secret::from_bytes(std::array::from_fn(|i| i as u8));
    let text = secret.to_text();
    assert_eq!(text.parse::<Secret>().unwrap(), secret);
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    for at in 0..text.len() {
        let mut bad = text.as_bytes().to_vec();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(bad).unwrap();
        assert!(bad.parse::<Secret>().is_err(), "character {at}");
        assert!(text[..at].parse::<Secret>().is_err());
    }
    assert!(format!("{}A", text.as_str()).parse::<Secret>().is_err());
    assert!("pms1_ääääääääääääääääääääääää".parse::<Secret>().is_err());
    let short = Secret::from_passphrase("nineteen characters", "c");
    assert_eq!(short, Err(SecretError::ShortPassphrase(19)));
}

/// The answers were computed by another program, so that this test ties this code to the design and not to itself.
#[test]
fn known_answers_hold() {
    let text = include_str!("../../../tests/vectors/handshake.json");
    let doc: serde_json::Value = serde_json::from_str(text).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let cases = doc["handshakes"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let array = |key: &str| -> [u8; 32] {
            let text = text(key);
            std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        };
        let mode = match text("mode") {
            "secret" => Mode::Secret,
            _ => Mode::Certificate,
        };
        let limits = PeerLimits::of(&Limits::default());
        let local = |id: &str, life, formats: [&str; 2]| {
            let formats = formats.map(str::to_owned).to_vec();
            let life = Incarnation::new(0, life);
            Local::new(node(id), life, text("cluster"), formats, Vec::new(), limits).unwrap()
        };
        let channel = |own: &str, peer: &str, id: &str| Channel {
            mode,
            exporter: array("exporter"),
            own_key: array(own),
            peer_key: array(peer),
            certified: (mode == Mode::Certificate).then(|| node(id)),
        };
        let (hi, hr) = ("initiator_key_sha256", "responder_key_sha256");
        let secret: Option<Secret> = case["secret_text"].as_str().map(|t| t.parse().unwrap());
        if let Some(secret) = &secret {
            assert_eq!(secret.bytes(), &array("secret"));
        }
        for renew in case["renew"].as_array().unwrap() {
            let (role, own, peer) = match renew["by"].as_str().unwrap() {
                "initiator" => (Role::Initiator, hi, hr),
                _ => (Role::Responder, hr, hi),
            };
            let binding = Binding::new(&channel(own, peer, "x"), role, text("cluster"));
            if let Some(secret) = &secret {
                let body = binding.prove(secret, renew["answers"] == 1).unwrap();
                assert_eq!(hex(&body), renew["body"].as_str().unwrap());
                assert_eq!(secret.id().to_string(), text("secret_id"));
            } else {
                let words = binding.own_words(b"a certificate in DER");
                assert_eq!(hex(&words), renew["signed"].as_str().unwrap());
            }
        }
        let i = local("worker/a", 1, ["json", "cbor"]);
        let r = local("seed", 2, ["cbor", "json"]);
        let (i, auth1) = Initiator::start(&i, channel(hi, hr, "seed"), secret.as_ref()).unwrap();
        assert_eq!(hex(&auth1), text("auth1"));
        let (r, auth2) = Responder::start(
            &r,
            channel(hr, hi, "worker/a"),
            secret.map(Secrets::new).as_ref(),
        )
        .unwrap()
        .handle_auth1(&auth1)
        .unwrap()
        .answer()
        .unwrap();
        assert_eq!(hex(&auth2), text("auth2"));
        let (_, ready) = i.handle_auth2(&auth2, None).unwrap().finish();
        assert_eq!(hex(&ready), text("ready"));
        assert!(r.handle_ready(&ready).is_ok());
    }
    let text = |key: &str| doc["passphrase"][key].as_str().unwrap();
    let stretched = Secret::from_passphrase(text("passphrase"), text("cluster")).unwrap();
    assert_eq!(hex(stretched.bytes()), text("secret"));
}

/// A member's greeting can be any bytes: they are refused or understood, within the bounds, and never more.
mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    fn understood(greeting: &[u8]) {
        let pair = Pair::new(Mode::Secret);
        let frame = pair.forged_auth1(greeting);
        if let Ok(verified) = pair.responder().handle_auth1(&frame) {
            let peer = verified.peer();
            assert!(peer.formats.len() <= 32 && peer.versions.len() <= 32);
            assert!(peer.features.len() <= 32 && peer.cluster == "example");
            assert!(peer.limits.link_timeout_ms >= 1000 && peer.limits.window_bytes >= 512);
            let (_, auth2) = verified.answer().unwrap();
            assert!(auth2.len() <= 2 + GREETING_BYTES_MAX + TAG_BYTES);
        }
    }

    proptest! {
        #[test]
        fn of_any_kind(greeting in prop::collection::vec(any::<u8>(), 0..2100)) {
            understood(&greeting);
        }

        #[test]
        fn that_were_a_greeting_once(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6)
        ) {
            let pair = Pair::new(Mode::Secret);
            let mut greeting = bytes(&json(&pair.i, Mode::Secret, None));
            for (at, byte, how) in changes {
                let at = at.index(greeting.len());
                match how {
                    0 => greeting[at] = byte,
                    1 => greeting.insert(at, byte),
                    _ => drop(greeting.remove(at)),
                }
            }
            understood(&greeting);
        }

        #[test]
        fn and_so_can_a_frame(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            for mode in MODES {
                let pair = Pair::new(mode);
                prop_assert!(pair.responder().handle_auth1(&frame).is_err());
                prop_assert!(pair.initiator().0.handle_auth2(&frame, None).is_err());
            }
        }
    }
}
