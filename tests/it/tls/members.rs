//! Certificates and members: who has a certificate of the CA, or the secret, and still may not be who it says.

use std::sync::Arc;

use portmesh::{
    Incarnation,
    proto::{
        codec::Format,
        handshake::{Mode, Secret},
    },
    runtime::auth::{AuthConfig, Role, authenticate},
    transport::tls::{Identity, Membership, State, dns_name, node_uri},
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use super::{
    attack::{CERTIFICATE, Mint, Shows, Trap, client_config, connect, read_to_end, to_pem, valid},
    support::{Party, Server, both, certified, limits, node, secretly},
};

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A change to a good certificate, and what must be said of it.
type Flaw = (&'static str, fn(&mut CertificateParams), &'static str);

/// Everything that may be wrong with a certificate which the right CA signed.
const FLAWS: &[Flaw] = &[
    ("expired", |p| valid(-9, -2)(p), "it expired on "),
    (
        "not valid yet",
        |p| valid(2, 9)(p),
        "it is valid only from ",
    ),
    (
        "a CA's",
        |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        "",
    ),
    (
        "may sign certificates",
        |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign),
        "may sign certificates or CRLs",
    ),
    (
        "may sign CRLs",
        |p| p.key_usages.push(KeyUsagePurpose::CrlSign),
        "may sign certificates or CRLs",
    ),
    (
        "no key usage",
        |p| p.key_usages.clear(),
        "it has no key usage",
    ),
    (
        "may not sign",
        |p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        "digitalSignature",
    ),
    (
        "no extended key usage",
        |p| p.extended_key_usages.clear(),
        "it has no extended key usage",
    ),
    (
        "for servers only",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "serverAuth and clientAuth",
    ),
    (
        "for clients only",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        "serverAuth and clientAuth",
    ),
    (
        "for anything",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
        "serverAuth and clientAuth",
    ),
    ("no names", |p| p.subject_alt_names.clear(), ""),
    (
        "no URI",
        |p| p.subject_alt_names = vec![dns(&dns_name("test"))],
        "it names no node",
    ),
    (
        "two URIs",
        |p| p.subject_alt_names.push(uri("spiffe://test/node/b")),
        "more than one URI",
    ),
    (
        "another kind of URI",
        |p| p.subject_alt_names[0] = uri("spiffe://test/user/a"),
        "does not name a node",
    ),
    (
        "a URI with a port",
        |p| p.subject_alt_names[0] = uri("spiffe://test:1/node/a"),
        "its URI",
    ),
    (
        "an ID that is none",
        |p| p.subject_alt_names[0] = uri("spiffe://test/node/a%20b"),
        "does not name a node",
    ),
    (
        "another cluster",
        |p| p.subject_alt_names = vec![uri("spiffe://other/node/a"), dns(&dns_name("other"))],
        "",
    ),
    (
        "another cluster in the URI",
        |p| {
            p.subject_alt_names = vec![
                uri("spiffe://other/node/a"),
                dns(&dns_name("test")),
                dns(&dns_name("other")),
            ];
        },
        "it is for cluster \"other\", not \"test\"",
    ),
    (
        "no DNS name",
        |p| {
            p.subject_alt_names.pop();
        },
        "",
    ),
    (
        "a wildcard",
        |p| p.subject_alt_names[1] = dns("*.test.portmesh.internal"),
        "",
    ),
    (
        "a critical extension that nobody knows",
        |p| {
            let mut extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions.push(extension);
        },
        "",
    ),
];

async fn still_serves(server: &mut Server, friend: &Party) {
    friend.dial(&server.addr, Some("seed")).await.unwrap();
    server.next().await.unwrap();
}

