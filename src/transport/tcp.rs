//! TCP as links want it: resolved anew at every dial, no delay for small messages, little unsent in the kernel.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

use super::address::{Address, Host};
use crate::runtime::transport::ConnectError;

/// Of a name with more addresses only the first ones are tried.
const ADDRESSES_MAX: usize = 16;
/// Connections that the kernel holds for us to accept.
const BACKLOG: u32 = 1024;
/// What may be unsent in the kernel, in bytes, before the socket counts as full: what is queued behind it can still be
/// reordered by us. Linux (and its kin) only; elsewhere the whole send buffer fills.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// What an address to dial leads to, now.
pub(super) async fn resolve(addr: &str, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    lookup(addr, Address::to_dial(addr)?, limit).await
}

async fn lookup(
    addr: &str,
    address: Address,
    limit: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(ip, address.port)]),
        // IPv6 is there or not; where it is, this takes IPv4 too
        Host::Any => {
            let any = [
                IpAddr::from(Ipv6Addr::UNSPECIFIED),
                Ipv4Addr::UNSPECIFIED.into(),
            ];
            return Ok(any.map(|ip| SocketAddr::new(ip, address.port)).into());
        }
        Host::Name(name) => name,
    };
    let found: Vec<SocketAddr> = match timeout(limit, lookup_host((name, address.port))).await {
        Ok(found) => found
            .map_err(|source| ConnectError::Resolve {
                addr: addr.to_owned(),
                source,
            })?
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

/// A name without addresses.
pub(super) fn no_address(addr: &str) -> ConnectError {
    ConnectError::Resolve {
        addr: addr.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    }
}

/// Connects to one address; `addr` is what errors call it. [`tune`] is left to the caller.
pub(super) async fn connect(
    addr: &str,
    to: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    match timeout(limit, TcpStream::connect(to)).await {
        Ok(Ok(tcp)) => Ok(tcp),
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

/// Listens on the first that can be had of the addresses that the text means. `check` refuses some.
pub(super) async fn listen(
    addr: &str,
    limit: Duration,
    check: impl Fn(SocketAddr) -> Result<(), ConnectError>,
) -> Result<TcpListener, ConnectError> {
    let mut error = None;
    for at in lookup(addr, Address::to_listen(addr)?, limit).await? {
        check(at)?;
        match listen_at(at) {
            Ok(listener) => return Ok(listener),
            Err(e) => {
                // a port that is taken is not had by listening on less
                let taken = matches!(
                    e.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                );
                error = Some(e);
                if taken && at.ip().is_unspecified() {
                    break;
                }
            }
        }
    }
    Err(match error {
        Some(source) => ConnectError::Connect {
            addr: addr.to_owned(),
            source,
        },
        None => no_address(addr),
    })
}

/// A port that was in use a moment ago can be had again.
fn listen_at(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    if at.is_ipv6() && at.ip().is_unspecified() {
        // every local address is also every IPv4 address
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(at)?;
    socket.listen(BACKLOG)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_connection_is_prompt_and_its_end_is_noticed() {
        let limit = Duration::from_secs(10);
        let listener = listen("127.0.0.1:0", limit, |_| Ok(())).await.unwrap();
        let to = listener.local_addr().unwrap();
        let tcp = connect(&to.to_string(), to, limit).await.unwrap();
        tune(&tcp);
        assert!(tcp.nodelay().unwrap());
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
    }
}
