//! Strangers at the listener: whatever they do, they learn nothing, cost little, and the listener goes on serving.

use std::{future::Future, time::Instant};

use portmesh::proto::handshake::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    attack::{
        CERTIFICATE, Mint, SECRET, Shows, Trap, client_config, connect, read_auth, read_to_end,
        send,
    },
    support::{GENEROUS, Party, Server, both, limits, secretly},
};

/// A server that takes both modes, and a friend for each.
struct Scene {
    server: Server,
    friends: [Party; 2],
    mint: Mint,
    secret: Secret,
}

impl Scene {
    async fn new() -> Self {
        let mint = Mint::new("test CA");
        let secret = Secret::generate().unwrap();
        let mut membership = mint.member("seed");
        membership.secrets = Some(secret.clone().into());
        membership.state = portmesh::transport::tls::State::Unpinned;
        let friends = [
            Party::new(mint.member("friend"), both()),
            Party::secret("other-friend", &secret),
        ];
        Scene {
            server: Party::new(membership, both()).serve().await,
            friends,
            mint,
            secret,
        }
    }

    /// The attack ends in an error of the server's that names the peer's address and contains `reason`; what it told
    /// the attacker is returned; friends are served as before.
    async fn refuses<T>(&mut self, attack: impl Future<Output = T>, reason: &str) -> T {
        let began = Instant::now();
        let outcome = tokio::time::timeout(GENEROUS, attack)
            .await
            .expect("an attack ends");
        let error = self.server.next().await.expect_err("it must be refused");
        assert!(error.contains("127.0.0.1:"), "no address: {error}");
        assert!(error.contains(reason), "wanted {reason:?}: {error}");
        assert!(began.elapsed() < GENEROUS);
        for friend in &self.friends {
            friend
                .dial(&self.server.addr, Some("seed"))
                .await
                .expect("the listener goes on serving");
            self.server
                .next()
                .await
                .expect("the listener goes on serving");
        }
        outcome
    }
}

/// Sends bytes as they are and reads what comes.
async fn shout(addr: String, bytes: Vec<u8>) -> Vec<u8> {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    send(&mut tcp, &bytes).await;
    read_to_end(&mut tcp).await
}

/// TLS with a key of its own, then those bytes where AUTH1 belongs; what the server answers inside TLS.
async fn inside(addr: String, shows: Shows, alpn: &'static [u8], bytes: Vec<u8>) -> Vec<u8> {
    let mut tls = connect(&addr, client_config(&shows, &[alpn]))
        .await
        .unwrap();
    send(&mut tls, &bytes).await;
    read_to_end(&mut tls).await
}

#[tokio::test]
async fn plaintext_and_garbage_are_refused() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    scene
        .refuses(shout(addr.clone(), http), "does not speak TLS")
        .await;
    for seed in 1..=8_u8 {
        let garbage: Vec<u8> = (0..5000_u32)
            .map(|i| (i.wrapping_mul(0x9E37_79B1 ^ u32::from(seed)) >> 13) as u8 | seed)
            .collect();
        scene.refuses(shout(addr.clone(), garbage), "TLS").await;
    }
    // A record of the right kind with nonsense in it.
    let record = [&[22, 3, 1, 0, 5][..], b"hello"].concat();
    scene.refuses(shout(addr.clone(), record), "TLS").await;
    // AEMP's greeting.
    let aemp = b"aemp;2;secret;hmac_md6_64_256;json\n".to_vec();
    scene.refuses(shout(addr, aemp), "does not speak TLS").await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_ended_in_time() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    scene
        .refuses(shout(addr.clone(), Vec::new()), "took too long")
        .await;
    let scan = async { drop(TcpStream::connect(&addr).await.unwrap()) };
    scene
        .refuses(scan, "closed the connection during the TLS handshake")
        .await;
}

/// A ClientHello of TLS 1.2: no supported_versions.
fn client_hello_tls12() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(0); // no session
    hello.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM
    hello.extend([1, 0]); // no compression
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..], // x25519
        &[0, 11, 0, 2, 1, 0],            // uncompressed points
        &[0, 13, 0, 4, 0, 2, 4, 3],      // ECDSA with P-256 and SHA-256
        &[0, 16, 0, 15, 0, 13, 12],
        CERTIFICATE,
    ]
    .concat();
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let message = [&[1, 0][..], &(hello.len() as u16).to_be_bytes(), &hello].concat();
    [
        &[22, 3, 1][..],
        &(message.len() as u16).to_be_bytes(),
        &message,
    ]
    .concat()
}

