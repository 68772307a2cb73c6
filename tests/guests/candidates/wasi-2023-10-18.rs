//! Does what the query's `op` says, through WASI 0.2.0-rc-2023-10-18. The standard library
//! uses the release beside it.

wit_bindgen::generate!({
    path: "../fixtures/wit/wasi-2023-10-18.wit",
    world: "everything",
    generate_all,
});

use std::net::SocketAddrV4;

use exports::wasi::http::incoming_handler::Guest;
use wasi::clocks::monotonic_clock::subscribe;
use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{AccessType, DescriptorFlags, Modes, OpenFlags, PathFlags};
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{
    Error, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::poll::{poll_list, poll_one};
use wasi::io::streams::{InputStream, StreamError};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp::Datagram;
use wasi::sockets::udp_create_socket::create_udp_socket;

struct Candidate;
export!(Candidate);

impl Guest for Candidate {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let query = |name| guests::query_of(&path, name);
        let given = |name| query(name).unwrap_or_default();
        match given("op").as_str() {
            "echo" => echo(&request, out),
            "error" => ResponseOutparam::set(out, Err(Error::UnexpectedError("mine".to_owned()))),
            "relay" => match relay(&given("url"), query("first")) {
                Ok((status, text)) => answer(out, status, &text),
                Err(error) => answer(out, 502, format!("{error:?}").as_bytes()),
            },
            "forbidden" => {
                let fields = Fields::new(&[]);
                fields.append("x-a", b"1");
                fields.set("x-a", &[b"2".to_vec(), b"3".to_vec()]);
                fields.delete("x-b");
                assert_eq!(fields.get("x-a").len(), 2);
                fields.set("connection", &[b"close".to_vec()]);
            }
            "wait" => {
                let short = subscribe(5_000_000, false);
                let long = subscribe(u64::MAX, true);
                let ready = poll_list(&[&long, &short]);
                poll_one(&short);
                answer(out, 200, format!("{ready:?}").as_bytes());
            }
            "file" => answer(out, 200, file(&given("path")).as_bytes()),
            "tcp" => answer(out, 200, told(tcp(&given("to"))).as_bytes()),
            "udp" => answer(out, 200, told(udp(&given("to"))).as_bytes()),
            "names" => answer(out, 200, told(names(&given("name"))).as_bytes()),
            _ => {
                let headers = request.headers().entries();
                let mut text = format!("{:?} {path}\n", request.method());
                for (name, value) in headers {
                    text += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
                }
                answer(out, 200, text.as_bytes());
            }
        }
    }
}

/// A result, with the error's name.
fn told<T: std::fmt::Debug>(result: Result<T, ErrorCode>) -> String {
    match result {
        Ok(value) => format!("Ok({value:?})"),
        Err(error) => format!("Err({})", error.name()),
    }
}

fn begin(out: ResponseOutparam, status: u16) -> OutgoingBody {
    let headers = Fields::new(&[
        ("x-candidate".to_owned(), b"2023-10-18".to_vec()),
        ("trailer".to_owned(), b"x-sum, x-count".to_vec()),
    ]);
    let response = OutgoingResponse::new(status, &headers);
    let body = response.write().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn answer(out: ResponseOutparam, status: u16, text: &[u8]) {
    let body = begin(out, status);
    let stream = body.write().expect("the stream is taken once");
    for piece in text.chunks(4096) {
        stream
            .blocking_write_and_flush(piece)
            .expect("the client reads");
    }
    drop(stream);
    OutgoingBody::finish(body, None);
}

/// The body, and the client's trailers and their number as trailers.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let input = incoming.stream().expect("the stream is taken once");
    let body = begin(out, 200);
    let output = body.write().expect("the stream is taken once");
    let bytes = output.forward(input).expect("the client reads");
    drop(output);
    let trailers = IncomingBody::finish(incoming);
    poll_one(&trailers.subscribe());
    let trailers = trailers
        .get()
        .expect("it is ready")
        .expect("the body was whole");
    let mut all = trailers.entries();
    all.push(("x-count".to_owned(), bytes.to_string().into_bytes()));
    OutgoingBody::finish(body, Some(Fields::new(&all)));
}

