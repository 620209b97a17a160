//! Recipients, their devices, and who owns which account.

use std::collections::{BTreeMap, HashMap};

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::devices::{self, DeviceRow};
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Device, Preferences, Recipient};

/// A recipient as a message needs it. It is personal data: never logged.
#[derive(Clone, Default)]
pub struct Contacts {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// The phone, E.164.
    pub phone: Option<String>,
    /// The locale.
    pub locale: Option<String>,
    /// The IANA zone.
    pub time_zone: Option<String>,
    /// The devices, each with its id.
    pub devices: Vec<(String, Device)>,
    /// What the recipient wishes.
    pub preferences: Preferences,
}

#[derive(Serialize)]
pub(super) struct UserRow<'a> {
    id: i64,
    name: Option<&'a str>,
    email: Option<&'a str>,
    phone: Option<&'a str>,
    locale: Option<&'a str>,
    time_zone: Option<&'a str>,
}

impl<'a> From<&'a Recipient> for UserRow<'a> {
    fn from(recipient: &'a Recipient) -> Self {
        Self {
            id: recipient.id,
            name: recipient.name.as_deref(),
            email: recipient.email.as_deref(),
            phone: recipient.phone.as_deref(),
            locale: recipient.locale.as_deref(),
            time_zone: recipient.time_zone.as_deref(),
        }
    }
}

