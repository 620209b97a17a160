//! The recipients' devices.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Text};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::claim::TakenTuple;
use super::{Bind, Statement, Store, StoreError, rows, word};
use crate::domain::{Device, Platform};

/// What logs and attempts call a device: a hash of its token, which itself is personal data.
pub(super) fn device_id(token: &str) -> String {
    let hash = Sha256::digest(token.as_bytes());
    hash.iter().take(10).fold("d_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

#[derive(Serialize)]
pub(super) struct DeviceRow<'a> {
    id: String,
    user_id: i64,
    token: &'a str,
    platform: Platform,
}

impl<'a> DeviceRow<'a> {
    pub(super) fn new(user_id: i64, device: &'a Device) -> Self {
        Self { id: device_id(&device.token), user_id, token: &device.token, platform: device.platform }
    }
}

pub(super) fn put(devices: Bind) -> Statement {
    Statement::new(
        "INSERT INTO devices (id, user_id, token, platform)
         SELECT id, user_id, token, platform
         FROM json_to_recordset(?::json) AS r(id text, user_id bigint, token text, platform text) ORDER BY id
         ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, platform = excluded.platform",
        "INSERT INTO devices (id, user_id, token, platform)
         SELECT value->>'id', value->>'user_id', value->>'token', value->>'platform' FROM json_each(?) WHERE TRUE
         ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, platform = excluded.platform",
        vec![devices],
    )
}

pub(super) fn forget_of_users(users: Bind) -> Statement {
    Statement::new(
        "DELETE FROM devices WHERE user_id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))",
        "DELETE FROM devices WHERE user_id IN (SELECT value FROM json_each(?))",
        vec![users],
    )
}

/// Removes devices that a provider has declared gone.
pub(super) fn remove(ids: Bind) -> Statement {
    Statement::new(
        "DELETE FROM devices WHERE id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "DELETE FROM devices WHERE id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

impl Store {
    pub(super) async fn devices(&self, users: Bind) -> Result<Vec<(i64, String, Device)>, StoreError> {
        let statement = Statement::<(BigInt, Text, Text, Text)>::new(
            "SELECT user_id, id, token, platform FROM devices
             WHERE user_id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json))) ORDER BY added_at, id",
            "SELECT user_id, id, token, platform FROM devices
             WHERE user_id IN (SELECT value FROM json_each(?)) ORDER BY added_at, id",
            vec![users],
        );
        let found: Vec<(i64, String, String, String)> = self.read(statement).await?;
        found
            .into_iter()
            .map(|(user, id, token, platform)| Ok((user, id, Device { token, platform: word(&platform)? })))
            .collect()
    }

    /// For each notification whose push was tried before: the devices with the outcomes of their
    /// attempts and the cycle of each.
    pub(super) async fn tried_devices(
        &self,
        taken: &[TakenTuple],
    ) -> Result<HashMap<String, Vec<(String, String, i64)>>, StoreError> {
        let ids: Vec<&str> = taken.iter().filter(|row| row.1 > 1).map(|row| row.0.as_str()).collect();
        let mut devices: HashMap<String, Vec<_>> = HashMap::new();
        if ids.is_empty() {
            return Ok(devices);
        }
        let statement = Statement::<(Text, Text, Text, BigInt)>::new(
            "SELECT notification_id, device, outcome, cycle::bigint FROM notification_history
             WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) AND channel = 'push'
               AND device IS NOT NULL",
            "SELECT notification_id, device, outcome, cycle FROM notification_history
             WHERE notification_id IN (SELECT value FROM json_each(?)) AND channel = 'push' AND device IS NOT NULL",
            vec![rows(&ids)?],
        );
        let found: Vec<(String, String, String, i64)> = self.read(statement).await?;
        for (notification, device, outcome, cycle) in found {
            devices.entry(notification).or_default().push((device, outcome, cycle));
        }
        Ok(devices)
    }
}
