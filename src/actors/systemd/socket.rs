//! The socket on which systemd hears how its service is: sd_notify(3).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The socket could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Neither the path of a socket nor an abstract name.
    #[error("NOTIFY_SOCKET is neither an absolute path nor `@` and a name")]
    Address,
    /// The system refuses it.
    #[error("the socket of NOTIFY_SOCKET cannot be used")]
    Socket(#[from] std::io::Error),
}

/// The way to systemd, and what it expects.
pub struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often systemd wants to hear that the service makes progress, at the least; none: never.
    pub watchdog: Option<Duration>,
}

impl NotifySocket {
    /// What systemd has put into this process's environment; none where it did not start it, or
    /// waits for no message.
    ///
    /// # Errors
    ///
    /// [`NotifyError`].
    pub fn from_environment() -> Result<Option<Self>, NotifyError> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // sd_watchdog_enabled(3): without WATCHDOG_PID it is meant for whoever reads it.
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| meant && *usec > 0).map(Duration::from_micros);
        let socket = UnixDatagram::unbound()?;
        // A socket that is full must not hold up the thread; the message is repeated soon.
        socket.set_nonblocking(true)?;
        Ok(Some(Self { socket, address: address(&name)?, watchdog }))
    }

    /// Tells systemd, in lines of `NAME=value`.
    ///
    /// # Errors
    ///
    /// The system's, where nobody listens or the socket is full.
    pub(super) fn tell(&self, message: &str) -> std::io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop)
    }
}

fn address(name: &OsStr) -> Result<SocketAddr, NotifyError> {
    match name.as_bytes() {
        [b'/', ..] => Ok(SocketAddr::from_pathname(name)?),
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            Ok(SocketAddr::from_abstract_name(rest)?)
        }
        _ => Err(NotifyError::Address),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        assert!(address(OsStr::new("/run/notify")).unwrap().as_pathname().is_some());
        assert!(address(OsStr::new("@name")).unwrap().as_pathname().is_none());
        for wrong in ["", "notify", "vsock:2:1234"] {
            assert!(matches!(address(OsStr::new(wrong)), Err(NotifyError::Address)), "{wrong}");
        }
    }
}
