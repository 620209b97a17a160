//! What the pages' forms send, and where from.

use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::{HttpRequest, web};
use serde::de::DeserializeOwned;

use crate::http::{Api, Problem, body};

/// More than any form has.
const MOST: usize = 4 * 1024;

/// Reads a form that one of Herald's own pages has sent.
///
/// # Errors
///
/// 403 where another site has sent it, 400 for what is no such form.
pub(super) async fn read<T: DeserializeOwned>(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    if !is_own(request.headers(), api.dashboard.origin.as_deref()) {
        return Err(Problem::cross_site());
    }
    let body = body::read(request, payload, MOST).await?;
    let text = String::from_utf8(body).map_err(|_| Problem::field("", "the form cannot be read"))?;
    let form =
        web::Query::<T>::from_query(&text).map_err(|_| Problem::field("", "the form cannot be read"))?;
    Ok(form.into_inner())
}

/// Whether one of Herald's own pages may have sent this, as far as the browser tells
/// (Fetch Metadata, <https://www.w3.org/TR/fetch-metadata/>, and RFC 6454).
///
/// Browsers send `Sec-Fetch-Site` over TLS and to loopback addresses only, and `Origin: null` where the
/// page's referrer policy is `no-referrer`, as that of the pages is; so what tells nothing passes, and the
/// form's own token decides.
fn is_own(headers: &HeaderMap, origin: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some(site), _) => site == "same-origin",
        (None, None | Some("null")) => true,
        (None, Some(from)) => {
            let host = from.split_once("://").map(|(_, host)| host);
            origin == Some(from) || (host.is_some() && host == text(HOST.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn other_sites_are_told_apart() {
        let own = |headers: &[(&'static str, &'static str)]| {
            let request =
                headers.iter().fold(TestRequest::default(), |request, header| request.insert_header(*header));
            is_own(request.to_http_request().headers(), Some("https://herald.bank.example"))
        };
        let host = ("host", "10.0.0.5:8080");
        assert!(own(&[host]));
        assert!(own(&[host, ("origin", "http://10.0.0.5:8080")]));
        assert!(own(&[host, ("origin", "https://herald.bank.example")]), "a proxy may change the host");
        assert!(own(&[host, ("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(own(&[host, ("origin", "null")]));
        assert!(!own(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!own(&[host, ("sec-fetch-site", "same-site"), ("origin", "http://10.0.0.5:8080")]));
        assert!(!own(&[host, ("origin", "http://10.0.0.5:9090")]));
        assert!(!own(&[host, ("origin", "https://elsewhere.example")]));
    }
}
