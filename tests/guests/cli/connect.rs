//! Connects to the address in its argument, sends `ping`, and prints everything that it
//! receives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let address: SocketAddr = address.parse().expect("an address");
    match exchange(address) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            println!("{}", error.kind());
            std::process::exit(1);
        }
    }
}

fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"ping")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
