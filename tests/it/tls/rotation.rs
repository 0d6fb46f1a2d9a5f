//! Certificates, CAs, CRLs and secrets that are replaced while nodes run: links stay where the proof is renewed, and end
//! where it is not acceptable any more.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use portmesh::{
    Identity, LinkInfo, Mode, Node, NodeEvent, ReplaceError, Secret, Secrets,
    runtime::{
        auth::{AuthConfig, Renew, Role, authenticate},
        transport::Transport,
    },
};
use rcgen::{SerialNumber, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    attack::{Mint, days},
    support::{GENEROUS, Party, both, limits, secretly},
};

/// Links end within this time after the proof is not acceptable any more; and what these machines take besides.
const CLOSED: Duration = Duration::from_secs(10);

/// Without an identity of its own file, with a serial number.
fn pem(mint: &Mint, node: &str, serial: u64) -> String {
    mint.pem(node, |params| {
        params.serial_number = Some(SerialNumber::from(serial));
    })
}

fn identity(text: &str) -> Identity {
    Identity::from_pem(text).unwrap()
}

async fn certified(node: &str, identity: Identity, seed: Option<&Node>) -> Node {
    let mut builder = Node::builder(node)
        .identity(identity)
        .listen("127.0.0.1:0")
        .limits(limits());
    if let Some(seed) = seed {
        builder = builder.seed(&seed.listen_addrs()[0]);
    }
    builder.start().await.unwrap()
}

async fn secret(node: &str, secrets: &Secrets, seed: Option<&Node>) -> Node {
    let mut builder = Node::builder(node)
        .secret(secrets.clone())
        .unpinned()
        .listen("127.0.0.1:0")
        .limits(limits());
    if let Some(seed) = seed {
        builder = builder.seed(&seed.listen_addrs()[0]);
    }
    builder.start().await.unwrap()
}

fn link(node: &Node, to: &str) -> Option<LinkInfo> {
    node.links()
        .into_iter()
        .find(|link| link.node.as_str() == to)
}