fn read(stream: &InputStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => return all,
            Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
        }
    }
}

fn relay(url: &str, first: Option<String>) -> Result<(u16, Vec<u8>), Error> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let scheme = match scheme {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers = Fields::new(&[("x-sent".to_owned(), b"by a candidate".to_vec())]);
    let method = wasi::http::types::Method::Get;
    let request = OutgoingRequest::new(
        &method,
        Some(path),
        Some(&scheme),
        Some(authority),
        &headers,
    );
    let options = first.map(|first| RequestOptions {
        connect_timeout_ms: Some(10_000),
        first_byte_timeout_ms: Some(first.parse().expect("a number")),
        between_bytes_timeout_ms: None,
    });
    let body = request.write().expect("the body is taken once");
    let future = handle(request, options)?;
    OutgoingBody::finish(body, None);
    poll_one(&future.subscribe());
    let response = future
        .get()
        .expect("it is ready")
        .expect("it is asked once")?;
    let body = response.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    Ok((response.status(), read(&stream)))
}

fn file(path: &str) -> String {
    let (root, _) = get_directories().into_iter().next().expect("a folder");
    let follow = PathFlags::SYMLINK_FOLLOW;
    let there = root.access_at(follow, path, AccessType::Exists);
    let opened = root.open_at(
        follow,
        path,
        OpenFlags::empty(),
        DescriptorFlags::READ,
        Modes::READABLE,
    );
    let there = there.map_or_else(
        |error| format!("Err({})", error.name()),
        |()| "Ok(())".to_owned(),
    );
    let file = match opened {
        Err(error) => return format!("{there} Err({})", error.name()),
        Ok(file) => file,
    };
    let (text, _) = file.read(1024, 0).expect("a file");
    let text = String::from_utf8(text).expect("a text");
    let locked = file.try_lock_shared().expect_err("there are no locks");
    format!("{there} Ok(({text:?}, Err({})))", locked.name())
}

fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("an address");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    })
}

fn tcp(to: &str) -> Result<String, ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.set_keep_alive(true)?;
    assert!(socket.keep_alive()? && socket.unicast_hop_limit()? > 0);
    assert_eq!(socket.ipv6_only(), Err(ErrorCode::NotSupported));
    socket.set_no_delay(false)?;
    socket.start_connect(&instance_network(), address(to))?;
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => poll_one(&socket.subscribe()),
            connected => break connected?,
        }
    };
    output
        .blocking_write_and_flush(b"ping")
        .expect("it is open");
    Ok(String::from_utf8_lossy(&read(&input)).into_owned())
}

fn udp(to: &str) -> Result<String, ErrorCode> {
    let socket = create_udp_socket(IpAddressFamily::Ipv4)?;
    let to = address(to);
    assert_eq!(socket.finish_connect(), Err(ErrorCode::NotInProgress));
    socket.start_connect(&instance_network(), to)?;
    socket.finish_connect()?;
    let sent = socket.send(&[Datagram {
        data: b"ping".to_vec(),
        remote_address: to,
    }])?;
    assert_eq!(sent, 1);
    loop {
        match socket.receive(1) {
            Err(ErrorCode::WouldBlock) => poll_one(&socket.subscribe()),
            received => {
                let received = received?.remove(0);
                return Ok(String::from_utf8_lossy(&received.data).into_owned());
            }
        }
    }
}

fn names(name: &str) -> Result<usize, ErrorCode> {
    let network = instance_network();
    let found = resolve_addresses(&network, name, Some(IpAddressFamily::Ipv4), false)?;
    let mut count = 0;
    loop {
        match found.resolve_next_address() {
            Err(ErrorCode::WouldBlock) => poll_one(&found.subscribe()),
            Ok(Some(_)) => count += 1,
            end => return end.map(|_| count),
        }
    }
}
