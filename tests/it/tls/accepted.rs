//! What must work: both modes, all keys, rotation, and the bytes behind the handshake.

use portmesh::{
    proto::{
        codec::Format,
        handshake::{Mode, Secret, Secrets},
    },
    runtime::auth::Established,
    transport::tls::ca::{CertificateAuthority, IssueOptions, KeyKind},
    transport::tls::{Identity, Membership, State},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Party, both, certified, node, secretly};

async fn talk(mut a: Established, mut b: Established) {
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        a.stream.write_all(&copy).await.unwrap();
        a.stream.flush().await.unwrap();
        a
    });
    let mut got = vec![0; sent.len()];
    b.stream.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    drop(writing.await.unwrap());
    assert!(b.stream.read(&mut [0]).await.map_or(true, |n| n == 0));
}

#[tokio::test]
async fn certificates_of_one_ca_meet() {
    let ca = CertificateAuthority::create("test").unwrap();
    let mut server = Party::certified(&ca, "seed").serve().await;
    let a = Party::certified(&ca, "worker/a:1")
        .dial(&server.addr, Some("seed"))
        .await
        .unwrap();
    let b = server.next().await.unwrap();
    assert_eq!((a.node.as_str(), b.node.as_str()), ("seed", "worker/a:1"));
    assert_eq!((a.mode, b.mode), (Mode::Certificate, Mode::Certificate));
    assert!(a.initiator && !b.initiator);
    assert_eq!(a.format, Format::cbor());
    assert!(a.security.starts_with("TLS1.3 TLS13_"), "{}", a.security);
    assert!(
        a.proof.text.starts_with("certificate serial "),
        "{:?}",
        a.proof
    );
    talk(a, b).await;
}

#[tokio::test]
async fn holders_of_one_secret_meet() {
    let secret = Secret::generate().unwrap();
    let mut server = Party::secret("seed", &secret).serve().await;
    let a = Party::secret("a", &secret)
        .dial(&server.addr, None)
        .await
        .unwrap();
    let b = server.next().await.unwrap();
    assert_eq!((a.node.as_str(), b.node.as_str()), ("seed", "a"));
    assert_eq!((a.mode, b.mode), (Mode::Secret, Mode::Secret));
    assert!(a.shown.starts_with("key SHA256:"), "{}", a.shown);
    assert_ne!(a.identity, b.identity);
    talk(b, a).await;
}

#[tokio::test]
async fn the_initiators_first_common_format_is_taken() {
    let secret = Secret::generate().unwrap();
    let dialler = |formats| Party::new(secretly("a", secret.clone()), formats);
    let mut server = Party::secret("seed", &secret).serve().await;
    for (formats, picked) in [
        (vec![Format::json(), Format::cbor()], "json"),
        (vec![Format::cbor(), Format::json()], "cbor"),
        (vec![Format::json()], "json"),
    ] {
        let a = dialler(formats).dial(&server.addr, None).await.unwrap();
        assert_eq!(a.format.name(), picked);
        assert_eq!(server.next().await.unwrap().format.name(), picked);
    }
}

#[tokio::test]
async fn secrets_rotate_without_a_gap() {
    let (old, new) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let accepts = |a: &Secret, b: &Secret| Secrets::new(a.clone()).accept(b.clone()).unwrap();
    // Added everywhere, then switched one by one: every pair of neighbours in this list meets.
    let steps = [
        Secrets::new(old.clone()),
        accepts(&old, &new),
        accepts(&new, &old),
        Secrets::new(new.clone()),
    ];
    for pair in steps.windows(2) {
        let parties = [("a", &pair[0]), ("b", &pair[1])]
            .map(|(id, secrets)| Party::new(secretly(id, secrets.clone()), both()));
        for (from, to) in [(0, 1), (1, 0)] {
            let mut server = parties[to].serve().await;
            let dialled = parties[from].dial(&server.addr, None).await;
            // A responder that has only the old one is not dialled with the new one before all have both.
            let current = [pair[0].current(), pair[1].current()][from];
            if pair[to].iter().any(|s| s == current) {
                dialled.unwrap();
                server.next().await.unwrap();
            } else {
                assert!(dialled.is_err());
            }
        }
    }
}

#[tokio::test]
async fn one_listener_takes_both_modes() {
    let ca = CertificateAuthority::create("test").unwrap();
    let secret = Secret::generate().unwrap();
    let mut membership = certified(&ca, "seed");
    membership.secrets = Some(secret.clone().into());
    membership.state = State::Unpinned;
    let mut server = Party::new(membership, both()).serve().await;
    for (party, mode) in [
        (Party::certified(&ca, "a"), Mode::Certificate),
        (Party::secret("b", &secret), Mode::Secret),
    ] {
        let a = party.dial(&server.addr, Some("seed")).await.unwrap();
        assert_eq!(a.mode, mode);
        assert_eq!(server.next().await.unwrap().mode, mode);
    }
}

#[tokio::test]
async fn p256_certificates_work_as_well() {
    let ca = CertificateAuthority::create_with_key("test", KeyKind::P256).unwrap();
    let party = |id: &str, key| {
        let options = IssueOptions {
            key,
            ..IssueOptions::default()
        };
        let issued = ca.issue_with(&node(id), options).unwrap();
        let membership = Membership {
            node: node(id),
            cluster: Some("test".into()),
            identity: Some(Identity::from_pem(&issued.to_pem()).unwrap()),
            secrets: None,
            state: State::None,
        };
        Party::new(membership, both())
    };
    let mut server = party("seed", KeyKind::P256).serve().await;
    party("a", KeyKind::Ed25519)
        .dial(&server.addr, None)
        .await
        .unwrap();
    server.next().await.unwrap();
}
