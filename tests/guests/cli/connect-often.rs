//! Connects ten times to the address in its argument, each time after the last connection has
//! ended; then as often as it can, up to ten times at once, and prints how often, and why no
//! more.

use std::net::{SocketAddr, TcpStream};

fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let address: SocketAddr = address.parse().expect("an address");
    for time in 1..=10 {
        if let Err(error) = TcpStream::connect(address) {
            println!("number {time} alone: {}", error.kind());
            return;
        }
    }
    let mut open = Vec::new();
    while open.len() < 10 {
        match TcpStream::connect(address) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                println!("{} at once: {}", open.len(), error.kind());
                return;
            }
        }
    }
    println!("{} at once", open.len());
}
