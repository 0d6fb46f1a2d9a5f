//! Whole nodes under attack: one clear line in the log with address and reason, an event, and business as before.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portmesh::{
    Identity, Limits, Node, NodeEvent, Secret,
    proto::{codec::Format, handshake::Secrets},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    attack::{CERTIFICATE, Mint, SECRET, Shows, client_config, connect, read_to_end, send, valid},
    support::{GENEROUS, Party, both, limits, secretly},
};
use crate::support::log::Log;

struct Attacked {
    log: Log,
    _guard: tracing::subscriber::DefaultGuard,
    node: Node,
    addr: String,
    mint: Mint,
    secret: Secret,
    state: tempfile::TempDir,
}

impl Attacked {
    async fn new() -> Self {
        let (log, guard) = Log::begin();
        let mint = Mint::new("test CA");
        let secret = Secret::generate().unwrap();
        let state = tempfile::tempdir().unwrap();
        let node = Node::builder("seed")
            .identity(Identity::from_pem(&mint.pem("seed", |_| {})).unwrap())
            .secret(secret.clone())
            .state_dir(state.path())
            .formats([Format::cbor()])
            .limits(limits())
            .listen("127.0.0.1:0")
            .start()
            .await
            .unwrap();
        let addr = node.listen_addrs()[0].clone();
        Attacked {
            log,
            _guard: guard,
            node,
            addr,
            mint,
            secret,
            state,
        }
    }

    /// The node tells of the refusal, in an event and in one line of its log; and a friend gets in.
    async fn tells<T>(self, attack: impl AsyncFnOnce(String, &Mint, &Secret) -> T, reason: &str) {
        let mut events = self.node.events();
        timeout(
            GENEROUS,
            attack(self.addr.clone(), &self.mint, &self.secret),
        )
        .await
        .expect("an attack ends");
        let (addr, said) = loop {
            let event = timeout(GENEROUS, events.next()).await.expect("an event");
            if let Some(NodeEvent::Refused { addr, reason, .. }) = event {
                break (addr, reason);
            }
        };
        assert!(said.contains(reason), "wanted {reason:?}: {said}");
        assert!(addr.starts_with("127.0.0.1:"), "{addr}");
        let lines = self.log.lines();
        let refusals: Vec<&String> = lines
            .iter()
            .filter(|l| l.contains("connection refused") && l.contains(" WARN "))
            .collect();
        assert_eq!(refusals.len(), 1, "{lines:?}");
        assert!(
            refusals[0].contains(&addr) && refusals[0].contains(reason),
            "{refusals:?}"
        );
        // Nothing of what a stranger says may break the line or carry a secret.
        assert!(
            lines
                .iter()
                .all(|l| !l.contains("pms1_") && !l.contains("PRIVATE"))
        );
        self.serves().await;
        self.node.shutdown(Duration::ZERO).await;
    }

    async fn serves(&self) {
        let friend = Node::builder("friend/%u")
            .cluster("test")
            .secret(self.secret.clone())
            .seed(self.addr.as_str())
            .start()
            .await
            .unwrap();
        let answer = friend.node_answers(&self.node).await;
        assert!(
            answer,
            "the listener goes on serving: {:?}",
            self.log.lines()
        );
        friend.shutdown(Duration::ZERO).await;
        assert!(self.state.path().join("node.key").exists());
    }
}

/// Whether a link comes up between two nodes.
trait Answers {
    async fn node_answers(&self, other: &Node) -> bool;
}

impl Answers for Node {
    async fn node_answers(&self, other: &Node) -> bool {
        let mut events = self.events();
        let linked = async {
            while !self.links().iter().any(|l| l.node == *other.id()) {
                events.next().await;
            }
        };
        timeout(GENEROUS, linked).await.is_ok()
    }
}

async fn shout(addr: &str, bytes: &[u8]) {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    send(&mut tcp, bytes).await;
    read_to_end(&mut tcp).await;
}

async fn shows(addr: &str, shows: &Shows, alpn: &'static [u8], bytes: &[u8]) {
    if let Ok(mut tls) = connect(addr, client_config(shows, &[alpn])).await {
        send(&mut tls, bytes).await;
        read_to_end(&mut tls).await;
    }
}

