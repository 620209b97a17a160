//! `/v1/users/{id}`: recipients.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{json as respond, mask};
use crate::domain::recipient::parse_recipient;
use crate::domain::{Recipient, Scope};
use crate::http::{Api, Caller, Problem, body};
use crate::store::Contacts;

pub(super) fn user_id(text: &str) -> Result<i64, Problem> {
    text.parse().ok().filter(|id| *id > 0).ok_or_else(|| Problem::field("/id", "must be a positive integer"))
}

/// Makes a recipient, or replaces one as a whole.
pub(super) async fn put(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::PreferencesWrite)?;
    let id = user_id(&id)?;
    let body = body::read(&request, payload, api.max_body).await?;
    let recipient = parse_recipient(id, &body)?;
    let shown = show(&contacts_of(&recipient), id, &caller);
    let made = api.instance.store.put_recipients(vec![recipient]).await? > 0;
    api.deferred_due();
    let mut response = if made { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.content_type("application/json").body(shown.to_string()))
}

fn contacts_of(recipient: &Recipient) -> Contacts {
    Contacts {
        name: recipient.name.clone(),
        email: recipient.email.clone(),
        phone: recipient.phone.clone(),
        locale: recipient.locale.clone(),
        time_zone: recipient.time_zone.clone(),
        devices: recipient.devices.iter().map(|device| (String::new(), device.clone())).collect(),
        preferences: Default::default(),
    }
}

/// A recipient; the contacts only for who may see them.
pub(super) async fn get(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let id = user_id(&id)?;
    let found = api.instance.store.contacts(vec![id]).await?;
    let contacts = found.get(&id).ok_or_else(|| Problem::not_found("user"))?;
    respond(&show(contacts, id, &caller))
}

fn show(contacts: &Contacts, id: i64, caller: &Caller) -> Value {
    let personal = caller.sees_personal();
    let devices = contacts.devices.iter().map(|(_, device)| {
        let token =
            if personal { device.token.clone() } else { mask::text(Some(&device.token)).unwrap_or_default() };
        json!({ "token": token, "platform": device.platform })
    });
    let devices: Vec<Value> = devices.collect();
    let (name, email, phone) = if personal {
        (contacts.name.clone(), contacts.email.clone(), contacts.phone.clone())
    } else {
        (
            mask::text(contacts.name.as_deref()),
            mask::email(contacts.email.as_deref()),
            mask::phone(contacts.phone.as_deref()),
        )
    };
    json!({
        "id": id, "name": name, "email": email, "phone": phone, "locale": contacts.locale,
        "time_zone": contacts.time_zone, "devices": devices,
    })
}

/// Forgets a recipient.
pub(super) async fn delete(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Admin)?;
    let id = user_id(&id)?;
    if api.instance.store.delete_recipient(id).await? {
        api.deferred_due();
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found("user"))
    }
}
