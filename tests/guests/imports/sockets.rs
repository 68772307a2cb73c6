//! Uses a socket of WASI 0.2 by `?op=` (`connect`, `bind`, `listen`, `udp`, `udp-bind` or `lookup`)
//! and `?at=`, an address or a name, and answers `ok` or the addresses, or 403 and the error.

use std::net::SocketAddrV4;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

struct Sockets;
wasip2::http::proxy::export!(Sockets with_types_in wasip2);

impl Guest for Sockets {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let of = |name| guests::query(&request, name).unwrap_or_default();
        match run(&of("op"), &of("at")) {
            Ok(text) => guests::answer(out, 200, text + "\n"),
            Err(error) => guests::answer(out, 403, format!("{error:?}\n")),
        }
    }
}

fn run(op: &str, at: &str) -> Result<String, ErrorCode> {
    match op {
        "connect" => connect(&tcp()?, address(at))?,
        "bind" => bind(&tcp()?, address(at))?,
        "listen" => {
            let socket = tcp()?;
            bind(&socket, address(at))?;
            socket.start_listen()?;
            socket.subscribe().block();
            socket.finish_listen()?;
        }
        "udp" => {
            let socket = create_udp_socket(IpAddressFamily::Ipv4)?;
            bind_udp(&socket, address("0.0.0.0:0"))?;
            let (_incoming, outgoing) = socket.stream(None)?;
            outgoing.subscribe().block();
            outgoing.check_send()?;
            outgoing.send(&[OutgoingDatagram {
                data: b"ping".to_vec(),
                remote_address: Some(address(at)),
            }])?;
        }
        "udp-bind" => bind_udp(&create_udp_socket(IpAddressFamily::Ipv4)?, address(at))?,
        "lookup" => return look_up(at),
        _ => panic!("no such operation: {op}"),
    }
    Ok("ok".to_owned())
}

fn tcp() -> Result<TcpSocket, ErrorCode> {
    create_tcp_socket(IpAddressFamily::Ipv4)
}

fn connect(socket: &TcpSocket, at: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_connect(&instance_network(), at)?;
    socket.subscribe().block();
    socket.finish_connect()?;
    Ok(())
}

fn bind(socket: &TcpSocket, at: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), at)?;
    socket.subscribe().block();
    socket.finish_bind()
}

fn bind_udp(socket: &UdpSocket, at: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), at)?;
    socket.subscribe().block();
    socket.finish_bind()
}

fn look_up(name: &str) -> Result<String, ErrorCode> {
    let found = resolve_addresses(&instance_network(), name)?;
    let mut all = Vec::new();
    loop {
        match found.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => all.push(format!("{a}.{b}.{c}.{d}")),
            Ok(Some(IpAddress::Ipv6(address))) => all.push(format!("{address:?}")),
            Ok(None) => return Ok(all.join(" ")),
            Err(ErrorCode::WouldBlock) => found.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}

fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("an address");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    })
}