/// Waits until that node's link to the other is as it should be.
async fn until(node: &Node, to: &str, what: &str, is: impl Fn(Option<&LinkInfo>) -> bool) {
    let end = Instant::now() + GENEROUS;
    loop {
        let now = link(node, to);
        if is(now.as_ref()) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn linked(node: &Node, to: &str) {
    until(node, to, "a link comes up", |link| link.is_some()).await;
}

/// Whether the link to a node has ended or begun anew since then.
struct Watched<'a> {
    node: &'a Node,
    since: Instant,
}

impl Watched<'_> {
    fn new(node: &Node) -> Watched<'_> {
        Watched {
            node,
            since: Instant::now(),
        }
    }

    /// The link is as old as it should be.
    #[track_caller]
    fn stayed(&self, to: &str) {
        let link = link(self.node, to).expect("the link is up");
        assert!(link.age >= self.since.elapsed(), "{link:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_proved_over_the_link_and_the_link_stays() {
    let mint = Mint::new("test CA");
    let a = certified("a", identity(&pem(&mint, "a", 0x11)), None).await;
    let b = certified("b", identity(&pem(&mint, "b", 0x21)), Some(&a)).await;
    linked(&a, "b").await;
    linked(&b, "a").await;
    let watched = [Watched::new(&a), Watched::new(&b)];
    let port = a.port().open();
    let death = b.monitor(port.id()).death();
    let mut events = b.events();
    a.replace_identity(identity(&pem(&mint, "a", 0x12)))
        .unwrap();
    until(&b, "a", "the new serial is seen", |link| {
        link.is_some_and(|link| link.proof.contains("serial 12,"))
    })
    .await;
    let renewed = async {
        loop {
            match events.next().await {
                Some(NodeEvent::Renewed { node, expires, .. }) if node == *a.id() => {
                    return expires;
                }
                Some(_) => {}
                None => panic!("the node is gone"),
            }
        }
    };
    let expires = timeout(GENEROUS, renewed).await.unwrap();
    assert_eq!(expires, Some(a.identity().unwrap().not_after()));
    // from the side that accepted the connection too
    b.replace_identity(identity(&pem(&mint, "b", 0x22)))
        .unwrap();
    until(&a, "b", "the new serial is seen", |link| {
        link.is_some_and(|link| link.proof.contains("serial 22,"))
    })
    .await;
    watched[0].stayed("b");
    watched[1].stayed("a");
    assert_eq!(b.stats().mesh.renewed, 1);
    a.kill(port.id(), "enough").unwrap();
    let reason = timeout(GENEROUS, death).await.unwrap();
    assert_eq!(reason.tag(), Some("enough"), "it did not fire before");
}

#[tokio::test]
async fn a_link_ends_when_a_certificate_expires_and_only_where_it_was_not_renewed() {
    let mint = Mint::new("test CA");
    let short = |node: &str, serial: u64| {
        mint.pem(node, |params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.not_after = date_time_ymd(1970, 1, 1) + days(0) + Duration::from_secs(8);
        })
    };
    let a = certified("a", identity(&pem(&mint, "a", 1)), None).await;
    let b = certified("b", identity(&short("b", 2)), Some(&a)).await;
    let c = certified("c", identity(&short("c", 3)), Some(&a)).await;
    linked(&a, "b").await;
    linked(&a, "c").await;
    let watched = Watched::new(&a);
    b.replace_identity(identity(&pem(&mint, "b", 4))).unwrap();
    until(&a, "c", "the expired one is gone", |link| link.is_none()).await;
    let expired = c.identity().unwrap().not_after();
    let late = SystemTime::now()
        .duration_since(expired)
        .expect("not before it expired");
    assert!(late < CLOSED + Duration::from_secs(5), "{late:?}");
    watched.stayed("b");
    assert_eq!(a.stats().mesh.unproven, 1);
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_links_alone_and_does_not_get_back_in() {
    let mint = Mint::new("test CA");
    let with_crl = |node: &str, serial| identity(&(pem(&mint, node, serial) + &mint.crl(&[])));
    let a = certified("a", with_crl("a", 1), None).await;
    let b = certified("b", with_crl("b", 2), Some(&a)).await;
    let _c = certified("c", with_crl("c", 3), Some(&a)).await;
    for node in ["b", "c"] {
        linked(&a, node).await;
    }
    let watched = Watched::new(&a);
    let mut events = a.events();
    let crl = mint.crl_numbered(7, &[3]);
    assert!(a.add_crl(&crl).unwrap());
    until(&a, "c", "the revoked one is gone", |link| link.is_none()).await;
    watched.stayed("b");
    let refused = async {
        loop {
            match events.next().await {
                Some(NodeEvent::Refused { reason, .. }) => return reason,
                Some(_) => {}
                None => panic!("the node is gone"),
            }
        }
    };
    let reason = timeout(GENEROUS, refused)
        .await
        .expect("it tries, and is refused");
    assert!(reason.contains("revoked"), "{reason}");
    // nothing brings the older list back
    assert!(!a.add_crl(&mint.crl_numbered(6, &[])).unwrap());
    assert!(!a.add_crl(&crl).unwrap());
    a.replace_identity(identity(&(pem(&mint, "a", 5) + &mint.crl_numbered(6, &[]))))
        .unwrap();
    assert!(link(&a, "c").is_none());
    assert!(matches!(
        a.add_crl(&Mint::new("other CA").crl(&[2])),
        Err(ReplaceError::Crl(_))
    ));
    linked(&b, "a").await;
    assert!(link(&a, "c").is_none());
}

#[tokio::test]
async fn a_list_of_another_ca_does_not_hold_up_the_one_beside_it() {
    let (mint, other) = (Mint::new("test CA"), Mint::new("other CA"));
    let with_crl = |node: &str, serial| identity(&(pem(&mint, node, serial) + &mint.crl(&[])));
    let a = certified("a", with_crl("a", 1), None).await;
    let _b = certified("b", with_crl("b", 2), Some(&a)).await;
    linked(&a, "b").await;
    let began = Instant::now();
    let both = other.crl_numbered(9, &[2]) + &mint.crl_numbered(7, &[2]);
    assert!(matches!(a.add_crl(&both), Err(ReplaceError::Crl(_))));
    until(&a, "b", "the revoked one is gone", |link| link.is_none()).await;
    assert!(began.elapsed() < CLOSED + Duration::from_secs(5));
}

#[tokio::test]
async fn a_ca_is_rolled_over_with_both_in_the_bundle_and_no_link_is_lost() {
    let (old, new) = (Mint::new("old CA"), Mint::new("new CA"));
    let both = |mint: &Mint, other: &Mint, node: &str, serial| {
        identity(&(pem(mint, node, serial) + other.ca_pem()))
    };
    let a = certified("a", identity(&pem(&old, "a", 1)), None).await;
    let b = certified("b", identity(&pem(&old, "b", 2)), Some(&a)).await;
    linked(&a, "b").await;
    linked(&b, "a").await;
    let watched = [Watched::new(&a), Watched::new(&b)];
    // both trust both; then both show the new one; then both trust the new one alone
    a.replace_identity(both(&old, &new, "a", 3)).unwrap();
    b.replace_identity(both(&old, &new, "b", 4)).unwrap();
    a.replace_identity(both(&new, &old, "a", 5)).unwrap();
    b.replace_identity(both(&new, &old, "b", 6)).unwrap();
    for (at, to, serial) in [(&a, "b", "serial 06,"), (&b, "a", "serial 05,")] {
        until(at, to, "the new certificate is seen", |link| {
            link.is_some_and(|link| link.proof.contains(serial))
        })
        .await;
    }
    a.replace_identity(identity(&pem(&new, "a", 7))).unwrap();
    b.replace_identity(identity(&pem(&new, "b", 8))).unwrap();
    for (at, to, serial) in [(&a, "b", "serial 08,"), (&b, "a", "serial 07,")] {
        until(at, to, "the last certificate is seen", |link| {
            link.is_some_and(|link| link.proof.contains(serial))
        })
        .await;
    }
    watched[0].stayed("b");
    watched[1].stayed("a");
    // who comes with the old CA is not let in any more
    let late = certified("late", identity(&pem(&old, "late", 9)), Some(&a)).await;
    let mut events = a.events();
    let refused = async {
        while let Some(event) = events.next().await {
            if matches!(event, NodeEvent::Refused { .. }) {
                return;
            }
        }
    };
    timeout(GENEROUS, refused).await.expect("it is refused");
    assert!(link(&late, "a").is_none());
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_gap_and_who_keeps_the_old_one_is_put_out() {
    let [old, new] = [0; 2].map(|_| Secret::generate().unwrap());
    let secrets = |all: &[&Secret]| {
        let first = Secrets::new(all[0].clone());
        all.iter()
            .fold(first, |set, secret| set.accept((*secret).clone()).unwrap())
    };
    let a = secret("a", &secrets(&[&old]), None).await;
    let b = secret("b", &secrets(&[&old]), Some(&a)).await;
    let _c = secret("c", &secrets(&[&old]), Some(&a)).await;
    for node in ["b", "c"] {
        linked(&a, node).await;
    }
    linked(&b, "a").await;
    let watched = [Watched::new(&a), Watched::new(&b)];
    let ids = [&old, &new].map(|secret| secret.id().to_string());
    assert!(link(&a, "b").unwrap().proof.contains(&ids[0]));
    // c is forgotten by whoever does this
    for now in [secrets(&[&old, &new]), secrets(&[&new, &old])] {
        a.replace_secrets(now.clone()).unwrap();
        b.replace_secrets(now).unwrap();
    }
    for (at, to) in [(&a, "b"), (&b, "a")] {
        until(at, to, "the new secret is proved", |link| {
            link.is_some_and(|link| link.proof.contains(&ids[1]))
        })
        .await;
    }
    assert!(
        link(&a, "c").unwrap().proof.contains(&ids[0]),
        "the old one still counts"
    );
    let began = Instant::now();
    for node in [&a, &b] {
        node.replace_secrets(new.clone()).unwrap();
    }
    until(&a, "c", "who has only the old one is put out", |link| {
        link.is_none()
    })
    .await;
    assert!(began.elapsed() < CLOSED + Duration::from_secs(5));
    watched[0].stayed("b");
    watched[1].stayed("a");
    assert_eq!(a.stats().mesh.unproven, 1);
    // a new one comes with the new secret alone
    let d = secret("d", &secrets(&[&new]), Some(&a)).await;
    linked(&d, "a").await;
    assert!(link(&d, "a").unwrap().mode == Mode::Secret);
}

#[tokio::test]
async fn what_is_not_for_this_node_is_refused_and_the_former_stays() {
    let mint = Mint::new("test CA");
    let a = certified("a", identity(&pem(&mint, "a", 1)), None).await;
    let other = a.replace_identity(identity(&pem(&mint, "b", 2)));
    assert!(
        matches!(other, Err(ReplaceError::OtherNode { .. })),
        "{other:?}"
    );
    let secret_there = a.replace_secrets(Secret::generate().unwrap());
    assert_eq!(secret_there, Err(ReplaceError::NoSecret));
    assert_eq!(a.identity().unwrap().serial(), "01");
    let s = secret("s", &Secrets::new(Secret::generate().unwrap()), None).await;
    let there = s.replace_identity(identity(&pem(&mint, "s", 3)));
    assert_eq!(there, Err(ReplaceError::SecretMode));
    assert_eq!(s.add_crl(&mint.crl(&[])), Err(ReplaceError::SecretMode));
    let alone = Node::builder("alone").start().await.unwrap();
    let there = alone.replace_identity(identity(&pem(&mint, "alone", 4)));
    assert_eq!(there, Err(ReplaceError::NoMesh));
}

/// A member that proves itself as any other, and then says what the test wants.
struct Member {
    stream: Box<dyn portmesh::runtime::transport::Stream>,
    binding: portmesh::runtime::auth::Binding,
}

impl Member {
    async fn new(party: &Party, addr: &str) -> Member {
        let connection = party.transport.dial(addr, None).await.unwrap();
        let proved = authenticate(connection, Role::Initiator, &party.auth, None).await;
        let proved = proved.unwrap();
        assert!(proved.features.iter().any(|feature| feature == "renew"));
        let mut member = Member {
            stream: proved.stream,
            binding: proved.binding,
        };
        // the smaller ID activates: that is this one
        member.say(3, &[]).await;
        member
    }

    async fn say(&mut self, kind: u8, body: &[u8]) {
        let mut frame = (body.len() as u32 + 1).to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend(body);
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn renew(&mut self, body: &[u8]) {
        self.say(5, body).await;
    }

    /// Reads frames until one of that kind; `None`: the end came first.
    async fn frame(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            let length = self.stream.read_u32().await.ok()?;
            let mut inner = vec![0; length as usize];
            self.stream.read_exact(&mut inner).await.ok()?;
            match inner[0] {
                kind if kind == wanted => return Some(inner[1..].to_vec()),
                1 => {
                    let number = inner[1..].to_vec();
                    self.say(2, &number).await;
                }
                _ => {}
            }
        }
    }

    /// With which words it is thrown out.
    async fn thrown_out(&mut self) -> String {
        let close = timeout(GENEROUS, self.frame(4)).await.expect("an end");
        String::from_utf8_lossy(&close.unwrap_or_default()[2..]).into_owned()
    }
}

/// A party that has the feature `renew`.
fn party(membership: portmesh::transport::tls::Membership) -> Party {
    let node = membership.node.clone();
    let prepared = membership.prepare(&limits()).unwrap();
    let auth = AuthConfig::new(
        node,
        portmesh::Incarnation::new(1, 2),
        &prepared.cluster,
        both(),
        vec!["renew".to_owned()],
        &limits(),
        prepared.credentials,
    );
    Party {
        transport: Arc::new(prepared.transport),
        auth: Arc::new(auth.unwrap()),
    }
}

/// What a RENEW with that certificate says, signed over those words.
fn signed(mint: &Mint, node: &str, serial: u64, words: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (der, key) = mint.leaf(node, |params| {
        params.serial_number = Some(SerialNumber::from(serial));
    });
    let words = words(&der);
    let signature = rcgen::SigningKey::sign(&*key, &words).unwrap();
    Renew::Certificate {
        scheme: 0x0807,
        signature: &signature,
        chain: vec![&der],
    }
    .encode()
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_over_this_link_changes_nothing() {
    let mint = Mint::new("test CA");
    let seed = certified(
        "seed",
        identity(&(pem(&mint, "seed", 1) + &mint.crl(&[66]))),
        None,
    )
    .await;
    let addr = seed.listen_addrs()[0].clone();
    let party = party(mint.member_with("member", &mint.crl(&[])));
    let mut member = Member::new(&party, &addr).await;
    let mut elsewhere = Member::new(&party_named(&mint, "elsewhere"), &addr).await;
    linked(&seed, "member").await;
    let before = link(&seed, "member").unwrap().proof;
    let good = member.binding.clone();
    let own = |der: &[u8]| good.own_words(der);
    let stranger = Mint::new("other CA");
    for (body, why) in [
        (signed(&mint, "other", 10, own), "of another node"),
        (signed(&stranger, "member", 11, own), "of another CA"),
        (signed(&mint, "member", 66, own), "revoked"),
        (
            signed(&mint, "member", 12, |der| good.peer_words(der)),
            "reflected",
        ),
        (
            signed(&mint, "member", 13, |der| elsewhere.binding.own_words(der)),
            "of another link",
        ),
        (
            signed(&mint, "member", 14, |_| good.own_words(b"x")),
            "over another certificate",
        ),
    ] {
        let refused = seed.stats().mesh.renewals_refused;
        member.renew(&body).await;
        let end = Instant::now() + GENEROUS;
        while seed.stats().mesh.renewals_refused == refused {
            assert!(Instant::now() < end, "{why}: it is refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(link(&seed, "member").unwrap().proof, before, "{why}");
    }
    // and the same with everything right is taken
    member.renew(&signed(&mint, "member", 15, own)).await;
    until(&seed, "member", "the new one is taken", |link| {
        link.is_some_and(|link| link.proof.contains("serial 0f,"))
    })
    .await;
    // what is none closes the link
    member.renew(&[2, 8, 7]).await;
    assert!(member.thrown_out().await.contains("RENEW"));
    // and so does a flood
    for _ in 0..64 {
        let body = signed(&mint, "elsewhere", 20, |der| {
            elsewhere.binding.own_words(der)
        });
        let mut frame = (body.len() as u32 + 1).to_be_bytes().to_vec();
        frame.push(5);
        frame.extend(&body);
        if elsewhere.stream.write_all(&frame).await.is_err() {
            break;
        }
    }
    let _ = elsewhere.stream.flush().await;
    assert!(elsewhere.thrown_out().await.contains("RENEW"));
}

fn party_named(mint: &Mint, node: &str) -> Party {
    party(mint.member_with(node, &mint.crl(&[])))
}

#[tokio::test]
async fn a_secret_is_answered_by_who_has_it_and_no_other_is() {
    let [old, new, wrong] = [0; 3].map(|_| Secret::generate().unwrap());
    let accepted = Secrets::new(old.clone()).accept(new.clone()).unwrap();
    let seed = Node::builder("seed")
        .cluster("test")
        .secret(accepted.clone())
        .unpinned()
        .limits(limits())
        .listen("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let party = party(secretly("member", old.clone()));
    let mut member = Member::new(&party, &seed.listen_addrs()[0]).await;
    linked(&seed, "member").await;
    let refused = seed.stats().mesh.renewals_refused;
    let body = member.binding.prove(&wrong, false).unwrap();
    member.renew(&body).await;
    let body = member.binding.prove(&new, false).unwrap();
    member.renew(&body).await;
    let answer = timeout(GENEROUS, member.frame(5)).await.unwrap().unwrap();
    // the first answer is to the second question
    match Renew::decode(&answer).unwrap() {
        Renew::Secret { answers: true, tag } => {
            let found = member.binding.find(&accepted, true, tag);
            assert_eq!(found, Some(&new));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(seed.stats().mesh.renewals_refused, refused + 1);
    let id = new.id().to_string();
    assert!(link(&seed, "member").unwrap().proof.contains(&id));
}

#[tokio::test]
async fn a_crl_that_one_node_gets_reaches_the_others_and_those_who_come_later() {
    let mint = Mint::new("test CA");
    let with_crl = |node: &str, serial| identity(&(pem(&mint, node, serial) + &mint.crl(&[])));
    let seed = certified("seed", with_crl("seed", 1), None).await;
    let b = certified("b", with_crl("b", 2), Some(&seed)).await;
    let _c = certified("c", with_crl("c", 3), Some(&seed)).await;
    for node in ["b", "c"] {
        linked(&seed, node).await;
    }
    let watched = Watched::new(&seed);
    let crl = mint.crl_numbered(2, &[3]);
    assert!(b.add_crl(&crl).unwrap());
    let began = Instant::now();
    until(&seed, "c", "the revoked one is gone", |link| link.is_none()).await;
    assert!(began.elapsed() < CLOSED + Duration::from_secs(5));
    watched.stayed("b");
    // who told it first is gone, and a newcomer hears of it all the same
    b.shutdown(Duration::from_secs(1)).await;
    let d = certified("d", with_crl("d", 4), Some(&seed)).await;
    let end = Instant::now() + GENEROUS;
    while d.add_crl(&mint.crl_numbered(1, &[])).is_ok() {
        let told = d.db().family("'crl").await.unwrap_or_default();
        if told
            .iter()
            .any(|(_, value)| value.decode::<String>().is_ok_and(|text| text == crl))
        {
            break;
        }
        assert!(Instant::now() < end, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let end = Instant::now() + GENEROUS;
    while !d.crls().contains(&crl) {
        assert!(Instant::now() < end, "it is taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // a member cannot make others believe in a CRL that the CA has not signed
    let forged = Mint::new("test CA");
    assert!(d.add_crl(&forged.crl_numbered(9, &[1, 4])).is_err());
    linked(&d, "seed").await;
}
