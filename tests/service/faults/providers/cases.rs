//! The cases, provider by provider.

use super::{CASE, Case, Peers, survives};
use crate::harness::soak;
use crate::peers::{EVERYONE, Fault, FcmAnswer, GatewayAnswer, Step};

const HEAL_EMAIL: fn(&Peers) = |peers| peers.email.heal();
const HEAL_PUSH: fn(&Peers) = |peers| peers.push.heal();
const HEAL_SMS: fn(&Peers) = |peers| peers.sms.heal();

#[tokio::test]
async fn smtp_421() {
    survives(Case {
        name: "SMTP 421",
        channel: "email",
        inject: |peers| {
            peers.email.fault(Step::Greeting, Fault::Reply("421 4.3.2 down for maintenance"));
            peers.email.fault(Step::Mail, Fault::Reply("421 4.3.2 going down"));
            peers.email.fault(Step::Rset, Fault::Reply("421 4.3.2 going down"));
        },
        code: "421 4.3.2",
        times: 8,
        heal: HEAL_EMAIL,
        ..CASE
    })
    .await;
}

#[tokio::test]
async fn smtp_450() {
    if soak() {
        survives(Case {
            name: "SMTP 450",
            channel: "email",
            // It is about one mailbox, so the breaker stays out of it, and retries are used up.
            retries: "20",
            inject: |peers| peers.email.fault_times(400, Step::Rcpt, Fault::Reply("450 4.2.0 busy")),
            code: "450 4.2.0",
            times: 200,
            opens: false,
            heal: HEAL_EMAIL,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn smtp_550() {
    if soak() {
        survives(Case {
            name: "SMTP 550 5.1.1",
            channel: "email",
            inject: |peers| {
                let gone = Fault::Reply("550 5.1.1 no such user");
                peers.email.fault_for("customer7@example.com", Step::Rcpt, gone);
            },
            code: "550 5.1.1",
            dead_of: Some(7),
            opens: false,
            heal: HEAL_EMAIL,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn smtp_closed_after_the_final_dot() {
    survives(Case {
        name: "SMTP closed after the final dot",
        channel: "email",
        inject: |peers| peers.email.fault_times(40, Step::Dot, Fault::Close),
        code: "closed",
        times: 6,
        heal: HEAL_EMAIL,
        ..CASE
    })
    .await;
}

#[tokio::test]
async fn smtp_half_open_connections() {
    if soak() {
        survives(Case {
            name: "SMTP half-open connections",
            channel: "email",
            // The server forgot its connections without a word: what is sent there is never answered.
            inject: |peers| {
                peers.email.fault(Step::Mail, Fault::Silence);
                peers.email.fault(Step::Rset, Fault::Silence);
            },
            code: "timeout",
            heal: HEAL_EMAIL,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn smtp_stalled_greeting() {
    if soak() {
        survives(Case {
            name: "SMTP stalled greeting",
            channel: "email",
            inject: |peers| {
                peers.email.fault(Step::Greeting, Fault::Silence);
                peers.email.fault(Step::Mail, Fault::Close);
            },
            code: "timeout",
            heal: HEAL_EMAIL,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn fcm_401() {
    survives(Case {
        name: "FCM 401",
        channel: "push",
        inject: |peers| peers.push.answer(EVERYONE, FcmAnswer::Unauthenticated),
        code: "HTTP 401",
        times: 8,
        heal: HEAL_PUSH,
        ..CASE
    })
    .await;
}

#[tokio::test]
async fn fcm_404() {
    if soak() {
        survives(Case {
            name: "FCM 404 of the project",
            channel: "push",
            inject: |peers| peers.push.answer(EVERYONE, FcmAnswer::NotFound),
            code: "HTTP 404",
            times: 8,
            heal: HEAL_PUSH,
            ..CASE
        })
        .await;
        // Of one device: it is no longer asked for, and FCM is not blamed.
        survives(Case {
            name: "FCM 404 UNREGISTERED",
            channel: "push",
            inject: |peers| peers.push.answer_times(1, "device-of-7", FcmAnswer::Unregistered),
            code: "UNREGISTERED",
            times: 1,
            dead_of: Some(7),
            opens: false,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn fcm_429_with_retry_after() {
    if soak() {
        survives(Case {
            name: "FCM 429 Retry-After: 30",
            channel: "push",
            inject: |peers| peers.push.answer(EVERYONE, FcmAnswer::Quota(Some("30"))),
            code: "QUOTA_EXCEEDED",
            heal: HEAL_PUSH,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn fcm_503_storm() {
    if soak() {
        survives(Case {
            name: "FCM 503 storm",
            channel: "push",
            inject: |peers| peers.push.answer(EVERYONE, FcmAnswer::Unavailable(None)),
            code: "UNAVAILABLE",
            times: 8,
            heal: HEAL_PUSH,
            ..CASE
        })
        .await;
    }
}

#[tokio::test]
async fn sms_garbage() {
    survives(Case {
        name: "SMS gateway: garbage",
        channel: "sms",
        inject: |peers| peers.sms.answer(EVERYONE, GatewayAnswer::Garbage),
        code: "closed",
        times: 8,
        heal: HEAL_SMS,
        ..CASE
    })
    .await;
}

#[tokio::test]
async fn sms_slow_loris() {
    if soak() {
        survives(Case {
            name: "SMS gateway: slow-loris",
            channel: "sms",
            inject: |peers| peers.sms.answer(EVERYONE, GatewayAnswer::SlowLoris),
            code: "HTTP 200",
            times: 5,
            heal: HEAL_SMS,
            ..CASE
        })
        .await;
    }
}
