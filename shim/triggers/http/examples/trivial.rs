//! A constant response, served through the trigger or by plain hyper: the difference is the
//! trigger's cost.
//!
//! `trivial [--bare | --lazy] [--access-log] [ADDRESS]`; `--lazy` uses a handler that never
//! asks for the `spin-*` headers.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_trigger::Triggers;
use skiff_trigger_http::{
    AppInfo, Failure, Handler, Http, RequestBody, ResponseBody, Route, RoutePath, Router, Server,
    Settings, Target,
};

const ANSWER: &str = "Hello from Wasm\n";

const DRAIN: Duration = Duration::from_secs(25);

struct Constant<const LAZY: bool>;

impl<const LAZY: bool> Handler for Constant<LAZY> {
    const ADDS_SPIN_HEADERS: bool = LAZY;

    async fn handle(&self, _: Request<RequestBody>) -> Result<Response<ResponseBody>, Failure> {
        Ok(Response::new(ANSWER.into()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut address: SocketAddr = ([127, 0, 0, 1], 3000).into();
    let (mut bare, mut lazy, mut settings) = (false, false, Settings::default());
    for argument in std::env::args().skip(1) {
        match &*argument {
            "--bare" => bare = true,
            "--lazy" => lazy = true,
            "--access-log" => settings.access_log = true,
            _ => address = argument.parse()?,
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match (bare, lazy) {
            (true, _) => serve_bare(address).await,
            (_, true) => serve::<true>(address, &settings).await,
            _ => serve::<false>(address, &settings).await,
        }
    })
}

async fn serve<const LAZY: bool>(
    address: SocketAddr,
    settings: &Settings,
) -> Result<(), Box<dyn Error>> {
    let route = Route {
        trigger: "constant-trigger".to_owned(),
        path: RoutePath::Public("/...".to_owned()),
        target: Target::Handler {
            component: "constant".to_owned(),
            handler: Arc::new(Constant::<LAZY>),
        },
    };
    let info = AppInfo {
        name: "trivial".to_owned(),
        version: None,
        oci_image_digest: None,
    };
    let server = Server::bind(address, settings)?;
    println!("serving on {}", server.local_addr());
    let http = Http::new(server, Router::new(&info, vec![route])?);
    let triggers = Triggers::of_worker(0).with(http);
    let outcome = triggers.serve(DRAIN, std::future::pending()).await?;
    println!("{outcome:?}");
    Ok(())
}

async fn serve_bare(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("serving bare on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|_: Request<hyper::body::Incoming>| async {
                Ok::<_, Infallible>(Response::new(ResponseBody::from(ANSWER)))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{error}");
            }
        });
    }
}
