//! Real peers for the providers: a mail server, Google's two services, an SMS gateway.
//!
//! Each runs on a thread of its own, on a free port of the loopback address, until it is dropped. None
//! knows anything of Herald but the wire.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod answers;
mod authority;
mod fcm;
mod http;
mod log;
mod mime;
mod proxy;
mod server;
mod sms;
mod smtp;

pub use answers::{Answers, EVERYONE};
pub use authority::Authority;
pub use fcm::{FcmAnswer, FcmPeer, PushMessage};
pub use http::{HttpPeer, Reaction, Request};
pub use log::Log;
pub use proxy::Proxy;
pub use server::nobody;
pub use sms::{GatewayAnswer, SmsPeer, TextMessage, Wording};
pub use smtp::{Fault, ReceivedMail, Security, SmtpPeer, SmtpSettings, Step};
