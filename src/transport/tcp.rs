//! TCP as links want it: resolved anew at every dial, no delay for small messages, little unsent in the kernel.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

use crate::runtime::transport::ConnectError;

/// Of a name with more addresses only the first ones are tried.
const ADDRESSES_MAX: usize = 16;
/// Connections that the kernel holds for us to accept.
const BACKLOG: u32 = 1024;
/// What may be unsent in the kernel, in bytes, before the socket counts as full: what is queued behind it can still be
/// reordered by us. Linux (and its kin) only; elsewhere the whole send buffer fills.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// The addresses of `host:port`, now.
pub(super) async fn resolve(addr: &str, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve {
        addr: addr.to_owned(),
        source,
    };
    let found: Vec<SocketAddr> = match timeout(limit, lookup_host(addr)).await {
        Ok(found) => found
            .map_err(|e| failed(readable(e)))?
            .take(ADDRESSES_MAX)
            .collect(),
        Err(_) => {
            return Err(ConnectError::Timeout {
                addr: addr.to_owned(),
                what: "resolving the name",
                limit,
            });
        }
    };
    if found.is_empty() {
        return Err(no_address(addr));
    }
    Ok(found)
}

fn readable(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidInput {
        return io::Error::new(
            error.kind(),
            "an address is host:port, as in 10.0.0.1:4040 or [::1]:4040",
        );
    }
    error
}

/// A name without addresses.
pub(super) fn no_address(addr: &str) -> ConnectError {
    ConnectError::Resolve {
        addr: addr.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    }
}

/// Connects to one address; `addr` is what errors call it.
pub(super) async fn connect(
    addr: &str,
    to: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    match timeout(limit, TcpStream::connect(to)).await {
        Ok(Ok(tcp)) => {
            tune(&tcp);
            Ok(tcp)
        }
        Ok(Err(source)) => Err(ConnectError::Connect {
            addr: addr.to_owned(),
            source,
        }),
        Err(_) => Err(ConnectError::Timeout {
            addr: addr.to_owned(),
            what: "connecting",
            limit,
        }),
    }
}

/// Listens on one address; a port that was in use a moment ago can be had again.
pub(super) fn listen(addr: &str, at: SocketAddr) -> Result<TcpListener, ConnectError> {
    let open = || {
        let socket = if at.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| ConnectError::Connect {
        addr: addr.to_owned(),
        source,
    })
}

/// Sets what makes links quick and dead peers known. A socket on which something of it fails works without it.
pub(super) fn tune(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
}
