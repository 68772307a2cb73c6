//! The native server that the bench measures everything against.
//!
//! It is as fast as hyper allows: a current-thread runtime per core, each pinned and with
//! its own listener on the same port, and an answer without allocations of its own. It
//! answers every request with one line, like the hello samples.
//! `skiff-bench-native ADDRESS:PORT` runs it; as a static binary it also runs in the
//! bench's containers under runc.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// As many bytes as the hello components send, so that the wire costs the same.
const BODY: Bytes = Bytes::from_static(b"Hello of hyper.\n");

/// The listen backlog; more connections than any bench opens at once.
const BACKLOG: u32 = 1024;

/// After a failed accept, for example without free descriptors, trying again at
/// once would only burn the core that the connections need.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let address = match std::env::args().nth(1).map(|text| text.parse()) {
        Some(Ok(address)) => address,
        Some(Err(error)) => return fail(&format!("the address does not parse: {error}")),
        None => return fail("usage: skiff-bench-native ADDRESS:PORT"),
    };
    let cores = match thread::available_parallelism() {
        Ok(cores) => cores.get(),
        Err(error) => return fail(&format!("the number of cores is unknown: {error}")),
    };
    // The kernel ignores SIGTERM for the first process of a container unless it is
    // handled, and `ctr` and kubelet end containers with it.
    thread::spawn(|| match wait_for_the_end() {
        Ok(()) => std::process::exit(0),
        Err(error) => eprintln!("SIGTERM is not handled: {error}"),
    });
    // The other workers run until the process ends, which is when the first one ends, so
    // they are not joined.
    for core in 1..cores {
        thread::spawn(move || {
            if let Err(error) = serve_on(core, cores, address) {
                eprintln!("worker {core} ended: {error}");
            }
        });
    }
    match serve_on(0, cores, address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot serve on {address}: {error}")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// Returns on SIGTERM.
fn wait_for_the_end() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        Ok(())
    })
}

/// A single-threaded runtime with its own listener, pinned if there are several cores.
fn serve_on(core: usize, cores: usize, address: SocketAddr) -> io::Result<()> {
    if cores > 1 {
        let mut set = CpuSet::new();
        set.set(core);
        // A container's cpuset may forbid this core; unpinned is slower, not wrong.
        if let Err(error) = sched_setaffinity(None, &set) {
            eprintln!("worker {core} is not pinned: {error}");
        }
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(accept(address))
}

async fn accept(address: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("accept failed: {error}");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        // It only fails if the client has already gone.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello));
            // A client that leaves only ends its own connection.
            connection.await.ok();
        });
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(BODY)))
}
