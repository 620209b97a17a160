//! The style sheet and the script. Their addresses change with their content, so a browser may keep
//! them for good.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};

use crate::http::auth::hash_secret;

const CSS: &str = include_str!("pages/dashboard.css");
const JS: &str = include_str!("pages/dashboard.js");

static CSS_PATH: LazyLock<String> = LazyLock::new(|| versioned("/assets/dashboard.css", CSS));
static JS_PATH: LazyLock<String> = LazyLock::new(|| versioned("/assets/dashboard.js", JS));

fn versioned(path: &str, content: &str) -> String {
    let hash = hash_secret(content);
    format!("{path}?v={}", hash.get(..12).unwrap_or(&hash))
}

/// Where this version's style sheet is.
pub(super) fn css_path() -> &'static str {
    &CSS_PATH
}

/// Where this version's script is.
pub(super) fn js_path() -> &'static str {
    &JS_PATH
}

/// The style sheet.
pub(super) async fn css() -> HttpResponse {
    asset("text/css; charset=utf-8", CSS)
}

/// The script.
pub(super) async fn js() -> HttpResponse {
    asset("text/javascript; charset=utf-8", JS)
}

fn asset(content_type: &str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(content)
}
