//! What this host knows of its own addresses: where others can reach its listeners, and which addresses are its own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{address::Address, tcp};

/// A seed whose name takes longer to resolve is not this node.
const RESOLVE_TIME: Duration = Duration::from_secs(2);
/// More are of no use to those who try them one after the other.
const ADVERTISED_MAX: usize = 16;

/// The addresses of the interfaces; `None` where the system does not tell them.
fn interfaces() -> Option<Vec<IpAddr>> {
    match if_addrs::get_if_addrs() {
        Ok(found) => Some(found.iter().map(|interface| interface.ip()).collect()),
        Err(error) => {
            tracing::warn!(%error, "the addresses of this host's network interfaces cannot be listed");
            None
        }
    }
}

/// See [`Transport::advertised`](crate::runtime::transport::Transport::advertised).
pub(super) fn advertised(listen_addrs: &[String]) -> Vec<String> {
    let listeners = sockets(listen_addrs);
    let anywhere = listeners.iter().any(|at| at.ip().is_unspecified());
    let interfaces = if anywhere { interfaces() } else { None };
    reachable(&listeners, &interfaces.unwrap_or_default())
        .iter()
        .map(SocketAddr::to_string)
        .collect()
}

fn sockets(listen_addrs: &[String]) -> Vec<SocketAddr> {
    let addrs = listen_addrs.iter();
    addrs.filter_map(|addr| addr.parse().ok()).collect()
}

/// Whether a listener there takes connections to that address, if that is one of this host's.
fn takes(listener: SocketAddr, ip: IpAddr) -> bool {
    match listener.ip() {
        IpAddr::V4(any) if any.is_unspecified() => ip.to_canonical().is_ipv4(),
        IpAddr::V6(any) if any.is_unspecified() => true,
        one => one.to_canonical() == ip.to_canonical(),
    }
}

/// Each listener's address, with every address of the host in the place of a wildcard. Others cannot use link-local ones,
/// which mean another interface with them, and loopback leads them to themselves: it is left only where there is nothing
/// else, for the nodes of the same host.
fn reachable(listeners: &[SocketAddr], interfaces: &[IpAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for &listener in listeners {
        if listener.ip().is_unspecified() {
            let ips = interfaces.iter().filter(|&&ip| takes(listener, ip));
            found.extend(ips.map(|&ip| SocketAddr::new(ip, listener.port())));
        } else {
            found.push(listener);
        }
    }
    found.retain(|at| !is_link_local(at.ip().to_canonical()));
    let is_loopback = |at: &SocketAddr| at.ip().to_canonical().is_loopback();
    if !found.iter().all(is_loopback) {
        found.retain(|at| !is_loopback(at));
    }
    let mut seen = BTreeSet::new();
    found.retain(|&at| seen.insert(at));
    found.truncate(ADVERTISED_MAX);
    found
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// See [`Transport::is_own`](crate::runtime::transport::Transport::is_own).
pub(super) async fn is_own(addr: &str, listen_addrs: &[String], advertised: &[String]) -> bool {
    let Ok(wanted) = Address::to_dial(addr) else {
        return false;
    };
    let mut known = listen_addrs.iter().chain(advertised);
    if known.any(|own| Address::to_dial(own).is_ok_and(|own| own == wanted)) {
        return true;
    }
    let listeners = sockets(listen_addrs);
    // most seeds are elsewhere and need no look at their names
    if !listeners.iter().any(|at| at.port() == wanted.port) {
        return false;
    }
    let Ok(found) = tcp::resolve(addr, RESOLVE_TIME).await else {
        return false;
    };
    let interfaces = interfaces();
    let here = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback()
            || match &interfaces {
                Some(all) => all.iter().any(|own| own.to_canonical() == ip),
                None => UdpSocket::bind((ip, 0)).is_ok(),
            }
    };
    found.iter().any(|to| {
        listeners.iter().any(|at| {
            let same = at.port() == to.port() && takes(*at, to.ip());
            same && (!at.ip().is_unspecified() || here(to.ip()))
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn others_are_told_what_they_can_reach() {
        const ALL: &[&str] = &[
            "127.0.0.1",
            "::1",
            "10.0.0.7",
            "169.254.1.1",
            "fe80::1",
            "2001:db8::7",
        ];
        const LOOPBACK: &[&str] = &["127.0.0.1", "::1", "fe80::1"];
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (
                &["[::]:4040"],
                ALL,
                &["10.0.0.7:4040", "[2001:db8::7]:4040"],
            ),
            (&["0.0.0.0:4040"], ALL, &["10.0.0.7:4040"]),
            (&["0.0.0.0:4040"], LOOPBACK, &["127.0.0.1:4040"]),
            (&["[::]:1"], LOOPBACK, &["127.0.0.1:1", "[::1]:1"]),
            (&["[::]:1"], &[], &[]),
            (&["127.0.0.1:1"], ALL, &["127.0.0.1:1"]),
            (&["127.0.0.1:1", "10.0.0.7:2"], ALL, &["10.0.0.7:2"]),
            (&["10.0.0.7:1", "0.0.0.0:1"], ALL, &["10.0.0.7:1"]),
            (
                &["10.0.0.7:1", "[::]:2"],
                ALL,
                &["10.0.0.7:1", "10.0.0.7:2", "[2001:db8::7]:2"],
            ),
            (&[], ALL, &[]),
        ];
        for (listeners, interfaces, told) in cases {
            let listeners: Vec<SocketAddr> = listeners.iter().map(|a| a.parse().unwrap()).collect();
            let interfaces: Vec<IpAddr> = interfaces.iter().map(|a| a.parse().unwrap()).collect();
            let found = reachable(&listeners, &interfaces);
            let found: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
            assert_eq!(&found, told, "{listeners:?}");
        }
    }

    #[tokio::test]
    async fn a_node_knows_its_own_addresses() {
        let cases: &[(&str, &[&str], &[&str], bool)] = &[
            // the seed, the listeners, what is advertised
            ("127.0.0.1:4040", &["127.0.0.1:4040"], &[], true),
            ("127.0.0.1", &["127.0.0.1:4040"], &[], true),
            ("127.0.0.1:4040", &["0.0.0.0:4040"], &[], true),
            ("127.0.0.1:4040", &["[::]:4040"], &[], true),
            ("[::ffff:127.0.0.1]:4040", &["127.0.0.1:4040"], &[], true),
            ("[::1]:4040", &["[::]:4040"], &[], true),
            ("localhost:4040", &["[::]:4040"], &[], true),
            (
                "Node.Example.NET",
                &["0.0.0.0:1"],
                &["node.example.net:4040"],
                true,
            ),
            ("127.0.0.1:4041", &["0.0.0.0:4040"], &[], false),
            ("[::1]:4040", &["0.0.0.0:4040"], &[], false),
            ("127.0.0.1:4040", &["127.0.0.2:4040"], &[], false),
            ("192.0.2.1:4040", &["0.0.0.0:4040"], &[], false),
            ("name.invalid:4040", &["0.0.0.0:4040"], &[], false),
            ("127.0.0.1:4040", &[], &[], false),
            ("*:4040", &["0.0.0.0:4040"], &[], false),
        ];
        for (seed, listen, advertised, own) in cases {
            let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
            let found = is_own(seed, &owned(listen), &owned(advertised)).await;
            assert_eq!(found, *own, "{seed} {listen:?}");
        }
    }
}
