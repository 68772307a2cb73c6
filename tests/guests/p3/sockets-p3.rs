//! Uses a socket of WASI 0.3 by `?op=` (`connect`, `bind`, `listen`, `udp`, `udp-bind` or `lookup`)
//! and `?at=`, an address or a name, and answers `ok` or the addresses, or 403 and the error.

use std::net::SocketAddrV4;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket,
};

struct Sockets;
wasip3::http::service::export!(Sockets);

impl Guest for Sockets {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let of = |name| guests::query_of(&path, name).unwrap_or_default();
        Ok(match run(&of("op"), &of("at")).await {
            Ok(text) => p3::respond(200, text + "\n"),
            Err(error) => p3::respond(403, error + "\n"),
        })
    }
}

async fn run(op: &str, at: &str) -> Result<String, String> {
    let family = IpAddressFamily::Ipv4;
    let done = match op {
        "connect" => shown(TcpSocket::create(family))?.connect(address(at)).await,
        "bind" => shown(TcpSocket::create(family))?.bind(address(at)),
        "listen" => {
            let socket = shown(TcpSocket::create(family))?;
            shown(socket.bind(address(at)))?;
            socket.listen().map(drop)
        }
        "udp" => {
            let socket = shown(UdpSocket::create(family))?;
            socket.send(b"ping".to_vec(), Some(address(at))).await
        }
        "udp-bind" => shown(UdpSocket::create(family))?.bind(address(at)),
        "lookup" => return look_up(at).await,
        _ => panic!("no such operation: {op}"),
    };
    shown(done)?;
    Ok("ok".to_owned())
}

async fn look_up(name: &str) -> Result<String, String> {
    let found = shown(resolve_addresses(name.to_owned()).await)?;
    let all = found.into_iter().map(|address| match address {
        IpAddress::Ipv4((a, b, c, d)) => format!("{a}.{b}.{c}.{d}"),
        IpAddress::Ipv6(address) => format!("{address:?}"),
    });
    Ok(all.collect::<Vec<_>>().join(" "))
}

fn shown<T>(done: Result<T, impl std::fmt::Debug>) -> Result<T, String> {
    done.map_err(|error| format!("{error:?}"))
}

fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("an address");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    })
}
