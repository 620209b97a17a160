//! The statements that take events out of the open set, and write what else came of them.

use diesel::sql_types::BigInt;

use super::{Bind, Statement};

pub(super) fn dequeue(positions: Bind) -> Statement {
    Statement::new(
        "DELETE FROM event_queue WHERE position = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))",
        "DELETE FROM event_queue WHERE position IN (SELECT value FROM json_each(?))",
        vec![positions],
    )
}

/// Closes the events that are open; gives their positions. It is what decides whether an event is
/// handled here: an event can come to be queued twice, it is closed once.
pub(super) fn close(events: Bind) -> Statement<(BigInt,)> {
    Statement::new(
        "UPDATE domain_events e SET processed = TRUE, outcome = r.outcome, reason = r.reason
         FROM json_to_recordset(?::json) AS r(position bigint, outcome text, reason text)
         WHERE e.position = r.position AND e.outcome = 'pending' AND r.position = r.position + 0
         RETURNING e.position",
        "UPDATE domain_events
         SET processed = TRUE, outcome = r.value->>'outcome', reason = r.value->>'reason'
         FROM json_each(?) AS r
         WHERE position = r.value->>'position' AND outcome = 'pending' RETURNING position",
        vec![events],
    )
}

pub(super) fn insert_failures(events: Bind) -> Statement {
    Statement::new(
        "INSERT INTO event_failures (event_id, position, reason)
         SELECT id, position, COALESCE(reason, 'unknown')
         FROM json_to_recordset(?::json) AS r(id text, position bigint, reason text)
         ON CONFLICT (event_id) DO UPDATE SET reason = excluded.reason, failed_at = excluded.failed_at, discarded_at = NULL",
        "INSERT INTO event_failures (event_id, position, reason)
         SELECT value->>'id', value->>'position', COALESCE(value->>'reason', 'unknown') FROM json_each(?) WHERE TRUE
         ON CONFLICT (event_id) DO UPDATE SET reason = excluded.reason, failed_at = excluded.failed_at, discarded_at = NULL",
        vec![events],
    )
}

pub(super) fn insert_work_items(items: Bind) -> Statement<()> {
    Statement::new(
        "INSERT INTO work_items (event_id, concern, position)
         SELECT value->>0, value->>1, (value->>2)::bigint FROM json_array_elements(?::json) ON CONFLICT DO NOTHING",
        "INSERT INTO work_items (event_id, concern, position)
         SELECT value->>0, value->>1, value->>2 FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING",
        vec![items],
    )
}
