//! A line between two peers that can be cut, slow, or dead.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::server::Server;

/// What becomes of what comes over the line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It arrives.
    Open,
    /// It arrives so much later.
    Slow(Duration),
    /// It arrives nowhere: connections are taken and kept, and nothing is forwarded until the line is
    /// whole again; as when packets are lost between two hosts.
    Dead,
    /// Connections are closed, the old ones and each new one.
    Cut,
}

/// Forwards TCP connections to one address.
pub struct Proxy {
    server: Server,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// A whole line.
    pub fn to(target: SocketAddr) -> Self {
        let (way, watched) = watch::channel(Way::Open);
        let server = Server::start(0, move |tcp| {
            let way = watched.clone();
            async move {
                // That a line breaks is what it is for.
                let _ = carry(tcp, target, way).await;
            }
        });
        Self { server, way }
    }

    /// Where the line begins.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Whatever is sent arrives so much later, in both directions.
    pub fn slow_down(&self, by: Duration) {
        self.way.send_replace(Way::Slow(by));
    }

    /// Takes connections and bytes, and forwards none.
    pub fn black_hole(&self) {
        self.way.send_replace(Way::Dead);
    }

    pub fn heal(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) -> Option<()> {
    passable(&mut way).await?;
    let far = TcpStream::connect(target).await.ok()?;
    far.set_nodelay(true).ok()?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // The end of one direction ends both: who closes is gone, as far as the other can tell.
    tokio::select! {
        end = pump(near_read, far_write, way.clone()) => end,
        end = pump(far_read, near_write, way) => end,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
) -> Option<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        passable(&mut way).await?;
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.ok().filter(|read| *read > 0)?,
            changed = way.changed() => {
                changed.ok()?;
                continue;
            }
        };
        if let Way::Slow(by) = passable(&mut way).await? {
            tokio::time::sleep(by).await;
            passable(&mut way).await?;
        }
        to.write_all(&buffer[..read]).await.ok()?;
    }
}

/// Waits while the line is dead; none where it is cut.
async fn passable(way: &mut watch::Receiver<Way>) -> Option<Way> {
    loop {
        let now = *way.borrow_and_update();
        match now {
            Way::Open | Way::Slow(_) => return Some(now),
            Way::Cut => return None,
            Way::Dead => way.changed().await.ok()?,
        }
    }
}
