//! What makes deferred deliveries due before their time.

use super::{Bind, Statement};

/// Makes what waits for these recipients' quiet hours or caps due now, to be asked about again. What
/// waits for another channel does so still.
pub(super) fn due_at_once(users: Bind) -> Statement {
    Statement::new(
        "UPDATE deliveries SET next_attempt_at = statement_timestamp()
         WHERE state = 'deferred' AND reason IS DISTINCT FROM 'escalation' AND notification_id = ANY(ARRAY(
             SELECT n.id FROM json_array_elements_text(?::json) AS u CROSS JOIN LATERAL (
                 SELECT id FROM notifications WHERE user_id = u.value::bigint AND status IN ('PENDING', 'RETRY')) n))",
        "UPDATE deliveries SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         WHERE state = 'deferred' AND reason IS NOT 'escalation' AND notification_id IN (
             SELECT id FROM notifications
             WHERE user_id IN (SELECT value FROM json_each(?)) AND status IN ('PENDING', 'RETRY'))",
        vec![users],
    )
}

/// Makes what waits for another channel of these notifications due now: that one has ended.
pub(super) fn hurry(notifications: Bind) -> Statement {
    Statement::new(
        "UPDATE deliveries SET next_attempt_at = statement_timestamp()
         WHERE state = 'deferred' AND reason = 'escalation'
           AND notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "UPDATE deliveries SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         WHERE state = 'deferred' AND reason = 'escalation'
           AND notification_id IN (SELECT value FROM json_each(?))",
        vec![notifications],
    )
}