type OptText = Nullable<Text>;
type UserSql = (BigInt, OptText, OptText, OptText, OptText, OptText, OptText);
type UserTuple =
    (i64, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

fn users(ids: Bind) -> Statement<UserSql> {
    Statement::new(
        "SELECT id, name, email, phone, locale, time_zone, preferences FROM users
         WHERE id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))",
        "SELECT id, name, email, phone, locale, time_zone, preferences FROM users
         WHERE id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

/// Adds the recipients that are not known yet. It never changes one: a forged event must not
/// redirect somebody's alerts.
pub(super) fn introduce(recipients: Bind) -> Statement {
    Statement::new(
        "INSERT INTO users (id, name, email, phone, locale, time_zone)
         SELECT id, name, email, phone, locale, time_zone
         FROM json_to_recordset(?::json) AS r(id bigint, name text, email text, phone text, locale text, time_zone text)
         ORDER BY id ON CONFLICT DO NOTHING",
        "INSERT INTO users (id, name, email, phone, locale, time_zone)
         SELECT value->>'id', value->>'name', value->>'email', value->>'phone', value->>'locale', value->>'time_zone'
         FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING",
        vec![recipients],
    )
}

/// Notes who owns accounts; the first that was learned stands.
pub(super) fn learn_owners(owners: Bind) -> Statement {
    Statement::new(
        "INSERT INTO accounts (number, user_id)
         SELECT value->>0, (value->>1)::bigint FROM json_array_elements(?::json) ORDER BY 1 ON CONFLICT DO NOTHING",
        "INSERT INTO accounts (number, user_id) SELECT value->>0, value->>1 FROM json_each(?) WHERE TRUE
         ON CONFLICT DO NOTHING",
        vec![owners],
    )
}

fn put_users(recipients: Bind) -> Statement {
    Statement::new(
        "INSERT INTO users (id, name, email, phone, locale, time_zone)
         SELECT id, name, email, phone, locale, time_zone
         FROM json_to_recordset(?::json) AS r(id bigint, name text, email text, phone text, locale text, time_zone text)
         ORDER BY id
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, phone = excluded.phone,
             locale = excluded.locale, time_zone = excluded.time_zone, updated_at = statement_timestamp()",
        "INSERT INTO users (id, name, email, phone, locale, time_zone)
         SELECT value->>'id', value->>'name', value->>'email', value->>'phone', value->>'locale', value->>'time_zone'
         FROM json_each(?) WHERE TRUE
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, phone = excluded.phone,
             locale = excluded.locale, time_zone = excluded.time_zone,
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
        vec![recipients],
    )
}

/// Locks in the order of the ids, as whoever records outcomes does.
fn forget_names(user: i64) -> Statement {
    Statement::new(
        "WITH named AS (SELECT id FROM notifications WHERE user_id = ? AND name IS NOT NULL ORDER BY id FOR UPDATE)
         UPDATE notifications n SET name = NULL FROM named WHERE n.id = named.id",
        "UPDATE notifications SET name = NULL WHERE user_id = ? AND name IS NOT NULL",
        vec![Bind::BigInt(user)],
    )
}

fn forget_messages(user: i64) -> Statement {
    Statement::same(
        "DELETE FROM sandbox_messages WHERE notification_id IN (SELECT id FROM notifications WHERE user_id = ?)",
        vec![Bind::BigInt(user)],
    )
}

impl Store {
    /// Makes or replaces recipients, all or none, and gives how many were new. A device that another
    /// recipient had goes over: a push must not reach who had the phone before. Of several with one id
    /// the last stands.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn put_recipients(&self, recipients: Vec<Recipient>) -> Result<usize, StoreError> {
        let recipients: BTreeMap<i64, Recipient> =
            recipients.into_iter().map(|recipient| (recipient.id, recipient)).collect();
        transaction!(self, |conn| {
            let ids: Vec<i64> = recipients.keys().copied().collect();
            let known: Vec<UserTuple> = users(rows(&ids)?).load(conn).await?;
            let made: Vec<UserRow<'_>> = recipients.values().map(Into::into).collect();
            put_users(rows(&made)?).execute(conn).await?;
            devices::forget_of_users(rows(&ids)?).execute(conn).await?;
            let devices: BTreeMap<&str, DeviceRow<'_>> = recipients
                .values()
                .flat_map(|recipient| recipient.devices.iter().map(|device| (recipient.id, device)))
                .map(|(user, device)| (device.token.as_str(), DeviceRow::new(user, device)))
                .collect();
            if !devices.is_empty() {
                let devices: Vec<&DeviceRow<'_>> = devices.values().collect();
                devices::put(rows(&devices)?).execute(conn).await?;
            }
            if !known.is_empty() {
                // The zone may be another one now.
                let known: Vec<i64> = known.iter().map(|row| row.0).collect();
                super::hurry::due_at_once(rows(&known)?).execute(conn).await?;
            }
            Ok(recipients.len() - known.len())
        })
    }

    /// The contacts of these recipients; who is not known is not in it.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn contacts(&self, ids: Vec<i64>) -> Result<HashMap<i64, Contacts>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let bind = rows(&ids)?;
        let found: Vec<UserTuple> = self.read(users(bind.clone())).await?;
        let mut contacts: HashMap<i64, Contacts> = found
            .into_iter()
            .map(|(id, name, email, phone, locale, time_zone, preferences)| {
                let preferences = super::preferences::read(id, preferences.as_deref())?;
                let devices = Vec::new();
                Ok((id, Contacts { name, email, phone, locale, time_zone, devices, preferences }))
            })
            .collect::<Result<_, StoreError>>()?;
        if !contacts.is_empty() {
            for (user, id, device) in self.devices(bind).await? {
                if let Some(contacts) = contacts.get_mut(&user) {
                    contacts.devices.push((id, device));
                }
            }
        }
        Ok(contacts)
    }

    /// Forgets a recipient: the row, the devices, the name that notifications keep, and what the
    /// sandbox was given for them. False if the recipient was not known; the rest is forgotten all the
    /// same. Events, notifications and the ownership of accounts stay.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn delete_recipient(&self, id: i64) -> Result<bool, StoreError> {
        transaction!(self, |conn| {
            // The recipient's row first, as whoever decides about caps does.
            let _: Vec<(i64,)> = super::caps::lock_users(rows(&[id])?).load(conn).await?;
            forget_names(id).execute(conn).await?;
            forget_messages(id).execute(conn).await?;
            // What waits for their quiet hours or a cap has nobody to go to: it ends now.
            super::hurry::due_at_once(rows(&[id])?).execute(conn).await?;
            let user = Statement::<()>::same("DELETE FROM users WHERE id = ?", vec![Bind::BigInt(id)]);
            Ok(user.execute(conn).await? > 0)
        })
    }

    /// Who owns these accounts, as far as it is known.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn owners(&self, numbers: Vec<String>) -> Result<HashMap<String, i64>, StoreError> {
        if numbers.is_empty() {
            return Ok(HashMap::new());
        }
        let statement = Statement::<(Text, BigInt)>::new(
            "SELECT number, user_id FROM accounts WHERE number = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
            "SELECT number, user_id FROM accounts WHERE number IN (SELECT value FROM json_each(?))",
            vec![rows(&numbers)?],
        );
        Ok(self.read(statement).await?.into_iter().collect())
    }
}
