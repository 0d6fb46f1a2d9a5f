//! The public test identities in `certs/`: they work on loopback, and nowhere else.

use std::{fs, path::Path};

use portmesh::{
    runtime::transport::Transport,
    transport::tls::{Identity, Membership, State},
};
use rcgen::{CertificateParams, DnType, date_time_ymd};

use super::{
    attack::Mint,
    support::{Party, both, node},
};

const A: &str = include_str!("../../../certs/a.pem");
const B: &str = include_str!("../../../certs/b.pem");
const CA: &str = include_str!("../../../certs/ca.pem");

fn fixture(id: &str, pem: &str) -> Party {
    let identity = Identity::from_pem(pem).unwrap();
    assert!(identity.is_public_fixture());
    let membership = Membership {
        node: node(id),
        cluster: None,
        identity: Some(identity),
        secrets: None,
        state: State::None,
    };
    Party::new(membership, both())
}

#[tokio::test]
async fn fixtures_meet_on_loopback() {
    assert!(A.contains(CA) && B.contains(CA));
    let mut server = fixture("test/a", A).serve().await;
    let b = fixture("test/b", B);
    b.dial(&server.addr, Some("test/a")).await.unwrap();
    server.next().await.unwrap();
}

#[tokio::test]
async fn fixtures_are_refused_outside_loopback() {
    let a = fixture("test/a", A);
    // Refused before anything is sent or opened: the address of the documentation net is never reached.
    for addr in [
        "192.0.2.1:4040",
        "[2001:db8::1]:4040",
        "[::ffff:192.0.2.1]:4040",
    ] {
        let error = a.dial(addr, None).await.unwrap_err();
        assert!(error.contains("public test fixtures"), "{error}");
    }
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let error = a.transport.listen(addr).await.err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("portmesh-cert")), "{addr}");
    }
    // Others are not recognised as fixtures.
    let other = Identity::from_pem(&Mint::new("test CA").pem("a", |_| {})).unwrap();
    assert!(!other.is_public_fixture());
}

#[test]
fn a_fixture_is_no_private_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/a.pem");
    if cfg!(unix) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("a.pem");
        fs::write(&copy, fs::read(path).unwrap()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::from_pem_file(&copy).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Identity::from_pem_file(&copy).is_ok());
    }
}

#[test]
#[ignore = "writes certs/; for when they must be made again"]
fn fixtures_can_be_made_again() {
    let long = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2076, 1, 1);
    };
    let ca = Mint::with("public test CA", |params| {
        long(params);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "portmesh public test fixture");
    });
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    fs::write(dir.join("ca.pem"), ca.ca_pem()).unwrap();
    for id in ["a", "b"] {
        let pem = ca.pem(&format!("test/{id}"), long);
        fs::write(dir.join(format!("{id}.pem")), pem).unwrap();
    }
}