#[tokio::test]
async fn tls_1_2_is_refused_on_both_sides() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let said = scene
        .refuses(shout(addr, client_hello_tls12()), "does not speak TLS 1.3")
        .await;
    // An alert "protocol_version" and nothing else.
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 70]);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let old_server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4096];
        let n = tcp.read(&mut hello).await.unwrap();
        assert!(n > 44);
        // A ServerHello of TLS 1.2 that takes the client's session ID over.
        let id = &hello[44..44 + usize::from(hello[43])];
        let body = [
            &[3, 3][..],
            &[9; 32],
            &[id.len() as u8],
            id,
            &[0xc0, 0x2b, 0, 0, 0],
        ]
        .concat();
        let message = [&[2, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
        let record = [
            &[22, 3, 3][..],
            &(message.len() as u16).to_be_bytes(),
            &message,
        ]
        .concat();
        send(&mut tcp, &record).await;
        read_to_end(&mut tcp).await
    });
    let error = scene.friends[0].dial(&addr, None).await.unwrap_err();
    assert!(
        error.contains(&addr) && error.contains("does not speak TLS 1.3"),
        "{error}"
    );
    old_server.await.unwrap();
}

#[tokio::test]
async fn other_protocols_and_several_at_once_are_refused() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let alpns: [&[&[u8]]; 5] = [
        &[],
        &[b"h2"],
        &[SECRET, CERTIFICATE],
        &[b"portmesh-s/2"],
        &[b"portmesh-s/1x"],
    ];
    for alpn in alpns {
        let attack = connect(&addr, client_config(&Shows::raw(), alpn));
        let told = scene
            .refuses(attack, "offers no protocol of a Portmesh node")
            .await;
        let told = told.expect_err("it is told");
        assert!(
            told.to_lowercase().contains("noapplicationprotocol"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn without_a_certificate_or_key_there_is_no_connection() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let nothing = |alpn: &'static [u8]| {
        let addr = addr.clone();
        async move {
            // The client believes that it is connected until it reads.
            if let Ok(mut tls) = connect(&addr, client_config(&Shows::Nothing, &[alpn])).await {
                assert!(read_to_end(&mut tls).await.is_empty());
            }
        }
    };
    scene
        .refuses(nothing(CERTIFICATE), "showed no certificate")
        .await;
    scene.refuses(nothing(SECRET), "TLS").await;
    // A certificate where a raw key is asked for, and the other way round.
    let leaf = scene.mint.shows("mallory", |_| {});
    for (shows, alpn) in [(leaf, SECRET), (Shows::raw(), CERTIFICATE)] {
        let attack = connect(&addr, client_config(&shows, &[alpn]));
        scene
            .refuses(attack, "TLS")
            .await
            .expect_err("it is refused in the handshake");
    }
}

#[tokio::test]
async fn a_wrong_secret_gets_no_word() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let thief = Party::secret("thief", &Secret::generate().unwrap());
    let told = scene
        .refuses(thief.dial(&addr, None), "the peer's proof is wrong")
        .await;
    let told = told.unwrap_err();
    assert!(
        told.contains(&addr) && told.contains("another secret"),
        "{told}"
    );
    // Another cluster name makes other keys of the same secret.
    let mut membership = secretly("a", scene.secret.clone());
    membership.cluster = Some("elsewhere".into());
    let other = Party::new(membership, both());
    scene
        .refuses(other.dial(&addr, None), "another cluster name")
        .await
        .unwrap_err();
    // On the bytes: nothing at all comes back inside TLS for a wrong proof.
    let frame = [&[0, 2][..], b"{}", &[0; 32]].concat();
    let said = scene
        .refuses(
            inside(addr, Shows::raw(), SECRET, frame),
            "the peer's proof is wrong",
        )
        .await;
    assert!(said.is_empty());
}

#[tokio::test]
async fn lengths_outside_the_bounds_end_the_connection_at_once() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    for (header, reason) in [
        ([0xff, 0xff], "a greeting of 65535 bytes"),
        ([0x08, 0x01], "a greeting of 2049 bytes"),
        ([0, 0], "a greeting of 0 bytes"),
    ] {
        // As much as it can be made to take; it stops reading at the header.
        let flood = [&header[..], &vec![b'x'; 4 << 20]].concat();
        let said = scene
            .refuses(inside(addr.clone(), Shows::raw(), SECRET, flood), reason)
            .await;
        assert!(said.is_empty());
    }
    let plain = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    scene
        .refuses(
            inside(addr, Shows::raw(), SECRET, plain),
            "a greeting of 18245 bytes",
        )
        .await;
}

#[tokio::test]
async fn a_byte_at_a_time_runs_into_the_limit_of_time() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    let pause = limits().auth_timeout / 50;
    let drip = |addr: String| async move {
        let mut tls = connect(&addr, client_config(&Shows::raw(), &[SECRET]))
            .await
            .unwrap();
        for byte in [&[0x08, 0x00][..], &[b'x'; 2000]].concat() {
            if tls.write_all(&[byte]).await.is_err() || tls.flush().await.is_err() {
                break;
            }
            // Until the next byte, or until the server has had enough.
            if let Ok(ended) = tokio::time::timeout(pause, tls.read(&mut [0])).await {
                assert!(ended.map_or(true, |n| n == 0));
                break;
            }
        }
    };
    scene
        .refuses(
            drip(addr.clone()),
            "did not complete the handshake within 1.5s",
        )
        .await;
    // The same below TLS.
    let hello = client_hello_tls12();
    let drip = async {
        let mut tcp = TcpStream::connect(&addr).await.unwrap();
        // Never complete.
        for byte in &hello[..hello.len() - 1] {
            if tcp.write_all(&[*byte]).await.is_err() {
                break;
            }
            if let Ok(ended) = tokio::time::timeout(pause, tcp.read(&mut [0])).await {
                assert!(ended.map_or(true, |n| n == 0));
                break;
            }
        }
    };
    scene.refuses(drip, "took too long").await;
}

