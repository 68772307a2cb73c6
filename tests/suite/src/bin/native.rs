//! The program of the suite's Linux containers: it is static, and serves, prints, writes,
//! grows or ends, as its arguments say.

use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    match act(&words).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{words:?}: {error}");
            ExitCode::from(2)
        }
    }
}

async fn act(words: &[&str]) -> std::io::Result<ExitCode> {
    match words {
        ["serve", port] => serve(port).await?,
        ["exit", code] => return Ok(ExitCode::from(code.parse().unwrap_or(2))),
        ["print", lines] => print(lines.parse().unwrap_or(0)),
        ["write", path, text] => std::fs::write(path, text)?,
        ["grow"] => grow(),
        ["grow-child"] => run_child(&["grow"])?,
        ["spawn", count] => {
            for _ in 0..count.parse().unwrap_or(0) {
                run_child(&["exit", "0"])?;
            }
        }
        ["read"] => println!(
            "read {} bytes",
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?
        ),
        _ => return Err(std::io::Error::other("not something to do")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers every request alike until SIGTERM.
async fn serve(port: &str) -> std::io::Result<()> {
    // The first process of a namespace only gets signals that it handles.
    let mut told_to_end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(format!("[::]:{port}")).await?;
    println!("serving at {port}");
    loop {
        tokio::select! {
            _ = told_to_end.recv() => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(answer(stream));
            }
        }
    }
    println!("ended on SIGTERM");
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    const REPLY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nnative";
    let mut head = [0; 1024];
    let read = stream.read(&mut head).await?;
    println!(
        "asked {}",
        String::from_utf8_lossy(&head[..read])
            .lines()
            .next()
            .unwrap_or_default()
    );
    stream.write_all(REPLY.as_bytes()).await?;
    stream.shutdown().await
}

/// Runs itself to its end, whatever its status.
fn run_child(words: &[&str]) -> std::io::Result<()> {
    let mut child = std::process::Command::new("/native");
    let ended = child
        .args(words)
        .stdout(std::process::Stdio::null())
        .status()?;
    println!("{ended}");
    Ok(())
}

/// Prints numbered lines to both streams in turn.
fn print(lines: u32) {
    for line in 0..lines {
        println!("out {line}");
        eprintln!("err {line}");
    }
}

/// Touches more and more memory until it is killed.
fn grow() {
    const STEP: usize = 1 << 20;
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; STEP]);
        println!("holding {} MiB", held.len());
    }
}
