//! The last word of a handshake, READY, and what may go along with it.

use bytes::BytesMut;
use portmesh::{
    proto::{
        handshake::{
            Channel, Credentials, Local, PeerLimits, Responder, Secret, Secrets, TAG_BYTES,
            auth_bytes_after,
        },
        link::frame::{EarlyFrame, take_early},
    },
    runtime::{
        entropy,
        transport::{Connection, Transport},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Rig, TestNode, soon};

const SECRET: [u8; 32] = [7; 32];

/// What a node called `hub` says to one of that name, which it dials to send a message, in one piece after AUTH2.
async fn said_after_auth2(name: &str) -> (TestNode, Connection, BytesMut) {
    let rig = Rig::new();
    let mut listener = rig.network.host(name).listen(name).await.unwrap();
    let mut config = rig.config("hub");
    config.credentials = Credentials::secret(Secret::from_bytes(SECRET));
    let addrs = vec![name.to_owned()];
    config.addresses.insert(name.parse().unwrap(), addrs);
    let hub = TestNode::start(config).await;
    hub.send(&format!("{name}#port"), ("hello",)).unwrap();

    let incoming = soon("the dial", listener.accept()).await.unwrap();
    let mut connection = incoming.secure.await.unwrap();
    let channel = Channel {
        mode: connection.mode,
        exporter: connection.exporter,
        own_key: connection.own_key,
        peer_key: connection.peer_key,
        certified: None,
    };
    let local = Local::new(
        name.parse().unwrap(),
        entropy::incarnation().unwrap(),
        "test",
        vec!["cbor".to_owned()],
        Vec::new(),
        PeerLimits::of(&rig.limits),
    );
    let secrets = Secrets::new(Secret::from_bytes(SECRET));
    let state = Responder::start(&local.unwrap(), channel, Some(&secrets)).unwrap();
    let mut auth1 = vec![0; 2];
    connection.stream.read_exact(&mut auth1).await.unwrap();
    let n = auth_bytes_after([auth1[0], auth1[1]]).unwrap();
    auth1.resize(2 + n, 0);
    connection.stream.read_exact(&mut auth1[2..]).await.unwrap();
    let (state, auth2) = state.handle_auth1(&auth1).unwrap().answer().unwrap();
    connection.stream.write_all(&auth2).await.unwrap();

    let mut said = BytesMut::with_capacity(4096);
    soon("READY", connection.stream.read_buf(&mut said))
        .await
        .unwrap();
    let ready = said.split_to(TAG_BYTES);
    state.handle_ready(&ready).unwrap();
    (hub, connection, said)
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_decides_says_the_end_of_its_handshake_and_its_messages_at_once() {
    let (_hub, _connection, mut said) = said_after_auth2("peer").await;
    assert_eq!(take_early(&mut said).unwrap(), Some(EarlyFrame::Activate));
    let hello = said.windows(5).any(|part| part == b"hello");
    assert!(hello, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_does_not_decide_ends_its_handshake_without_waiting() {
    let (_hub, mut connection, mut said) = said_after_auth2("a").await;
    assert!(said.is_empty(), "{said:?}");
    // and says nothing more before it is told that this is the link
    let more = connection.stream.read_buf(&mut said);
    let patience = std::time::Duration::from_secs(1);
    let more = tokio::time::timeout(patience, more).await;
    assert!(more.is_err(), "{said:?}");
}