#[tokio::test]
async fn our_own_messages_reflected_prove_nothing() {
    let mut scene = Scene::new().await;
    // Below TLS: every byte comes back.
    let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = mirror.local_addr().unwrap().to_string();
    let echo = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut tcp, _) = mirror.accept().await.unwrap();
            let (mut from, mut to) = tcp.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    for friend in &scene.friends {
        let error = friend.dial(&addr, None).await.unwrap_err();
        assert!(error.contains(&addr) && error.contains("TLS"), "{error}");
    }
    echo.await.unwrap();
    // Inside TLS, by somebody with a key of its own: AUTH1 comes back where AUTH2 belongs.
    let trap = Trap::new(&Shows::raw(), &[SECRET]).await;
    let addr = trap.addr.clone();
    let reflect = async {
        let mut tls = trap.next().await.unwrap();
        let auth1 = read_auth(&mut tls).await;
        send(&mut tls, &auth1).await;
        assert!(
            read_to_end(&mut tls).await.is_empty(),
            "no READY for a reflection"
        );
    };
    let (dialled, ()) = tokio::join!(scene.friends[1].dial(&addr, None), reflect);
    let error = dialled.unwrap_err();
    assert!(error.contains("the peer's proof is wrong"), "{error}");
    // A node that is led to itself.
    let seed = Party::secret("seed", &scene.secret);
    let mut own = seed.serve().await;
    let error = seed.dial(&own.addr, None).await.unwrap_err();
    assert!(error.contains("this node's own key"), "{error}");
    assert!(own.next().await.is_err());
    scene.friends[1]
        .dial(&scene.server.addr, None)
        .await
        .unwrap();
    scene.server.next().await.unwrap();
}

#[tokio::test]
async fn a_relay_between_two_honest_nodes_is_found() {
    // Ends TLS on both sides with keys of its own and hands the messages on unchanged.
    let mut scene = Scene::new().await;
    let trap = Trap::new(&Shows::raw(), &[SECRET]).await;
    let (addr, through) = (scene.server.addr.clone(), trap.addr.clone());
    let friend = scene.friends[1].clone();
    let relay = async {
        let attack = async {
            let mut victim = trap.next().await.unwrap();
            let auth1 = read_auth(&mut victim).await;
            inside(addr, Shows::raw(), SECRET, auth1).await
        };
        let (dialled, said) = tokio::join!(friend.dial(&through, None), attack);
        assert!(said.is_empty());
        dialled.unwrap_err()
    };
    let error = scene.refuses(relay, "the peer's proof is wrong").await;
    assert!(error.contains("closed the connection"), "{error}");
}

#[tokio::test]
async fn a_recording_played_again_is_refused() {
    let mut scene = Scene::new().await;
    let addr = scene.server.addr.clone();
    // What a good connection sends, recorded on the way.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = proxy.local_addr().unwrap().to_string();
    let to = addr.clone();
    let recorder = tokio::spawn(async move {
        let mut recordings = Vec::new();
        for _ in 0..2 {
            let (victim, _) = proxy.accept().await.unwrap();
            let real = TcpStream::connect(&to).await.unwrap();
            let ((mut from, mut back), (mut answer, mut on)) =
                (victim.into_split(), real.into_split());
            let returning =
                tokio::spawn(async move { tokio::io::copy(&mut answer, &mut back).await });
            let mut recorded = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                recorded.extend(&buffer[..n]);
                if on.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
            returning.abort();
            recordings.push(recorded);
        }
        recordings
    });
    for friend in scene.friends.clone() {
        drop(friend.dial(&through, Some("seed")).await.unwrap());
        drop(scene.server.next().await.unwrap());
    }
    for recording in recorder.await.unwrap() {
        assert!(recording.len() > 500);
        scene.refuses(shout(addr.clone(), recording), "TLS").await;
    }
    // AUTH1 of one connection on another one, as if TLS were not there.
    let trap = Trap::new(&Shows::raw(), &[SECRET]).await;
    let steal = async { read_auth(&mut trap.next().await.unwrap()).await };
    let (dialled, auth1) = tokio::join!(scene.friends[1].dial(&trap.addr, None), steal);
    dialled.unwrap_err();
    let said = scene
        .refuses(
            inside(addr, Shows::raw(), SECRET, auth1),
            "the peer's proof is wrong",
        )
        .await;
    assert!(said.is_empty());
}
