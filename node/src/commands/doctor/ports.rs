//! Whether the node listens where it should: while it is up by what it says and by connecting, else by whether the ports
//! could be had.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use guildhall_protocol::api::Status;

use super::check::Check;
use crate::home::Home;

const CHECK: &str = "ports";

/// How long a connection within this machine may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Addresses that are connected to; a machine with many interfaces has many.
const CONNECTS_MAX: usize = 8;

/// A place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Tcp(SocketAddr),
    Udp(SocketAddr),
}

impl Place {
    /// Reads `/ip4/ADDRESS/tcp/PORT` and `/ip4/ADDRESS/udp/PORT/quic-v1`, with or without a peer behind.
    fn of(multiaddr: &str) -> Option<Self> {
        let mut parts = multiaddr.strip_prefix('/')?.split('/');
        let (family, address) = (parts.next()?, parts.next()?);
        let address: IpAddr = address.parse().ok()?;
        let (transport, port) = (parts.next()?, parts.next()?.parse().ok()?);
        match (family, transport) {
            ("ip4" | "ip6", "tcp") => Some(Self::Tcp(SocketAddr::new(address, port))),
            ("ip4" | "ip6", "udp") => Some(Self::Udp(SocketAddr::new(address, port))),
            _ => None,
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.port(),
        }
    }

    /// Whether it could be had now. Any port can.
    fn try_bind(self) -> io::Result<()> {
        match self {
            _ if self.port() == 0 => Ok(()),
            Self::Tcp(address) => TcpListener::bind(address).map(drop),
            Self::Udp(address) => UdpSocket::bind(address).map(drop),
        }
    }

    /// Whether `other`, where a node listens, is this place where it was told to.
    fn is_served_by(self, other: Self) -> bool {
        let (told, at) = match (self, other) {
            (Self::Tcp(told), Self::Tcp(at)) | (Self::Udp(told), Self::Udp(at)) => (told, at),
            _ => return false,
        };
        (told.port() == 0 || told.port() == at.port())
            && (told.ip().is_unspecified() || told.ip() == at.ip())
    }
}

pub(super) async fn look(home: &Home, status: Option<&Status>) -> Vec<Check> {
    let Ok(config) = home.config() else { return Vec::new() };
    let Some(status) = status else {
        let mut places: Vec<(String, Option<Place>)> =
            config.listen.iter().map(|text| (text.clone(), Place::of(text))).collect();
        places.push((format!("the API on {}", config.api), Some(Place::Tcp(config.api))));
        return could_be_had(&places);
    };
    let listens: Vec<Place> = status.addresses.iter().filter_map(|at| Place::of(at)).collect();
    let mut checks = Vec::new();
    // What a flag of `guild up` overrode is no fault, so only a node that listens nowhere is one.
    if listens.is_empty() {
        let saw = "it listens nowhere, so no other node can connect to it";
        checks.push(Check::problem(CHECK, saw, "`listen` in config.toml, or guild up --listen"));
        return checks;
    }
    for place in listens.iter().take(CONNECTS_MAX) {
        checks.extend(answers(*place).await.err());
    }
    let unserved = config.listen.iter().filter(|told| {
        let place = Place::of(told);
        place.is_none_or(|place| !listens.iter().any(|at| place.is_served_by(*at)))
    });
    let unserved: Vec<&str> = unserved.map(String::as_str).collect();
    if !unserved.is_empty() {
        let saw = format!("config.toml names {} and it listens elsewhere", unserved.join(", "));
        checks.push(Check::warning(CHECK, saw, "guild up without --listen, if that is not meant"));
    }
    if checks.is_empty() {
        let ports: Vec<String> = status.addresses.iter().map(|at| without_peer(at)).collect();
        checks.push(Check::ok(CHECK, format!("listens on {}", ports.join(", "))));
    }
    checks
}

/// Whether something answers there; of UDP only that the port is taken.
async fn answers(place: Place) -> Result<(), Check> {
    let silent = |address: SocketAddr, why: String| {
        let saw = format!("{address} does not answer on this machine: {why}");
        Check::problem(
            CHECK,
            saw,
            format!("ss -lntup | grep :{}; nft list ruleset", address.port()),
        )
    };
    match place {
        Place::Tcp(address) => {
            let connect = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_MAX, connect).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(silent(address, error.to_string())),
                Err(_) => Err(silent(address, format!("not within {} s", CONNECT_MAX.as_secs()))),
            }
        }
        Place::Udp(address) => match place.try_bind() {
            Ok(()) => Err(silent(address, "nobody has the port".to_owned())),
            Err(_) => Ok(()),
        },
    }
}

fn could_be_had(places: &[(String, Option<Place>)]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, place) in places {
        let Some(place) = place else {
            let saw = format!("{name} is no address to listen on");
            let help = "`listen` in config.toml: /ip4/0.0.0.0/tcp/7481, or .../udp/7481/quic-v1";
            checks.push(Check::problem(CHECK, saw, help));
            continue;
        };
        let Err(error) = place.try_bind() else { continue };
        let help = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("ss -lntup | grep :{}; end what has it, or take another port", place.port())
            }
            io::ErrorKind::PermissionDenied => "take a port above 1023".to_owned(),
            io::ErrorKind::AddrNotAvailable => {
                "ip address; the machine does not have this address".to_owned()
            }
            _ => "`listen` and `api` in config.toml".to_owned(),
        };
        checks.push(Check::problem(CHECK, format!("{name} cannot be had: {error}"), help));
    }
    if checks.is_empty() {
        let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
        checks.push(Check::ok(CHECK, format!("free: {}", names.join(", "))));
    }
    checks
}

fn without_peer(address: &str) -> String {
    address.split("/p2p/").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_peer() {
        let tcp = Place::of("/ip4/127.0.0.1/tcp/7481/p2p/12D3KooW").unwrap();
        assert_eq!(tcp, Place::Tcp("127.0.0.1:7481".parse().unwrap()));
        let udp = Place::of("/ip6/::1/udp/7481/quic-v1").unwrap();
        assert_eq!(udp, Place::Udp("[::1]:7481".parse().unwrap()));
        for odd in ["", "/", "/dns4/x/tcp/1", "/ip4/127.0.0.1", "/ip4/127.0.0.1/tcp/x", "x"] {
            assert_eq!(Place::of(odd), None, "{odd}");
        }
        let all = Place::of("/ip4/0.0.0.0/tcp/0").unwrap();
        assert!(all.is_served_by(tcp) && !all.is_served_by(udp) && !tcp.is_served_by(all));
    }

    #[test]
    fn a_port_that_another_has_is_named() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let text = format!("/ip4/127.0.0.1/tcp/{port}");
        let checks = could_be_had(&[(text.clone(), Place::of(&text)), ("x".into(), None)]);
        assert_eq!(checks.len(), 2);
        assert_eq!(checks[0].state, State::Problem);
        assert!(checks[0].saw.contains(&text), "{}", checks[0].saw);
        assert!(checks[0].help.as_ref().unwrap().contains(&format!("grep :{port}")));
        drop(other);
        assert_eq!(could_be_had(&[(text.clone(), Place::of(&text))])[0].state, State::Ok);
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        assert!(answers(place).await.is_ok());
        drop(listener);
        assert_eq!(answers(place).await.unwrap_err().state, State::Problem);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Place::Udp(socket.local_addr().unwrap());
        assert!(answers(place).await.is_ok());
        drop(socket);
        assert_eq!(answers(place).await.unwrap_err().state, State::Problem);
    }
}