macro_rules! attacks {
    ($($name:ident: |$addr:ident, $mint:ident, $secret:ident| $attack:expr => $reason:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                Attacked::new()
                    .await
                    .tells(async |$addr: String, $mint: &Mint, $secret: &Secret| {
                        let _ = ($mint, $secret);
                        $attack
                    }, $reason)
                    .await;
            }
        )*
    };
}

attacks! {
    a_node_tells_of_a_wrong_secret: |addr, _mint, _secret| {
        let thief = Party::secret("thief", &Secret::generate().unwrap());
        thief.dial(&addr, None).await.unwrap_err();
    } => "the peer's proof is wrong";
    a_node_tells_of_a_missing_certificate: |addr, _mint, _secret| {
        shows(&addr, &Shows::Nothing, CERTIFICATE, &[]).await;
    } => "the peer showed no certificate";
    a_node_tells_of_another_ca: |addr, _mint, _secret| {
        shows(&addr, &Mint::new("another CA").shows("a", |_| {}), CERTIFICATE, &[]).await;
    } => "it is signed by another CA";
    a_node_tells_of_an_expired_certificate: |addr, mint, _secret| {
        shows(&addr, &mint.shows("a", valid(-9, -2)), CERTIFICATE, &[]).await;
    } => "it expired on ";
    a_node_tells_of_a_certificate_for_another: |addr, mint, _secret| {
        let mut liar = Party::new(mint.member("mallory"), both());
        liar.auth = Party::new(mint.member("victim"), both()).auth;
        liar.dial(&addr, None).await.unwrap_err();
    } => "claims to be victim, its certificate is for mallory";
    a_node_tells_of_plaintext: |addr, _mint, _secret| {
        shout(&addr, b"GET / HTTP/1.1\r\n\r\n").await;
    } => "does not speak TLS";
    a_node_tells_of_garbage: |addr, _mint, _secret| {
        shout(&addr, &[0x5a; 3000]).await;
    } => "does not speak TLS";
    a_node_tells_of_a_format_that_it_has_not: |addr, _mint, secret| {
        let other = Party::new(secretly("json/only", secret.clone()), vec![Format::json()]);
        other.dial(&addr, None).await.unwrap_err();
    } => "no common format";
    a_node_tells_of_a_slow_greeting: |addr, _mint, _secret| {
        let mut tls = connect(&addr, client_config(&Shows::raw(), &[SECRET])).await.unwrap();
        tls.write_all(&[0]).await.unwrap();
        tls.flush().await.unwrap();
        read_to_end(&mut tls).await;
    } => "did not complete the handshake within";
    a_node_tells_of_an_overlong_greeting: |addr, _mint, _secret| {
        shows(&addr, &Shows::raw(), SECRET, &[&[0xff, 0xff][..], &vec![b'x'; 1 << 20]].concat()).await;
    } => "a greeting of 65535 bytes";
    a_node_tells_of_a_stranger_without_the_protocol: |addr, _mint, _secret| {
        shows(&addr, &Shows::raw(), b"h2", &[]).await;
    } => "offers no protocol of a Portmesh node";
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_line() {
    let attacked = Attacked::new().await;
    for _ in 0..50 {
        shout(&attacked.addr, b"GET / HTTP/1.1\r\n\r\n").await;
    }
    let refused = async {
        while attacked.node.stats().mesh.refused_by_auth < 50 {
            tokio::task::yield_now().await;
        }
    };
    timeout(GENEROUS, refused).await.expect("all are refused");
    let lines = attacked.log.lines();
    let told = lines
        .iter()
        .filter(|l| l.contains("connection refused"))
        .count();
    assert!((1..=3).contains(&told), "{told} lines for 50 refusals");
    attacked.serves().await;
    attacked.node.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn stalled_strangers_are_bounded_and_members_get_in_all_the_same() {
    let few = Limits {
        unauthenticated_per_address_max: 4,
        ..limits()
    };
    let secret = Secret::generate().unwrap();
    let node = Node::builder("seed")
        .secret(secret.clone())
        .unpinned()
        .limits(few)
        .listen("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let addr = node.listen_addrs()[0].clone();
    // Strangers that say nothing; more than may wait.
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(TcpStream::connect(&addr).await.unwrap());
    }
    let counted = async {
        while node.stats().mesh.accepted < 40 {
            tokio::task::yield_now().await;
        }
    };
    timeout(GENEROUS, counted)
        .await
        .expect("all are accepted or turned away");
    assert!(node.stats().mesh.unauthenticated <= 4);
    assert!(node.stats().mesh.refused_by_limit >= 30);
    // They hold their places for the time limit of TLS and no longer; a member that tries again gets in.
    let member = Node::builder("a/%u")
        .secret(secret)
        .seed(addr.as_str())
        .start()
        .await
        .unwrap();
    assert!(member.node_answers(&node).await);
    member.shutdown(Duration::ZERO).await;
    node.shutdown(Duration::ZERO).await;
}

/// All that a whole conversation shows on the wire: TLS 1.3 records and one ALPN name.
#[tokio::test]
async fn a_wire_shows_nothing_but_tls_and_its_alpn() {
    let mint = Mint::new("very-visible-ca");
    let secret = Secret::generate().unwrap();
    for (by_certificate, alpn) in [(true, CERTIFICATE), (false, SECRET)] {
        let build = |id: &str| {
            let builder = Node::builder(id).cluster("test").limits(limits());
            if by_certificate {
                builder.identity(Identity::from_pem(&mint.pem(id, |_| {})).unwrap())
            } else {
                builder.secret(Secrets::new(secret.clone())).unpinned()
            }
        };
        let seed = build("very-visible-seed")
            .listen("127.0.0.1:0")
            .start()
            .await
            .unwrap();
        let to = seed.listen_addrs()[0].clone();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = proxy.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let recorded = seen.clone();
        let tap = tokio::spawn(async move {
            let (near, _) = proxy.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            let (near, far) = (near.into_split(), far.into_split());
            tokio::join!(
                tee(near.0, far.1, &recorded, 0),
                tee(far.0, near.1, &recorded, 1)
            );
        });
        let other = build("very-visible-other")
            .seed(through.as_str())
            .start()
            .await
            .unwrap();
        assert!(other.node_answers(&seed).await);
        let port = seed
            .port()
            .on(
                "very-visible-tag",
                async |_: &mut (), _: &portmesh::Context, (n, reply): (u64, portmesh::PortId)| {
                    let _ = (n, reply);
                },
            )
            .open();
        other
            .send(port.id(), ("very-visible-tag", 1_u64, port.id().clone()))
            .unwrap();
        other.shutdown(GENEROUS).await;
        seed.shutdown(GENEROUS).await;
        timeout(GENEROUS, tap).await.unwrap().unwrap();
        let [sent, answered] = seen.lock().unwrap().clone();
        for (bytes, is_client) in [(&sent, true), (&answered, false)] {
            let visible = String::from_utf8_lossy(bytes);
            for word in [
                "visible",
                "cbor",
                "json",
                "incarnation",
                "cluster",
                "portmesh.internal",
            ] {
                assert!(!visible.contains(word), "{word} is on the wire");
            }
            let names = visible.matches("portmesh").count();
            let alpns = visible.matches(std::str::from_utf8(alpn).unwrap()).count();
            assert_eq!(
                (names, alpns),
                (usize::from(is_client), usize::from(is_client))
            );
            records(bytes);
        }
    }
}

/// Every byte belongs to a TLS record; after the hello there is nothing but application data.
fn records(mut bytes: &[u8]) {
    let mut kinds = Vec::new();
    while let [kind, 3, 1 | 3, high, low, rest @ ..] = bytes {
        let n = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(n <= rest.len().max(16_640));
        kinds.push(*kind);
        bytes = &rest[n.min(rest.len())..];
    }
    assert!(bytes.is_empty(), "something that is no TLS: {bytes:?}");
    // Handshake (the hello), change_cipher_spec (for middleboxes), then encrypted records only.
    assert_eq!(kinds[0], 22);
    let rest: Vec<&u8> = kinds[1..].iter().filter(|k| **k != 20).collect();
    assert!(
        rest.len() > 3 && rest.iter().all(|k| **k == 23),
        "{kinds:?}"
    );
}

async fn tee(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: &Mutex<[Vec<u8>; 2]>,
    which: usize,
) {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap()[which].extend(&buffer[..n]);
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
