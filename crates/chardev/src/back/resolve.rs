//! front → chardev → back → [host]: what the `inet` form of an address means: numbers, or a name
//! that is looked up without holding anything up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chardev_core::OpenError;
use chardev_core::spec::InetAddress;
use tokio::runtime::Handle;

use crate::disk;
use crate::offload::offload;

/// What an address is resolved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To connect to; there must be a host.
    Connect,
    /// To bind to; no host means every interface.
    Bind,
}

/// Finds every address that `inet` names, in the order to try them. A name is looked up on a
/// thread of its own. Runs on the I/O thread.
///
/// # Errors
/// The cause in QEMU's words.
pub(crate) async fn resolve(
    inet: &InetAddress,
    purpose: Purpose,
) -> Result<Vec<SocketAddr>, OpenError> {
    let family = Family::of(inet)?;
    let failed = |cause: &str| {
        let address = format!("{}:{}", inet.host, inet.port);
        let text = format!("address resolution failed for {address}: {cause}");
        OpenError::new(text).about(address)
    };
    let port = match parse_port(&inet.port) {
        Some(port) => port,
        None => service_port(&inet.port)
            .await
            .ok_or_else(|| failed("Servname not supported for ai_socktype"))?,
    };
    if purpose == Purpose::Bind && inet.host.is_empty() {
        let mut any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        if (inet.ipv4, inet.ipv6) == (Some(true), Some(true)) {
            // QEMU has one socket for both then, and shows that one's address.
            any.reverse();
        }
        let any = any.into_iter().filter(|ip| family.takes(ip));
        return Ok(any.map(|ip| SocketAddr::new(ip, port)).collect());
    }
    if let Ok(ip) = inet.host.parse::<IpAddr>() {
        if !family.takes(&ip) {
            return Err(failed("Address family for hostname not supported"));
        }
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // An address with a scope (`fe80::1%eth0`) is for the C library, which knows the interfaces.
    let address = inet.host.split_once('%').map(|(address, _)| address);
    let is_scoped = address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if (inet.numeric && !is_scoped) || inet.host.is_empty() {
        return Err(failed("Name or service not known"));
    }
    let found = tokio::net::lookup_host((inet.host.as_str(), port))
        .await
        .map_err(|error| failed(&lookup_error(&error)).because(error))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if family.takes(&address.ip()) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed("No address associated with hostname"));
    }
    Ok(addresses)
}

/// The address families an address allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    fn of(inet: &InetAddress) -> Result<Self, OpenError> {
        Ok(match (inet.ipv4, inet.ipv6) {
            (Some(false), Some(false)) => {
                return Err("Cannot disable IPv4 and IPv6 at same time".into());
            }
            (None, None) | (Some(true), Some(true)) => Family::Any,
            (_, Some(true)) | (Some(false), None) => Family::V6,
            (Some(true), _) | (None, Some(false)) => Family::V4,
        })
    }

    fn takes(self, ip: &IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }
}

/// A port given as a number. Nothing given means 0, as for the C library.
fn parse_port(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A port given by the name of its service.
async fn service_port(name: &str) -> Option<u16> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let read = || disk::read_text("/etc/services");
    let table = offload(&Handle::current(), read).await.ok()?;
    find_service(&table, name)
}

fn find_service(table: &str, name: &str) -> Option<u16> {
    table.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let named = official == name || words.any(|alias| alias == name);
        (named && matches!(protocol, "tcp" | "udp"))
            .then(|| port.parse().ok())
            .flatten()
    })
}

/// What `gai_strerror` says, without the words the standard library puts before it.
fn lookup_error(error: &std::io::Error) -> String {
    let text = crate::sys::strerror(std::io::Error::other(error.to_string()));
    match text.strip_prefix("failed to lookup address information: ") {
        Some(cause) => cause.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve_now(inet: &InetAddress, purpose: Purpose) -> Result<Vec<SocketAddr>, OpenError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(resolve(inet, purpose))
    }

    fn inet(host: &str, port: &str) -> InetAddress {
        InetAddress {
            host: host.to_owned(),
            port: port.to_owned(),
            ..InetAddress::default()
        }
    }

    #[test]
    fn numbers_need_no_look_up() {
        let found = resolve_now(&inet("::1", "80"), Purpose::Connect).unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
        let found = resolve_now(&inet("", ""), Purpose::Bind).unwrap();
        assert_eq!(
            found,
            ["0.0.0.0:0".parse().unwrap(), "[::]:0".parse().unwrap()]
        );
    }

    #[test]
    fn families_can_be_chosen() {
        let choose = |ipv4, ipv6| InetAddress {
            ipv4,
            ipv6,
            ..inet("", "1")
        };
        let v6: Vec<SocketAddr> = vec!["[::]:1".parse().unwrap()];
        assert_eq!(
            resolve_now(&choose(Some(false), None), Purpose::Bind),
            Ok(v6.clone())
        );
        assert_eq!(
            resolve_now(&choose(None, Some(true)), Purpose::Bind),
            Ok(v6)
        );
        assert_eq!(
            resolve_now(&choose(Some(false), Some(false)), Purpose::Bind),
            Err("Cannot disable IPv4 and IPv6 at same time".into())
        );
    }

    #[test]
    fn failures_speak_as_the_c_library() {
        let fails = |inet: InetAddress, cause: &str| {
            let text = format!(
                "address resolution failed for {}:{}: {cause}",
                inet.host, inet.port
            );
            assert_eq!(resolve_now(&inet, Purpose::Connect), Err(text.into()));
        };
        fails(inet("nosuch.invalid", "1"), "Name or service not known");
        fails(inet("", "1"), "Name or service not known");
        fails(
            InetAddress {
                numeric: true,
                ..inet("localhost", "1")
            },
            "Name or service not known",
        );
        fails(
            inet("127.0.0.1", "nosuchservice"),
            "Servname not supported for ai_socktype",
        );
        fails(
            inet("127.0.0.1", "65536"),
            "Servname not supported for ai_socktype",
        );
        fails(
            InetAddress {
                ipv6: Some(true),
                ..inet("127.0.0.1", "1")
            },
            "Address family for hostname not supported",
        );
    }

    #[test]
    fn services_are_found_by_name_and_alias() {
        let table = "# none\nhttp\t80/tcp\twww # web\nsnmp 161/udp\nodd\n";
        assert_eq!(find_service(table, "www"), Some(80));
        assert_eq!(find_service(table, "snmp"), Some(161));
        assert_eq!(find_service(table, "web"), None);
    }
}
