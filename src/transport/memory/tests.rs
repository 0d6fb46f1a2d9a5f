//! The memory network keeps order and bounds, and its faults do what they say.
#![allow(clippy::unwrap_used)]

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::*;

async fn connect(network: &MemoryNetwork) -> (Connection, Connection) {
    let (a, b) = (network.host("a"), network.host("b"));
    let mut listener = b.listen("b:0").await.unwrap();
    let addr = listener.local_addr();
    let (dialled, accepted) = tokio::join!(a.dial(&addr, None), async {
        listener.accept().await.unwrap().secure.await
    });
    (dialled.unwrap(), accepted.unwrap())
}

#[tokio::test(start_paused = true)]
async fn both_ends_share_the_exporter_and_name_each_others_keys() {
    let (dialled, accepted) = connect(&MemoryNetwork::new()).await;
    assert_eq!(dialled.exporter, accepted.exporter);
    assert_eq!(dialled.own_key, accepted.peer_key);
    assert_eq!(accepted.own_key, dialled.peer_key);
    assert_ne!(dialled.own_key, accepted.own_key);
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_in_order_and_the_end_after_them() {
    let (mut dialled, mut accepted) = connect(&MemoryNetwork::with_buffer_bytes(7)).await;
    let sent: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    let write = async {
        dialled.stream.write_all(&sent).await.unwrap();
        dialled.stream.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(write, accepted.stream.read_to_end(&mut got));
    read.unwrap();
    assert_eq!(got, sent);
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_when_nobody_reads() {
    let (mut dialled, _accepted) = connect(&MemoryNetwork::with_buffer_bytes(100)).await;
    assert_eq!(dialled.stream.write(&[0; 1000]).await.unwrap(), 100);
    let stuck = timeout(Duration::from_secs(60), dialled.stream.write(&[0])).await;
    assert!(stuck.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_to_and_a_shorter_one_overtakes_nothing() {
    let network = MemoryNetwork::new();
    let (mut dialled, mut accepted) = connect(&network).await;
    let start = Instant::now();
    network.delay("a", "b", Duration::from_secs(3));
    dialled.stream.write_all(b"1").await.unwrap();
    network.delay("a", "b", Duration::from_secs(1));
    dialled.stream.write_all(b"2").await.unwrap();
    network.heal("a", "b");
    dialled.stream.write_all(b"3").await.unwrap();
    let mut got = [0; 3];
    accepted.stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"123");
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_seen_by_both_ends_and_by_dials_until_it_is_healed() {
    let network = MemoryNetwork::new();
    let (mut dialled, mut accepted) = connect(&network).await;
    let b = network.host("b");
    let _listener = b.listen("b").await.unwrap();
    network.cut("b", "a");
    assert!(dialled.stream.read_u8().await.is_err());
    assert!(accepted.stream.write_all(b"x").await.is_err());
    let a = network.host("a");
    assert!(matches!(
        a.dial("b", None).await,
        Err(ConnectError::Connect { .. })
    ));
    network.heal("a", "b");
    assert!(a.dial("b", None).await.is_ok());
    // what was cut stays cut
    assert!(dialled.stream.read_u8().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hang_is_silent_one_way_and_healed_delivers() {
    let network = MemoryNetwork::new();
    let (mut dialled, mut accepted) = connect(&network).await;
    network.hang("a", "b");
    dialled.stream.write_all(b"x").await.unwrap();
    let silent = timeout(Duration::from_secs(60), accepted.stream.read_u8()).await;
    assert!(silent.is_err());
    // the other way is open
    accepted.stream.write_all(b"y").await.unwrap();
    assert_eq!(dialled.stream.read_u8().await.unwrap(), b'y');
    network.heal("a", "b");
    assert_eq!(accepted.stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_dial_into_a_hang_takes_its_time_and_fails() {
    let network = MemoryNetwork::new();
    let (a, b) = (network.host("a"), network.host("b"));
    let _listener = b.listen("b").await.unwrap();
    network.hang("b", "a");
    let start = Instant::now();
    assert!(matches!(
        a.dial("b", None).await,
        Err(ConnectError::Timeout { .. })
    ));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_connection_tells_nobody_though_an_end_is_dropped() {
    let network = MemoryNetwork::new();
    let (mut dialled, accepted) = connect(&network).await;
    network.abandon("a", "b");
    drop(accepted);
    let silent = timeout(Duration::from_secs(60), dialled.stream.read_u8()).await;
    assert!(silent.is_err());
    dialled.stream.write_all(b"into the void").await.unwrap();
    network.heal("a", "b");
    let silent = timeout(Duration::from_secs(60), dialled.stream.read_u8()).await;
    assert!(silent.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_address_is_taken_once_and_free_again_after_the_listener() {
    let network = MemoryNetwork::new();
    let a = network.host("a");
    let first = a.listen("a:1").await.unwrap();
    assert!(a.listen("a:1").await.is_err());
    assert_ne!(a.listen("a:0").await.unwrap().local_addr(), "a:1");
    drop(first);
    assert!(a.listen("a:1").await.is_ok());
    assert!(a.dial("a:1", None).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_gone_are_forgotten_and_those_that_are_there_are_not() {
    let network = MemoryNetwork::new();
    let kept = [connect(&network).await, connect(&network).await];
    for _ in 0..1_000 {
        drop(connect(&network).await);
    }
    assert!(network.lock().wires.len() <= 128);
    assert_eq!(network.connections("a", "b"), kept.len());
}
