//! Three providers that take what they get, and count it.

use crate::{
    harness::oracle::Copies,
    peers::{FcmPeer, SmsPeer, SmtpPeer, Wording},
};

/// FCM, a mail server and an SMS gateway, without TLS: encryption is not what fails here.
pub(super) struct Providers {
    push: FcmPeer,
    pub(super) mail: SmtpPeer,
    sms: SmsPeer,
}

impl Providers {
    pub(super) fn start() -> Self {
        Self { push: FcmPeer::start(), mail: SmtpPeer::plain(), sms: SmsPeer::start(Wording::Json) }
    }

    /// The settings that lead Herald to them.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HERALD__PUSH__PROVIDER", "fcm".to_owned()),
            ("HERALD__PUSH__FCM__SERVICE_ACCOUNT", self.push.service_account().display().to_string()),
            ("HERALD__PUSH__FCM__ENDPOINT", self.push.endpoint()),
            ("HERALD__EMAIL__PROVIDER", "smtp".to_owned()),
            ("HERALD__EMAIL__SMTP__URL", self.mail.url()),
            ("HERALD__EMAIL__FROM", "alerts@bank.example".to_owned()),
            ("HERALD__SMS__PROVIDER", "http".to_owned()),
            ("HERALD__SMS__HTTP__URL", self.sms.url()),
            ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }".to_owned()),
            ("HERALD__SMS__HTTP__BODY", self.sms.body().to_owned()),
            ("HERALD__SMS__HTTP__ACCEPTED", self.sms.accepted().to_owned()),
        ]
    }

    /// How many messages came.
    pub(super) fn count(&self) -> usize {
        self.push.messages().len() + self.mail.mails().len() + self.sms.messages().len()
    }

    /// How many copies of each delivery came; a recipient of these tests has one device.
    pub(super) fn copies(&self) -> Copies {
        let pushes = self.push.messages().all().into_iter();
        let pushes = pushes.map(|push| push.message["data"]["id"].as_str().unwrap().to_owned());
        let mails = self.mail.mails().all().into_iter().map(|mail| {
            let id = mail.header("message-id").unwrap().trim_start_matches('<');
            id.split_once('@').unwrap().0.replace(".email", ":email")
        });
        let texts = self.sms.messages().all().into_iter().map(|text| text.id);
        let mut copies = Copies::new();
        for id in pushes.chain(mails).chain(texts) {
            *copies.entry(id).or_default() += 1;
        }
        copies
    }
}
