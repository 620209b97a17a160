//! From the configuration of the channels to their providers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actors::ChannelSetup;
use crate::config::{Config, EmailProvider, PushProvider, Sending, SmsProvider};
use crate::domain::Channel;
use crate::providers::fcm::{Fcm, FcmConfig};
use crate::providers::sandbox::Sandbox;
use crate::providers::sms_http::{SmsHttp, SmsHttpConfig};
use crate::providers::smtp::{Smtp, SmtpConfig};
use crate::providers::{Provider, ProviderError};

/// Makes the sandbox of a channel.
pub(super) type MakeSandbox<'a> = &'a dyn Fn(Channel) -> Sandbox;

/// The channels as they are configured.
pub(super) fn channels(
    config: &Config,
    sandbox: MakeSandbox<'_>,
) -> Result<Vec<ChannelSetup>, ProviderError> {
    let ca_file = config.tls.ca_file.clone();
    Ok(vec![
        setup(Channel::Push, &config.push, push(config, ca_file.clone(), sandbox)?),
        setup(Channel::Email, &config.email, email(config, ca_file.clone(), sandbox)?),
        setup(Channel::Sms, &config.sms, sms(config, ca_file, sandbox)?),
    ])
}

fn setup<P>(channel: Channel, sending: &Sending<P>, provider: Arc<dyn Provider>) -> ChannelSetup {
    let concurrency = usize::try_from(sending.concurrency).unwrap_or(usize::MAX);
    ChannelSetup { channel, provider, concurrency, per_second: sending.per_second }
}

fn push(
    config: &Config,
    ca_file: Option<PathBuf>,
    sandbox: MakeSandbox<'_>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    Ok(match &config.push.provider {
        PushProvider::Sandbox => Arc::new(sandbox(Channel::Push)),
        PushProvider::Fcm(fcm) => Arc::new(Fcm::new(FcmConfig {
            service_account: fcm.service_account.clone(),
            endpoint: fcm.endpoint.to_string(),
            ca_file,
        })?),
    })
}

fn email(
    config: &Config,
    ca_file: Option<PathBuf>,
    sandbox: MakeSandbox<'_>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    Ok(match &config.email.provider {
        EmailProvider::Sandbox => Arc::new(sandbox(Channel::Email)),
        EmailProvider::Smtp(smtp) => Arc::new(Smtp::new(SmtpConfig {
            url: smtp.url.expose().to_string(),
            from: smtp.from.to_string(),
            ca_file,
            connections: usize::try_from(config.email.concurrency).unwrap_or(usize::MAX),
        })?),
    })
}

fn sms(
    config: &Config,
    ca_file: Option<PathBuf>,
    sandbox: MakeSandbox<'_>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let http = match &config.sms.provider {
        SmsProvider::Sandbox => return Ok(Arc::new(sandbox(Channel::Sms))),
        SmsProvider::Http(http) => http,
    };
    let mut headers = BTreeMap::new();
    for (name, value) in &http.headers {
        headers.insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    Ok(Arc::new(SmsHttp::new(SmsHttpConfig {
        url: http.url.expose().to_owned(),
        method: http.method.to_string(),
        headers,
        body: http.body.expose().to_owned(),
        accepted: http.accepted.as_str().to_owned(),
        permanent: http.permanent.as_ref().map(|pattern| pattern.as_str().to_owned()),
        reference: http.reference.as_ref().map(|pattern| pattern.as_str().to_owned()),
        ca_file,
    })?))
}