#[tokio::test]
async fn flawed_certificates_are_refused_by_both_sides() {
    let mint = Mint::new("test CA");
    let seed = Party::new(mint.member("seed"), both());
    let mut server = seed.serve().await;
    for (name, flaw, reason) in FLAWS {
        let shows = mint.shows("a", *flaw);
        // As a client.
        if let Ok(mut tls) = connect(&server.addr, client_config(&shows, &[CERTIFICATE])).await {
            assert!(read_to_end(&mut tls).await.is_empty(), "{name}");
        }
        let error = server.next().await.expect_err(name);
        assert!(
            error.contains("TLS handshake with 127.0.0.1:")
                && error.contains("the peer's certificate: ")
                && error.contains(reason),
            "{name} as client: {error}"
        );
        // As a server.
        let trap = Trap::new(&shows, &[CERTIFICATE]).await;
        let (dialled, _) = tokio::join!(seed.dial(&trap.addr, None), trap.next());
        let error = dialled.expect_err(name);
        assert!(
            error.contains(&trap.addr)
                && error.contains("the peer's certificate: ")
                && error.contains(reason),
            "{name} as server: {error}"
        );
        still_serves(&mut server, &Party::new(mint.member("friend"), both())).await;
    }
    // The same certificate without a flaw gets in: it is the flaws that are refused.
    let good = mint.shows("a", |_| {});
    let mut tls = connect(&server.addr, client_config(&good, &[CERTIFICATE]))
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tls, &[0, 0])
        .await
        .unwrap();
    let error = server.next().await.unwrap_err();
    assert!(error.contains("a greeting of 0 bytes"), "{error}");
}

