//! From the configuration of the channels to their providers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actors::{CarrierSetup, Carriers, ChannelSetup};
use crate::config::{self, Config, EmailProvider, PushProvider, Sending, SmsProvider};
use crate::domain::Channel;
use crate::policy::BreakerRule;
use crate::providers::fcm::{Fcm, FcmConfig};
use crate::providers::sandbox::Sandbox;
use crate::providers::sms_http::{SmsHttp, SmsHttpConfig};
use crate::providers::smtp::{Smtp, SmtpConfig};
use crate::providers::{Provider, ProviderError};

/// Makes the sandbox of a channel.
pub(super) type MakeSandbox<'a> = &'a dyn Fn(Channel) -> Sandbox;

type Made = Result<Arc<dyn Provider>, ProviderError>;

/// The channels as they are configured.
pub(super) fn channels(
    config: &Config,
    sandbox: MakeSandbox<'_>,
) -> Result<Vec<ChannelSetup>, ProviderError> {
    let rule = BreakerRule::from(&config.limits.breaker);
    let ca_file = || config.tls.ca_file.clone();
    let push = |sending: &Sending<PushProvider>| push(&sending.provider, ca_file(), sandbox);
    let email = |sending: &Sending<EmailProvider>| email(sending, ca_file(), sandbox);
    let sms = |sending: &Sending<SmsProvider>| sms(&sending.provider, ca_file(), sandbox);
    Ok(vec![
        setup(Channel::Push, &config.push, rule, &push)?,
        setup(Channel::Email, &config.email, rule, &email)?,
        setup(Channel::Sms, &config.sms, rule, &sms)?,
    ])
}

/// How many sends of a channel there may be at once, by whichever of its providers.
pub(super) fn concurrency(config: &Config, channel: Channel) -> usize {
    fn of<P>(sending: &Sending<P>) -> u32 {
        sending.concurrency.max(sending.fallback.as_ref().map_or(0, |fallback| fallback.concurrency))
    }
    count(match channel {
        Channel::Push => of(&config.push),
        Channel::Email => of(&config.email),
        Channel::Sms => of(&config.sms),
    })
}

fn setup<P>(
    channel: Channel,
    sending: &Sending<P>,
    rule: BreakerRule,
    make: &dyn Fn(&Sending<P>) -> Made,
) -> Result<ChannelSetup, ProviderError> {
    let first = carrier(sending, make(sending)?);
    let fallback = match &sending.fallback {
        Some(fallback) => {
            let mut setup = carrier(fallback, make(fallback)?);
            if setup.name == first.name {
                setup.name = name_of_a_second(setup.name);
            }
            Some(setup)
        }
        None => None,
    };
    Ok(ChannelSetup { channel, carriers: Carriers::new(channel, first, fallback, rule) })
}

fn carrier<P>(sending: &Sending<P>, provider: Arc<dyn Provider>) -> CarrierSetup {
    let name = provider.name();
    CarrierSetup { name, provider, concurrency: count(sending.concurrency), per_second: sending.per_second }
}

/// The name of a fallback of the same kind as the first provider: attempts have to tell them apart.
fn name_of_a_second(name: &'static str) -> &'static str {
    match name {
        "smtp" => "smtp-fallback",
        "fcm" => "fcm-fallback",
        "http" => "http-fallback",
        "sandbox" => "sandbox-fallback",
        _ => "fallback",
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn push(provider: &PushProvider, ca_file: Option<PathBuf>, sandbox: MakeSandbox<'_>) -> Made {
    Ok(match provider {
        PushProvider::Sandbox => Arc::new(sandbox(Channel::Push)),
        PushProvider::Fcm(fcm) => Arc::new(Fcm::new(FcmConfig {
            service_account: fcm.service_account.clone(),
            endpoint: fcm.endpoint.to_string(),
            ca_file,
        })?),
    })
}

fn email(sending: &Sending<EmailProvider>, ca_file: Option<PathBuf>, sandbox: MakeSandbox<'_>) -> Made {
    Ok(match &sending.provider {
        EmailProvider::Sandbox => Arc::new(sandbox(Channel::Email)),
        EmailProvider::Smtp(smtp) => Arc::new(Smtp::new(SmtpConfig {
            url: smtp.url.expose().to_string(),
            from: smtp.from.to_string(),
            ca_file,
            connections: count(sending.concurrency),
        })?),
    })
}

fn sms(provider: &SmsProvider, ca_file: Option<PathBuf>, sandbox: MakeSandbox<'_>) -> Made {
    let http: &config::SmsHttp = match provider {
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
