//! What waits, and for what: P3, P8, P9.

use std::{future::poll_fn, task::Poll, time::Duration};

use portmesh::{
    proto::message::Message, runtime::mesh::MeshSendError, transport::memory::MemoryNetwork,
};
use tokio::time::{Instant, timeout};

use super::rig::{Rig, eventually, pid, soon};

// P3
#[tokio::test(start_paused = true)]
async fn a_send_before_the_link_returns_at_once_and_arrives() {
    let rig = Rig::new();
    rig.network.delay("a", "b", Duration::from_secs(1));
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let start = Instant::now();
    for n in 0..1000 {
        a.send("b#in", ("n", n)).unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for n in 0..1000 {
        assert_eq!(inbox.next::<(String, i32)>().await.1, n);
    }
}

// P3, P8
#[tokio::test(start_paused = true)]
async fn a_full_queue_is_said_at_once_and_what_was_accepted_arrives() {
    let mut rig = Rig::new();
    rig.limits.outbound_count_max = 100;
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let mut accepted = 0;
    loop {
        match a.send("b#in", ("n", accepted)) {
            Ok(()) => accepted += 1,
            Err(MeshSendError::Full(back)) => {
                // it comes back as it was
                let back = back.decode::<(String, i32)>(&rig.limits).unwrap();
                assert_eq!(back, ("n".to_owned(), accepted));
                break;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(accepted <= 1000, "no end");
    }
    assert!(accepted >= 50, "one port gets half of it: {accepted}");
    for n in 0..accepted {
        assert_eq!(inbox.next::<(String, i32)>().await.1, n);
    }
    a.send("b#in", ("n", -1)).unwrap();
    assert_eq!(inbox.next::<(String, i32)>().await.1, -1);
}

// P3
#[tokio::test(start_paused = true)]
async fn a_waiting_send_goes_on_when_there_is_room() {
    let mut rig = Rig::new();
    rig.limits.outbound_count_max = 10;
    rig.limits.mailbox_count_max = 10;
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let inbox = b.ports.open("in");
    let send = async {
        for n in 0..5000 {
            let message = Message::encode(&("n", n), &rig.limits).unwrap();
            a.mesh.send_wait(&pid("b#in"), message).await.unwrap();
        }
    };
    let receive = async {
        for n in 0..5000 {
            assert_eq!(inbox.next::<(String, i32)>().await.1, n);
        }
    };
    soon("all of it", async { tokio::join!(send, receive) }).await;
}

// P3, L6
#[tokio::test(start_paused = true)]
async fn a_waiting_send_ends_with_the_node() {
    let mut rig = Rig::new();
    rig.limits.outbound_count_max = 1;
    rig.network.hang("a", "b");
    let a = rig.node("a", &["b"]).await;
    let _b = rig.node("b", &[]).await;
    let message = || Message::encode(&("x",), &rig.limits).unwrap();
    while a.mesh.send(&pid("b#in"), message()).is_ok() {}
    let (to, late) = (pid("b#in"), message());
    let waiting = a.mesh.send_wait(&to, late);
    let mut waiting = std::pin::pin!(waiting);
    assert!(
        timeout(Duration::from_millis(10), waiting.as_mut())
            .await
            .is_err()
    );
    let (ended, ()) = tokio::join!(waiting, a.mesh.shutdown(Duration::ZERO));
    assert!(
        matches!(ended, Err(MeshSendError::ShutDown(_))),
        "{ended:?}"
    );
}

// P8
#[tokio::test(start_paused = true)]
async fn a_slow_port_pushes_back_on_its_own_senders_and_on_nobody_else() {
    let mut rig = Rig::new();
    rig.limits.mailbox_bytes_max = 64 << 10;
    rig.limits.window_bytes = 1 << 20;
    rig.limits.outbound_bytes_max = 4 << 20;
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let (slow, quick) = (b.ports.open("slow"), b.ports.open("quick"));
    let monitors = [a.monitor("b#slow"), a.monitor("b#quick")];
    let filler = "x".repeat(1000);
    // until the queue is full and nothing moves any more
    let mut sent = 0;
    loop {
        while a.send("b#slow", ("n", sent, &filler)).is_ok() {
            sent += 1;
        }
        let (before, _) = slow.waiting();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if a.send("b#slow", ("n", sent, &filler)).is_ok() {
            sent += 1;
        } else if slow.waiting().0 == before {
            break;
        }
        assert!(sent < 100_000, "no push-back");
    }
    // memory on the other side is bounded: the mailbox, and the window at most
    assert!(slow.waiting().1 <= rig.limits.mailbox_bytes_max);
    let bound =
        rig.limits.outbound_bytes_max + rig.limits.window_bytes + rig.limits.mailbox_bytes_max;
    assert!(sent * 1000 <= bound + (256 << 10), "{sent} accepted");

    // others are not held up, not even for a round trip's time: the full queue is that port's lane
    for n in 0..100 {
        let start = Instant::now();
        let message = Message::encode(&("q", n), &rig.limits).unwrap();
        match a.mesh.send(&pid("b#quick"), message) {
            Ok(()) => {
                assert_eq!(quick.next::<(String, i32)>().await.1, n);
                assert!(start.elapsed() < Duration::from_millis(100));
            }
            Err(error) => panic!("a slow port fills the queue of others: {error}"),
        }
    }
    for n in 0..sent {
        assert_eq!(slow.next::<(String, usize, String)>().await.1, n);
    }
    assert!(
        monitors.iter().all(|m| m.reason().is_none()),
        "{monitors:?}"
    );
    assert_eq!(a.mesh.stats().lost, 0);
}

// P9
#[tokio::test(start_paused = true)]
async fn a_large_message_does_not_hold_up_small_ones() {
    let mut rig = Rig::new();
    rig.network = MemoryNetwork::with_buffer_bytes(64 << 10);
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let (bulk, small) = (b.ports.open("bulk"), b.ports.open("small"));
    let monitor = a.monitor("b");
    a.until_linked("b").await;
    eventually("b knows it", || b.linked("a")).await;
    // 64 KiB in 10 ms
    rig.network.delay("a", "b", Duration::from_millis(10));
    let start = Instant::now();
    a.send("b#bulk", ("bulk", "x".repeat(12 << 20))).unwrap();
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        let sent = Instant::now();
        a.send("b#small", ("small", n)).unwrap();
        assert_eq!(small.next::<(String, i32)>().await.1, n);
        slowest = slowest.max(sent.elapsed());
    }
    assert!(bulk.waiting().0 == 0, "the large one came first");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    let (_, large) = bulk.next::<(String, String)>().await;
    assert_eq!(large.len(), 12 << 20);
    assert!(start.elapsed() > Duration::from_millis(1500));
    assert_eq!(monitor.reason(), None);
}

/// Lets all tasks run that can, once.
async fn turn() {
    let mut is_over = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

// P9
#[tokio::test]
async fn bulk_that_the_network_takes_at_once_lets_other_tasks_run_in_between() {
    const PORTS: usize = 4;
    const EACH: usize = 16;
    const BYTES: usize = 64 << 10;
    let mut rig = Rig::new();
    // it takes all that may be under way
    rig.network = MemoryNetwork::with_buffer_bytes(16 << 20);
    let a = rig.node("a", &["b"]).await;
    let b = rig.node("b", &[]).await;
    let ports: Vec<_> = (0..PORTS).map(|n| b.ports.open(&format!("p{n}"))).collect();
    a.send("b#p0", ("first",)).unwrap();
    assert_eq!(ports[0].next::<(String,)>().await.0, "first");
    let data = "x".repeat(BYTES);
    for n in 0..PORTS * EACH {
        a.send(&format!("b#p{}", n % PORTS), (&data,)).unwrap();
    }
    let all = async {
        for port in &ports {
            for _ in 0..EACH {
                port.next::<(String,)>().await;
            }
        }
    };
    let mesh = a.mesh.clone();
    let watch = tokio::spawn(async move {
        let mut most = 0;
        let mut before = mesh.stats().bytes_out;
        loop {
            turn().await;
            let now = mesh.stats().bytes_out;
            most = most.max(now - before);
            before = now;
            if now > (PORTS * EACH * BYTES) as u64 {
                return most;
            }
        }
    });
    soon("all of it", all).await;
    let most = watch.await.unwrap();
    // 256 KiB, and what one write may be more
    assert!(most <= 400 << 10, "{most} bytes went out in one turn");
}
