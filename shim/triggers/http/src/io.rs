//! The socket as hyper sees it: distinguishes HTTP/2 from HTTP/1 by the first bytes,
//! records what the timeouts need, and closes so that the client can read the last
//! response.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::watch::{STALLED, Watch};

/// The start of every HTTP/2 connection and of no HTTP/1 request. The `h2` crate checks the
/// rest.
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// Space for the first read: larger than most requests, and copied once per connection.
const FIRST_READ: usize = 2048;

/// How much of a client's remaining data is read before its connection is closed anyway.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// What the first bytes of a connection have shown.
#[derive(Debug)]
enum Sniffed {
    /// Too few bytes to decide.
    Little {
        bytes: [u8; HTTP2_BEGINS.len()],
        length: usize,
    },
    Http1,
    /// These bytes were read and are HTTP/2.
    Http2 {
        read: Bytes,
    },
}

#[derive(Debug)]
pub(crate) struct Io {
    stream: TokioIo<TcpStream>,
    watch: Arc<Watch>,
    sniffed: Sniffed,
    /// While a write waits: how many bytes were unconfirmed when this was last checked.
    write_waits: Option<u32>,
    /// Whether the client is known to have closed its side.
    ended: bool,
    shut: bool,
    lingered: usize,
}

impl Io {
    pub(crate) fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        let sniffed = Sniffed::Little {
            bytes: Default::default(),
            length: 0,
        };
        Io {
            stream: TokioIo::new(stream),
            watch,
            sniffed,
            write_waits: None,
            ended: false,
            shut: false,
            lingered: 0,
        }
    }

    /// Whether the first bytes were HTTP/2. Then the read that saw them has failed, and the
    /// next one returns them.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sniffed, Sniffed::Http2 { .. })
    }

    /// Writes what fits into the socket now: for a final response on a connection that has
    /// nothing else to write.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if let Err(error) = self.stream.inner().try_write(bytes) {
            tracing::debug!(%error, "the client is gone already");
        }
    }

    #[cold]
    fn poll_sniff(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = [const { MaybeUninit::uninit() }; FIRST_READ];
        let room = &mut room[..buf.remaining().min(FIRST_READ)];
        loop {
            let mut first = ReadBuf::uninit(room);
            if let Sniffed::Little { bytes, length } = &self.sniffed {
                first.put_slice(&bytes[..*length]);
            }
            let had = first.filled().len();
            ready!(Pin::new(self.stream.inner_mut()).poll_read(cx, &mut first))?;
            let read = first.filled();
            if read.starts_with(HTTP2_BEGINS) {
                self.watch.set_http2();
                self.sniffed = Sniffed::Http2 {
                    read: Bytes::copy_from_slice(read),
                };
                return Poll::Ready(Err(io::Error::other("the connection is HTTP/2")));
            }
            if read.len() == had || !HTTP2_BEGINS.starts_with(read) {
                self.sniffed = Sniffed::Http1;
                buf.put_slice(read);
                self.watch.bytes_came();
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; HTTP2_BEGINS.len()];
            bytes[..read.len()].copy_from_slice(read);
            self.sniffed = Sniffed::Little {
                bytes,
                length: read.len(),
            };
        }
    }

    /// hyper reads for an incomplete body, or for the next head. When the client closes its
    /// side, that ends the body at once, but the wait for a next head only after the client
    /// has its response.
    #[inline]
    fn poll_read_http1(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: `ReadBuf` writes no uninitialised bytes into what it is given.
        let mut room = ReadBuf::uninit(unsafe { buf.as_mut() });
        ready!(Pin::new(self.stream.inner_mut()).poll_read(cx, &mut room))?;
        let (read, had_room) = (room.filled().len(), room.capacity() > 0);
        if read == 0 && had_room && self.watch.owes() {
            self.watch.closed_half();
            return Poll::Pending;
        }
        // SAFETY: this many bytes of it have just been filled.
        unsafe { buf.advance(read) };
        self.watch.bytes_came();
        Poll::Ready(Ok(()))
    }

    /// Records that a client has closed its side while its request is being answered: it
    /// may be gone. hyper does not check this, as it could not distinguish it from a
    /// waiting client.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended || !self.watch.is_serving() || !matches!(self.sniffed, Sniffed::Http1) {
            return Ok(());
        }
        let mut room = [MaybeUninit::uninit()];
        let mut next = ReadBuf::uninit(&mut room);
        if let Poll::Ready(read) = self.stream.inner().poll_peek(cx, &mut next)
            && read? == 0
        {
            self.ended = true;
            self.watch.closed_half();
        }
        Ok(())
    }

    fn note_write(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&result, self.write_waits) {
            (Poll::Pending, None) => {
                self.write_waits = Some(self.unconfirmed());
                self.watch.write_waits();
            }
            (Poll::Pending, Some(before)) => {
                if self.watch.asks_for_progress() {
                    let now = self.unconfirmed();
                    if now < before {
                        self.write_waits = Some(now);
                        self.watch.write_waits();
                    }
                }
            }
            (Poll::Ready(_), waited) => {
                self.watch.wrote();
                if waited.is_some() {
                    self.write_waits = None;
                    self.watch.write_goes_on();
                }
            }
        }
        result
    }

    /// How many written bytes the client's kernel has yet to confirm. A full socket becomes
    /// writable only when a third of it is free, which may be more than a slow client reads
    /// within any timeout; this number falls with everything it reads.
    fn unconfirmed(&self) -> u32 {
        // SAFETY: on a TCP socket this request writes one `int`, and does nothing else (tcp(7),
        // where it is called SIOCOUTQ).
        let bytes = unsafe {
            let request = Getter::<{ libc::TIOCOUTQ as Opcode }, libc::c_int>::new();
            ioctl(self.stream.inner(), request)
        };
        match bytes {
            Ok(bytes) => bytes.unsigned_abs(),
            Err(error) => {
                tracing::debug!(%error, "the kernel does not report whether the client reads");
                0
            }
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.orders() & STALLED != 0 {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut this.sniffed {
            Sniffed::Http1 => this.poll_read_http1(cx, buf),
            Sniffed::Http2 { read } if read.is_empty() => {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.watch.bytes_came();
                Poll::Ready(Ok(()))
            }
            Sniffed::Http2 { read } => {
                let length = read.len().min(buf.remaining());
                buf.put_slice(&read[..length]);
                read.advance(length);
                Poll::Ready(Ok(()))
            }
            Sniffed::Little { .. } => this.poll_sniff(cx, buf),
        }
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A TCP socket has no buffer in this process, but hyper calls this each time the
    /// connection is polled.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.look_for_end(cx))
    }

    /// Closes this direction. If the client is still sending, its data is discarded for a
    /// while: closing a socket with unread bytes resets the connection, and the client may
    /// never see the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(&this.sniffed, Sniffed::Http2 { read } if !read.is_empty()) {
            // HTTP/1 closes after the read that has failed; HTTP/2 has not begun yet.
            return Poll::Ready(Ok(()));
        }
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.shut = true;
        }
        if !this.watch.has_unread() {
            return Poll::Ready(Ok(()));
        }
        this.watch.lingers();
        let mut room = [const { MaybeUninit::uninit() }; 16 * 1024];
        while this.lingered < LINGER_BYTES {
            let mut waste = ReadBuf::uninit(&mut room);
            ready!(Pin::new(this.stream.inner_mut()).poll_read(cx, &mut waste))?;
            match waste.filled().len() {
                0 => break,
                length => this.lingered += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}