#[tokio::test]
async fn flawed_certificates_are_refused_at_the_start_of_their_own_node() {
    let mint = Mint::new("test CA");
    for (name, flaw, reason) in FLAWS {
        let identity = Identity::from_pem(&mint.pem("a", *flaw));
        if name.starts_with("another cluster") {
            // Nothing is wrong with it by itself.
            assert_eq!(identity.unwrap().cluster(), "other");
            continue;
        }
        let error = identity.expect_err(name).to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[tokio::test]
async fn another_ca_is_refused_by_both_sides() {
    let (ours, theirs) = (Mint::new("test CA"), Mint::new("test CA"));
    let seed = Party::new(ours.member("seed"), both());
    let mut server = seed.serve().await;
    let stranger = Party::new(theirs.member("a"), both());
    // The stranger finds it first: it does not trust the server.
    let error = stranger.dial(&server.addr, None).await.unwrap_err();
    assert!(
        error.contains(&server.addr) && error.contains("the peer's certificate"),
        "{error}"
    );
    let error = server.next().await.unwrap_err();
    assert!(error.contains("the peer refused this node"), "{error}");
    // One that trusts everybody is refused by the server, and hears it when it reads.
    let shows = theirs.shows("a", |_| {});
    let mut tls = connect(&server.addr, client_config(&shows, &[CERTIFICATE]))
        .await
        .unwrap();
    assert!(read_to_end(&mut tls).await.is_empty());
    let error = server.next().await.unwrap_err();
    assert!(
        error.contains("127.0.0.1:") && error.contains("the peer's certificate"),
        "{error}"
    );
    let other_name = Mint::new("another CA").shows("a", |_| {});
    connect(&server.addr, client_config(&other_name, &[CERTIFICATE]))
        .await
        .unwrap();
    let error = server.next().await.unwrap_err();
    assert!(error.contains("it is signed by another CA"), "{error}");
    // An honest dialler learns why it was refused.
    let both_cas = Party::new(theirs.member_with("b", ours.ca_pem()), both());
    let error = both_cas.dial(&server.addr, None).await.unwrap_err();
    assert!(
        error.contains("the peer refused this node: it does not"),
        "{error}"
    );
    server.next().await.unwrap_err();
    still_serves(&mut server, &Party::new(ours.member("friend"), both())).await;
}

#[tokio::test]
async fn a_ca_bundle_of_two_takes_nodes_of_both() {
    let (old, new) = (Mint::new("old CA"), Mint::new("new CA"));
    let seed = Party::new(old.member_with("seed", new.ca_pem()), both());
    let mut server = seed.serve().await;
    for (id, own, other) in [("a", &old, &new), ("b", &new, &old)] {
        let party = Party::new(own.member_with(id, other.ca_pem()), both());
        party.dial(&server.addr, Some("seed")).await.unwrap();
        server.next().await.unwrap();
    }
}

#[tokio::test]
async fn an_expired_ca_vouches_for_nobody() {
    let expired = Mint::with("old CA", |p| valid(-9, -2)(p));
    let error = Identity::from_pem(&expired.pem("a", |_| {}))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("old CA") && error.contains("expired on "),
        "{error}"
    );
    // With another CA in the bundle the node starts, and still takes nobody of the expired one.
    let good = Mint::new("new CA");
    let mut server = Party::new(good.member_with("seed", expired.ca_pem()), both())
        .serve()
        .await;
    let shows = expired.shows("a", |_| {});
    connect(&server.addr, client_config(&shows, &[CERTIFICATE]))
        .await
        .unwrap();
    let error = server.next().await.unwrap_err();
    assert!(
        error.contains("the CA that signed it") && error.contains("expired on "),
        "{error}"
    );
    let early = Mint::with("early CA", |p| valid(2, 9)(p));
    let error = Identity::from_pem(&early.pem("a", |_| {}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is valid only from "), "{error}");
}

#[tokio::test]
async fn a_ca_that_may_not_sign_certificates_is_no_ca() {
    let no_usage = Mint::with("CA", |p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let error = Identity::from_pem(&no_usage.pem("a", |_| {}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("keyCertSign"), "{error}");
}

#[tokio::test]
async fn a_ca_below_is_taken_only_where_the_ca_allows_one() {
    for (allowed, good) in [(0, false), (1, true)] {
        let root = Mint::with("root", |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed))
        });
        let mut server = Party::new(root.member("seed"), both()).serve().await;
        let below = root.below("below", |_| {});
        let (der, key) = below.leaf("a", |_| {});
        let shows = Shows::Certificate(vec![der, below.der.clone()], key);
        let mut tls = connect(&server.addr, client_config(&shows, &[CERTIFICATE]))
            .await
            .unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut tls, &[0, 0]).await;
        let error = server.next().await.unwrap_err();
        // Taken: it came as far as the greeting.
        assert_eq!(error.contains("a greeting of 0 bytes"), good, "{error}");
        assert_eq!(
            error.contains("does not allow 1 further CAs"),
            !good,
            "{error}"
        );
        // A certificate in between that is none of a CA.
        let weak = root.below("weak", |p| {
            p.key_usages = vec![KeyUsagePurpose::DigitalSignature]
        });
        let (der, key) = weak.leaf("a", |_| {});
        let shows = Shows::Certificate(vec![der, weak.der.clone()], key);
        connect(&server.addr, client_config(&shows, &[CERTIFICATE]))
            .await
            .unwrap();
        let error = server.next().await.unwrap_err();
        assert!(error.contains("is none of a CA"), "{error}");
    }
}

#[tokio::test]
async fn revoked_certificates_are_refused_and_crls_are_checked() {
    let mint = Mint::new("test CA");
    let serial =
        |n: u64| move |p: &mut CertificateParams| p.serial_number = Some(SerialNumber::from(n));
    let mut server = Party::new(mint.member_with("seed", &mint.crl(&[1007])), both())
        .serve()
        .await;
    connect(
        &server.addr,
        client_config(&mint.shows("a", serial(1007)), &[CERTIFICATE]),
    )
    .await
    .unwrap();
    let error = server.next().await.unwrap_err();
    assert!(error.contains("it has been revoked by its CA"), "{error}");
    still_serves(&mut server, &Party::new(mint.member("friend"), both())).await;

    let start = |mint: &Mint, more: &str| {
        Identity::from_pem(&(mint.pem("a", |_| {}) + more)).map_err(|e| e.to_string())
    };
    // A CRL of somebody else who has the CA's name.
    let forger = Mint::new("test CA");
    let error = start(&mint, &forger.crl(&[])).unwrap_err();
    assert!(
        error.contains("is not signed by the CA of that name"),
        "{error}"
    );
    // A CA that may not sign CRLs.
    let weak = Mint::with("weak", |p| {
        p.key_usages = vec![KeyUsagePurpose::KeyCertSign]
    });
    let signer = Mint::new("weak");
    let error = start(&weak, &signer.crl(&[])).unwrap_err();
    assert!(error.contains("CRL"), "{error}");
    // Two CAs, and only one has a CRL.
    let other = Mint::new("other CA");
    let error = start(&mint, &(other.ca_pem().to_owned() + &mint.crl(&[]))).unwrap_err();
    assert!(
        error.contains("none of the CA") && error.contains("other CA"),
        "{error}"
    );
    start(
        &mint,
        &(other.ca_pem().to_owned() + &mint.crl(&[]) + &other.crl(&[])),
    )
    .unwrap();
    // An own certificate that is revoked.
    let pem = mint.pem("a", serial(1007)) + &mint.crl(&[1007]);
    let error = Identity::from_pem(&pem).unwrap_err().to_string();
    assert!(error.contains("revoked"), "{error}");
}

#[tokio::test]
async fn a_member_cannot_be_another_node() {
    let mint = Mint::new("test CA");
    let seed = Party::new(mint.member("seed"), both());
    let mut server = seed.serve().await;
    // It has a good certificate for mallory, and says that it is somebody else.
    let liar = |claims: &str| {
        let mut party = Party::new(mint.member("mallory"), both());
        party.auth = Arc::new(
            AuthConfig::new(
                node(claims),
                Incarnation::new(1, 1),
                "test",
                both(),
                Vec::new(),
                &limits(),
                mint.member("mallory")
                    .prepare(&limits())
                    .unwrap()
                    .credentials,
            )
            .unwrap(),
        );
        party
    };
    for claims in ["victim", "mallory2", "Mallory", "mallory/"] {
        liar(claims).dial(&server.addr, None).await.unwrap_err();
        let error = server.next().await.unwrap_err();
        assert!(
            error.contains("127.0.0.1:")
                && error.contains(&format!(
                    "claims to be {claims}, its certificate is for mallory"
                )),
            "{error}"
        );
        // As the one that is dialled.
        let trap = liar(claims).serve().await;
        let error = seed.dial(&trap.addr, Some(claims)).await.unwrap_err();
        assert!(
            error.contains(&trap.addr) && error.contains("its certificate is for mallory"),
            "{error}"
        );
    }
    liar("seed").dial(&server.addr, None).await.unwrap_err();
    let error = server.next().await.unwrap_err();
    assert!(error.contains("this node's own ID, seed"), "{error}");
    still_serves(&mut server, &Party::new(mint.member("friend"), both())).await;
}

#[tokio::test]
async fn a_dial_for_one_node_takes_no_other() {
    let mint = Mint::new("test CA");
    let mut server = Party::new(mint.member("seed"), both()).serve().await;
    let party = Party::new(mint.member("a"), both());
    let error = party.dial(&server.addr, Some("b")).await.unwrap_err();
    assert!(
        error.contains(&server.addr) && error.contains("expected b there and found seed"),
        "{error}"
    );
    let error = server.next().await.unwrap_err();
    assert!(error.contains("closed the connection"), "{error}");
}

#[tokio::test]
async fn without_a_common_format_there_is_no_link() {
    let secret = Secret::generate().unwrap();
    let party = |id, format| Party::new(secretly(id, secret.clone()), vec![format]);
    let mut server = party("seed", Format::cbor()).serve().await;
    let error = party("a", Format::json())
        .dial(&server.addr, None)
        .await
        .unwrap_err();
    assert!(
        error.contains(&server.addr) && error.contains("no common format"),
        "{error}"
    );
    let error = server.next().await.unwrap_err();
    assert!(
        error.contains("127.0.0.1:")
            && error.contains(r#"the peer has ["json"], this node ["cbor"]"#),
        "{error}"
    );
    party("b", Format::cbor())
        .dial(&server.addr, None)
        .await
        .unwrap();
    server.next().await.unwrap();
}

#[tokio::test]
async fn the_modes_do_not_fall_back_to_one_another() {
    let mint = Mint::new("test CA");
    let secret = Secret::generate().unwrap();
    let (certified, secretly) = (
        Party::new(mint.member("c"), both()),
        Party::secret("s", &secret),
    );
    for (dialler, listener, told, logged) in [
        (
            &certified,
            &secretly,
            "that side does not take certificates",
            "this node has none, only a secret",
        ),
        (
            &secretly,
            &certified,
            "that side does not take secrets",
            "this node has none, only a certificate",
        ),
    ] {
        let mut server = listener.serve().await;
        let error = dialler.dial(&server.addr, None).await.unwrap_err();
        assert!(
            error.contains(&server.addr) && error.contains(told),
            "{error}"
        );
        let error = server.next().await.unwrap_err();
        assert!(
            error.contains("127.0.0.1:") && error.contains(logged),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_id_known_by_certificate_is_not_taken_by_secret() {
    let mint = Mint::new("test CA");
    let secret = Secret::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let seed = || {
        let mut membership = mint.member("seed");
        membership.secrets = Some(secret.clone().into());
        membership.state = State::Directory(dir.path().join("seed"));
        Party::new(membership, both())
    };
    let impostor = Party::new(
        Membership {
            cluster: Some("test".into()),
            ..secretly("a", secret.clone())
        },
        both(),
    );
    let mut server = seed().serve().await;
    let a = Party::new(mint.member("a"), both());
    a.dial(&server.addr, None).await.unwrap();
    assert_eq!(server.next().await.unwrap().mode, Mode::Certificate);
    for _ in 0..2 {
        impostor.dial(&server.addr, None).await.unwrap_err();
        let error = server.next().await.unwrap_err();
        assert!(error.contains("a is known by its certificate"), "{error}");
        // Also after a restart.
        server = seed().serve().await;
    }
}

#[tokio::test]
async fn a_fixed_id_stays_with_its_first_key() {
    let secret = Secret::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let member = |id: &str, state: &str| {
        let mut membership = secretly(id, secret.clone());
        membership.state = State::Directory(dir.path().join(state));
        Party::new(membership, both())
    };
    let mut server = member("seed", "seed").serve().await;
    for _ in 0..2 {
        // Its key is on disk: it is the same node after a restart.
        member("a", "a")
            .dial(&server.addr, Some("seed"))
            .await
            .unwrap();
        assert_eq!(server.next().await.unwrap().node, node("a"));
    }
    member("a", "thief")
        .dial(&server.addr, None)
        .await
        .unwrap_err();
    let error = server.next().await.unwrap_err();
    let state = dir.path().join("seed");
    let command = format!("portmesh forget a --state {}", state.display());
    assert!(
        error.contains("127.0.0.1:") && error.contains("ALARM") && error.contains(&command),
        "{error}"
    );
    // And the one that is dialled is remembered as well.
    let mut thief = member("seed", "other-seed").serve().await;
    let error = member("a", "a")
        .dial(&thief.addr, Some("seed"))
        .await
        .unwrap_err();
    assert!(
        error.contains(&thief.addr) && error.contains("ALARM: seed"),
        "{error}"
    );
    thief.next().await.unwrap_err();
    // The command that the alarm names, as it names it, while the node runs.
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    for exit in [0, 3] {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_portmesh"))
            .args(&words)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(exit), "{done:?}");
    }
    member("a", "thief").dial(&server.addr, None).await.unwrap();
    server.next().await.unwrap();
}

#[tokio::test]
async fn the_secret_of_the_memory_transport_is_none_on_a_socket() {
    let forgetful = |id: &str| {
        let mut party = Party::secret(id, &Secret::generate().unwrap());
        let credentials = portmesh::runtime::auth::Credentials::in_memory();
        let life = Incarnation::new(1, 1);
        let id = node(id);
        party.auth = Arc::new(
            AuthConfig::new(id, life, "test", both(), vec![], &limits(), credentials).unwrap(),
        );
        party
    };
    let mut server = forgetful("seed").serve().await;
    let error = forgetful("a").dial(&server.addr, None).await.unwrap_err();
    assert!(error.contains("this node has no secret"), "{error}");
    let error = server.next().await.unwrap_err();
    assert!(error.contains("this node has no secret"), "{error}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start_with_the_remedy() {
    let secret = Secret::generate().unwrap();
    let refusal = |m: Membership| m.prepare(&limits()).unwrap_err().to_string();
    let mut fixed = secretly("a", secret.clone());
    fixed.state = State::None;
    let error = refusal(fixed);
    assert!(
        error.contains("state directory") && error.contains("%u"),
        "{error}"
    );
    let ca = portmesh::transport::tls::ca::CertificateAuthority::create("test").unwrap();
    let error = refusal(Membership {
        node: node("b"),
        ..certified(&ca, "a")
    });
    assert!(
        error.contains("called b, its certificate is for a"),
        "{error}"
    );
    let error = refusal(Membership {
        cluster: Some("elsewhere".into()),
        ..certified(&ca, "a")
    });
    assert!(
        error.contains("\"elsewhere\"") && error.contains("\"test\""),
        "{error}"
    );
    let error = refusal(Membership {
        cluster: Some("No Name".into()),
        ..secretly("a", secret.clone())
    });
    assert!(error.contains("lower-case"), "{error}");
    let error = refusal(Membership {
        secrets: None,
        ..secretly("a", secret.clone())
    });
    assert!(
        error.contains("portmesh-cert") && error.contains("portmesh secret gen"),
        "{error}"
    );
    let id = portmesh::proto::naming::self_certifying("a", &[1; 32]).unwrap();
    let error = refusal(Membership {
        node: id,
        ..secretly("a", secret)
    });
    assert!(
        error.contains("contains the digest of another key"),
        "{error}"
    );
}

#[tokio::test]
async fn a_self_certifying_id_needs_no_memory() {
    let secret = Secret::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key =
        portmesh::transport::tls::NodeKey::load_or_create(dir.path().join("node.key")).unwrap();
    let id = portmesh::proto::naming::self_certifying("a", &key.digest()).unwrap();
    let mut membership = secretly(id.as_str(), secret.clone());
    membership.state = State::Directory(dir.path().to_owned());
    let honest = Party::new(membership, both());
    let mut server = Party::secret("seed", &secret).serve().await;
    honest.dial(&server.addr, None).await.unwrap();
    assert_eq!(server.next().await.unwrap().node, id);
    // Somebody else with the secret, and another key.
    let connection = {
        let thief = Party::secret("thief", &secret);
        portmesh::runtime::transport::Transport::dial(&*thief.transport, &server.addr, None)
            .await
            .unwrap()
    };
    authenticate(connection, Role::Initiator, &honest.auth, None)
        .await
        .unwrap_err();
    let error = server.next().await.unwrap_err();
    assert!(error.contains("shows another key"), "{error}");
}

#[test]
fn files_that_were_mixed_up_are_told_apart() {
    let mint = Mint::new("test CA");
    let (a, b) = (mint.pem("a", |_| {}), mint.pem("b", |_| {}));
    let part = |pem: &str, n: usize| {
        let parts: Vec<&str> = pem.split_inclusive("-----\n").collect();
        parts[2 * n..2 * n + 2].concat()
    };
    let refusal = |pem: String| Identity::from_pem(&pem).unwrap_err().to_string();
    let (key, leaf, ca) = (0, 1, 2);
    for (pem, said) in [
        (String::new(), "no PEM"),
        ("hello".to_owned(), "no PEM"),
        (part(&a, leaf) + &part(&a, ca), "no private key"),
        (a.clone() + &part(&b, key), "2 private keys"),
        (part(&a, key) + &part(&a, ca), "no certificate of a node"),
        (part(&a, key) + &part(&a, leaf), "no CA certificate"),
        (
            part(&b, key) + &part(&a, leaf) + &part(&a, ca),
            "belongs to none of the certificates",
        ),
        (
            part(&a, key).replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            "openssl pkey",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()
                + &part(&a, leaf)
                + &part(&a, ca),
            "Ed25519, ECDSA",
        ),
        (a[..a.len() - 40].to_owned(), "it is not PEM"),
    ] {
        let error = refusal(pem);
        assert!(error.contains(said), "wanted {said}: {error}");
        assert!(error.len() < 200, "no key material: {error}");
    }
    // The order of the parts does not matter.
    let identity = Identity::from_pem(&(part(&a, ca) + &part(&a, leaf) + &part(&a, key))).unwrap();
    assert_eq!(identity.node(), &node("a"));
    assert!(!format!("{identity:?}").contains("key"));
}

#[test]
fn a_node_id_with_a_subject_besides_is_taken_from_the_uri_alone() {
    let mint = Mint::new("test CA");
    let pem = mint.pem("a", |p| {
        p.distinguished_name = DistinguishedName::new();
        p.distinguished_name.push(rcgen::DnType::CommonName, "seed");
        p.subject_alt_names[0] = uri(&node_uri("test", &node("b:1")));
    });
    assert_eq!(Identity::from_pem(&pem).unwrap().node(), &node("b:1"));
}

#[test]
fn a_certificate_with_one_changed_bit_is_refused_without_a_panic() {
    let mint = Mint::new("test CA");
    let (leaf, key) = mint.leaf("a", |_| {});
    let file = |leaf: &[u8]| {
        [
            key.serialize_pem(),
            to_pem("CERTIFICATE", leaf),
            mint.ca_pem().to_owned(),
        ]
        .concat()
    };
    assert!(Identity::from_pem(&file(&leaf)).is_ok());
    for at in 0..leaf.len() {
        let mut changed = leaf.to_vec();
        changed[at] ^= 1 << (at % 8);
        let identity = Identity::from_pem(&file(&changed));
        assert!(identity.is_err(), "byte {at}");
        let cut = Identity::from_pem(&file(&leaf[..at]));
        assert!(cut.is_err(), "cut at {at}");
    }
}
