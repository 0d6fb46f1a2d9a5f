//! The way between two nodes, with faults: the memory network's own, or a proxy in front of a real socket.

use std::net::SocketAddr;

use portmesh::transport::memory::MemoryNetwork;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// From a dialling node to another one.
pub(crate) enum Way {
    Memory {
        network: MemoryNetwork,
        from: String,
        to: String,
        addr: String,
    },
    Proxy {
        addr: String,
        state: watch::Sender<State>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    hung: bool,
    cuts: u64,
}

impl Way {
    /// Through a proxy of its own.
    pub(crate) async fn proxy(to: &str) -> Way {
        let to: SocketAddr = to.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let state = watch::Sender::new(State {
            hung: false,
            cuts: 0,
        });
        let faults = state.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if let Ok(far) = TcpStream::connect(to).await {
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::spawn(carry(near_read, far_write, faults.clone()));
                    tokio::spawn(carry(far_read, near_write, faults.clone()));
                }
            }
        });
        Way::Proxy { addr, state }
    }

    /// Where the dialling node finds the other one.
    pub(crate) fn addr(&self) -> &str {
        match self {
            Way::Memory { addr, .. } | Way::Proxy { addr, .. } => addr,
        }
    }

    /// Nothing arrives in either direction, and nobody is told.
    pub(crate) fn hang(&self) {
        match self {
            Way::Memory {
                network, from, to, ..
            } => {
                network.hang(from, to);
                network.hang(to, from);
            }
            Way::Proxy { state, .. } => state.send_modify(|state| state.hung = true),
        }
    }

    /// All is well again; what hung arrives.
    pub(crate) fn heal(&self) {
        match self {
            Way::Memory {
                network, from, to, ..
            } => network.heal(from, to),
            Way::Proxy { state, .. } => state.send_modify(|state| state.hung = false),
        }
    }

    /// All connections break; new ones can be made.
    pub(crate) fn cut(&self) {
        match self {
            Way::Memory {
                network, from, to, ..
            } => {
                network.cut(from, to);
                network.heal(from, to);
            }
            Way::Proxy { state, .. } => state.send_modify(|state| state.cuts += 1),
        }
    }
}

/// One direction of one connection, until it ends or is cut.
async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut faults: watch::Receiver<State>,
) {
    let cuts = faults.borrow().cuts;
    let mut cut = faults.clone();
    let mut buffer = vec![0; 16 << 10];
    let copy = async {
        while let Ok(count) = from.read(&mut buffer).await {
            let open = |state: &State| !state.hung;
            if count == 0 || faults.wait_for(open).await.is_err() {
                return;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = copy => {}
        // an error says that the test is over
        _ = cut.wait_for(|state| state.cuts != cuts) => {}
    }
}
