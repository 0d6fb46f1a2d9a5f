//! Addresses as people write them: `host:port`, `*` for any, and the customary port where none is said.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::runtime::transport::ConnectError;

/// The customary port.
const PORT: u16 = 4040;

/// Where to listen or whom to dial, before any name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) host: Host,
    /// 0: one that the system picks.
    pub(super) port: u16,
}

/// See [`Address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// `*`: every local address.
    Any,
    Ip(IpAddr),
    /// A name in small letters, or an IPv6 address with a zone.
    Name(String),
}

impl Address {
    /// Where a node may listen.
    pub(crate) fn to_listen(text: &str) -> Result<Self, ConnectError> {
        parse(text).map_err(|error| refused(text, error))
    }

    /// Where others may be found: one place, and a port that is known.
    pub(crate) fn to_dial(text: &str) -> Result<Self, ConnectError> {
        let address = Address::to_listen(text)?;
        let anywhere = match &address.host {
            Host::Any => true,
            Host::Ip(ip) => ip.to_canonical().is_unspecified(),
            Host::Name(_) => false,
        };
        if anywhere {
            let error = "it stands for every address of a host, which says where to listen, not where to connect: give a name or one address, as in 10.0.0.1:4040";
            return Err(refused(text, error.to_owned()));
        }
        if address.port == 0 {
            let error = "which port the system picks is not known beforehand: give its number, or none for 4040";
            return Err(refused(text, error.to_owned()));
        }
        Ok(address)
    }
}

/// `*`, names and IPv4 addresses as they are, IPv6 addresses in brackets, and always a port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => write!(f, "*:")?,
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Host::Name(name) if name.contains(':') => write!(f, "[{name}]:")?,
            Host::Name(name) => write!(f, "{name}:")?,
        }
        match self.port {
            0 => write!(f, "*"),
            port => write!(f, "{port}"),
        }
    }
}

fn refused(text: &str, error: String) -> ConnectError {
    ConnectError::Address {
        addr: text.to_owned(),
        text: error,
    }
}

fn parse(text: &str) -> Result<Address, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or("the ] after the IPv6 address is missing")?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(format!("after ] comes a colon and the port, not {port:?}")),
            };
            (ipv6(host)?, port)
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') && !text.contains('/') => {
                return Err("a port follows one colon, and an IPv6 address stands in brackets, as in [::1]:4040".to_owned());
            }
            Some((host, port)) => (name(host)?, Some(port)),
            None => (name(text)?, None),
        },
    };
    let port = match port {
        None => PORT,
        Some("*" | "0") => 0,
        Some("") => {
            return Err(
                "after the colon the port is missing: give its number, or no colon for 4040"
                    .to_owned(),
            );
        }
        Some(port) => {
            number(port).ok_or_else(|| format!("{port:?} is no port, a port is 1 to 65535"))?
        }
    };
    Ok(Address { host, port })
}

/// Digits only: Rust's own parser takes a plus sign.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn ipv6(text: &str) -> Result<Host, String> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let parsed: Ipv6Addr = ip
        .parse()
        .map_err(|_| format!("{text:?} is no IPv6 address, and only these stand in brackets"))?;
    match zone {
        None => Ok(Host::Ip(parsed.into())),
        Some(zone) if zone.is_empty() || !zone.bytes().all(is_of_name) => {
            Err(format!("{zone:?} names no network interface"))
        }
        Some(zone) => Ok(Host::Name(format!("{parsed}%{zone}"))),
    }
}

fn name(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        return Err(
            "the host is missing: give a name or an address, or * for every local one to listen on"
                .to_owned(),
        );
    }
    if text == "*" {
        return Ok(Host::Any);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    match text.chars().find(|&c| c.is_ascii() && !is_of_name(c as u8)) {
        Some(c) => Err(format!(
            "{c:?} cannot be in the name of a host: an address is host:port, as in node.example.net:4040"
        )),
        None => Ok(Host::Name(text.to_lowercase())),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_read_in_all_its_forms() {
        let cases = [
            // where to listen, in full; whether it can be dialled
            ("*", "*:4040", false),
            ("*:4040", "*:4040", false),
            ("*:*", "*:*", false),
            ("*:0", "*:*", false),
            ("0.0.0.0:1", "0.0.0.0:1", false),
            ("[::]:1", "[::]:1", false),
            ("[::ffff:0.0.0.0]:1", "[::ffff:0.0.0.0]:1", false),
            ("Node.Example.NET:*", "node.example.net:*", false),
            ("127.0.0.1:0", "127.0.0.1:*", false),
            ("[::1]:*", "[::1]:*", false),
            ("Node.Example.NET", "node.example.net:4040", true),
            (
                "node_1.example.net.:65535",
                "node_1.example.net.:65535",
                true,
            ),
            ("bücher.example:1", "bücher.example:1", true),
            ("localhost", "localhost:4040", true),
            ("10.0.0.1", "10.0.0.1:4040", true),
            ("10.0.0.1:04040", "10.0.0.1:4040", true),
            ("[::1]", "[::1]:4040", true),
            ("[0:0::1]:7", "[::1]:7", true),
            ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7", true),
        ];
        for (text, full, dialled) in cases {
            let address = Address::to_listen(text).unwrap();
            assert_eq!(address.to_string(), full, "{text}");
            assert_eq!(Address::to_dial(text).is_ok(), dialled, "{text}");
            assert_eq!(Address::to_listen(full).unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let cases = [
            ("", "host is missing"),
            (":4040", "host is missing"),
            ("host:", "port is missing"),
            ("[::1]:", "port is missing"),
            ("host:65536", "\"65536\" is no port"),
            ("host:+1", "\"+1\" is no port"),
            ("host:http", "\"http\" is no port"),
            ("host:**", "\"**\" is no port"),
            ("::1", "in brackets"),
            ("::1:4040", "in brackets"),
            ("host:1:2", "in brackets"),
            ("[::1", "] after the IPv6 address"),
            ("[::1]4040", "after ] comes a colon"),
            ("[host]:1", "is no IPv6 address"),
            ("[10.0.0.1]:1", "is no IPv6 address"),
            ("[fe80::1%]:1", "network interface"),
            ("[fe80::1%a b]:1", "network interface"),
            ("a b:1", "' ' cannot be"),
            ("*.example.net:1", "'*' cannot be"),
            ("https://host:1", "is no port"),
            ("host/path:1", "'/' cannot be"),
            ("host\n:1", "'\\n' cannot be"),
        ];
        for (text, reason) in cases {
            for parse in [Address::to_listen, Address::to_dial] {
                let error = parse(text).unwrap_err().to_string();
                assert!(error.contains(reason), "{text}: {error}");
                assert!(error.contains(&format!("{text:?}")), "{error}");
            }
        }
        for (text, reason) in [
            ("*:4040", "every address of a host"),
            ("0.0.0.0:4040", "every address of a host"),
            ("[::]", "every address of a host"),
            ("host:*", "not known beforehand"),
            ("host:0", "not known beforehand"),
        ] {
            let error = Address::to_dial(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
