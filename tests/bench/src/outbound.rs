//! Guests that call others: a server outside, and components of their own application.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use skiff_test_support::paths;

use crate::contenders::Contender;
use crate::options::Options;
use crate::server::Line;
use crate::skiff;

/// The guest that passes on what its variable `URL` leads to, in as few calls as possible.
const FORWARD: &str = "forward";

/// The last of a chain.
const HELLO: &str = "hello";

/// How the components of a chain reach each other.
#[derive(Debug, Clone, Copy)]
enum Way {
    InProcess,
    OverSockets,
}

/// Skiff and `wasmtime serve` with a guest that calls the native server, and Skiff with three
/// components that call each other, in both ways.
pub fn contenders(options: &Options, native: &Path, scratch: &Path) -> Vec<Contender> {
    let target = |address: SocketAddr| format!("http://{address}/");
    let ours = {
        let (options, scratch, native) = (options.clone(), scratch.to_owned(), native.to_owned());
        move |address| {
            let (origin, server) = origin(&native);
            let manifest = component("/...", "forward", FORWARD, &target(origin));
            let folder = scratch.join("outbound");
            let app = application(&folder, &manifest);
            vec![
                server,
                skiff::serve(&options, &app, &scratch.join("cache"), address),
            ]
        }
    };
    let theirs = {
        let (options, native) = (options.clone(), native.to_owned());
        move |address| {
            let (origin, server) = origin(&native);
            let flags = [
                "serve".to_owned(),
                format!("--addr={address}"),
                "-Scli=y".to_owned(),
                format!("--env=URL={}", target(origin)),
                paths::guest(FORWARD).display().to_string(),
            ];
            vec![server, Line::new(&options.wasmtime, flags)]
        }
    };
    let mut all = vec![
        Contender::new(
            "skiff-outbound/forward".to_owned(),
            "skiff, a guest that calls a native server".to_owned(),
        )
        .way("as it comes", ours),
        Contender::new(
            "wasmtime-outbound/forward".to_owned(),
            "wasmtime serve, a guest that calls a native server".to_owned(),
        )
        .way("as it comes", theirs),
    ];
    for (key, what, way) in [
        ("skiff-chained/forward", "in the process", Way::InProcess),
        ("skiff-by-sockets/forward", "over sockets", Way::OverSockets),
    ] {
        let (options, scratch) = (options.clone(), scratch.to_owned());
        let launch = move |address| {
            let folder = scratch.join(key.replace('/', "-"));
            let app = application(&folder, &chain(way, address));
            vec![skiff::serve(
                &options,
                &app,
                &scratch.join("cache"),
                address,
            )]
        };
        let what = format!("skiff, three components that call each other {what}");
        all.push(Contender::new(key.to_owned(), what).way("as it comes", launch));
    }
    for contender in &mut all {
        contender.prepare = true;
        // What the server that is called takes is not its own.
        contender.apart = true;
    }
    all
}

/// A native server to be called, at an address of its own.
fn origin(native: &Path) -> (SocketAddr, Line) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    // Without a free port the server says so.
    let address = free.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1)));
    (address, Line::new(native, [address.to_string()]))
}

/// The manifest's part for a component.
fn component(route: &str, id: &str, guest: &str, url: &str) -> String {
    let source = paths::guest(guest).display().to_string();
    format!(
        "[[trigger.http]]\nroute = {route:?}\ncomponent = {id:?}\n\n\
         [component.{id}]\nsource = {source:?}\nenvironment = {{ URL = {url:?} }}\n\
         allowed_outbound_hosts = [\"http://127.0.0.1:*\", \"http://*.spin.internal\"]\n\n"
    )
}

/// Three components, each of which calls the next.
fn chain(way: Way, address: SocketAddr) -> String {
    let url = |id: &str| match way {
        Way::InProcess => format!("http://{id}.spin.internal/"),
        Way::OverSockets => format!("http://{address}/{id}"),
    };
    [
        component("/...", "first", FORWARD, &url("second")),
        component("/second", "second", FORWARD, &url("third")),
        component("/third", "third", HELLO, ""),
    ]
    .concat()
}

/// The folder of an application. If it cannot be written, its start says so.
fn application(folder: &Path, components: &str) -> PathBuf {
    let name = "spin_manifest_version = 2\n\n[application]\nname = \"bench\"\n\n";
    fs::create_dir_all(folder).ok();
    fs::write(folder.join("spin.toml"), format!("{name}{components}")).ok();
    folder.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_leads_to_the_next_in_both_ways() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let inside = chain(Way::InProcess, address);
        assert!(
            inside.contains("URL = \"http://third.spin.internal/\""),
            "{inside}"
        );
        let outside = chain(Way::OverSockets, address);
        assert!(
            outside.contains("URL = \"http://127.0.0.1:80/third\""),
            "{outside}"
        );
    }
}
