//! Connections: numbered as they come, and able to write slowly, to stop in
//! the middle of an answer, and to end with a TCP reset.

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

/// How the next answer on a connection is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Bytes that may still be written before the connection is reset.
    pub(crate) cut: Option<u64>,
    /// Bytes at a time, and the pause after each.
    pub(crate) slow: Option<(usize, Duration)>,
}

/// A connection, as its requests see it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// 1 for the first connection to this server, and so on.
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    limits: Arc<Mutex<Limits>>,
}

impl Connection {
    fn new(number: u64, peer: SocketAddr) -> Self {
        Self { number, peer, limits: Arc::default() }
    }

    /// Tells how the answer to the current request is to be written.
    pub(crate) fn limit(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Numbered>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Numbered>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener that numbers its connections.
pub(crate) struct Numbered {
    listener: TcpListener,
    accepted: u64,
}

impl Numbered {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, accepted: 0 }
    }
}

impl Listener for Numbered {
    type Io = Stream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Stream, Connection) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.accepted += 1;
                    let connection = Connection::new(self.accepted, peer);
                    return (Stream::new(stream, connection.clone()), connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection::new(0, self.listener.local_addr()?))
    }
}

/// The bytes of a connection.
pub(crate) struct Stream {
    tcp: TcpStream,
    connection: Connection,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    fn new(stream: TcpStream, connection: Connection) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        Self { tcp: stream, connection, pause: None }
    }

    /// Ends the connection with a reset, when the caller drops it.
    fn reset(&self) -> io::Error {
        if let Err(error) = self.tcp.set_zero_linger() {
            tracing::warn!(%error, "the connection will be closed, not reset");
        }
        io::Error::from(io::ErrorKind::ConnectionReset)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let mut limits = self.connection.limits();
        if limits.cut == Some(0) {
            return Poll::Ready(Err(self.reset()));
        }
        let mut most = bytes.len();
        if let Some((piece, _)) = limits.slow {
            most = most.min(piece);
        }
        if let Some(cut) = limits.cut {
            most = most.min(usize::try_from(cut).unwrap_or(usize::MAX));
        }
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &bytes[..most]))?;
        if let Some(cut) = &mut limits.cut {
            *cut = cut.saturating_sub(written as u64);
            self.connection.limit(limits);
            // Time for the bytes to arrive: a reset may overtake them.
            self.pause = Some(Box::pin(sleep(Duration::from_millis(20))));
        }
        if let Some((_, every)) = limits.slow {
            self.pause = Some(Box::pin(sleep(every)));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
