-- What one event means to one recipient. `open`, `retry`, `sent`, `failed` count its deliveries and
-- are changed by deltas; `status` follows from them. `id` sorts as the events were stored.
CREATE TABLE notifications (
    id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    correlation_id TEXT,
    template TEXT NOT NULL,
    locale TEXT,
    time_zone TEXT,
    name TEXT,
    expires_at TEXT,
    open INTEGER NOT NULL,
    retry INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    ends INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    UNIQUE (event_id, user_id)
);
CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_attention ON notifications (status, id) WHERE status IN ('PENDING', 'RETRY', 'PARTIAL', 'FAILED');

-- One notification on one channel. While it is `sending`, epoch, life and attempt are its claim:
-- only who holds all three may record what came of it.
CREATE TABLE deliveries (
    notification_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    lane INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    provider TEXT,
    reference TEXT,
    segments INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    cycle INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    not_before TEXT,
    claim_epoch INTEGER,
    claim_life INTEGER,
    template_version TEXT,
    sent_at TEXT,
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    PRIMARY KEY (notification_id, channel)
);
CREATE INDEX deliveries_waiting ON deliveries (channel, lane, next_attempt_at, notification_id)
    WHERE state IN ('pending', 'retry', 'deferred');
CREATE INDEX deliveries_claimed ON deliveries (claim_epoch, channel) WHERE state = 'sending';
CREATE INDEX deliveries_dead ON deliveries (updated_at) WHERE state = 'dead';

-- One row for each attempt; for push, one for each device.
CREATE TABLE notification_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    notification_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    cycle INTEGER NOT NULL,
    device TEXT,
    outcome TEXT NOT NULL,
    provider TEXT,
    code TEXT,
    error TEXT,
    reference TEXT,
    latency_ms INTEGER,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);
CREATE INDEX notification_history_notification ON notification_history (notification_id);

-- One event for one other concern that subscribes to its type.
CREATE TABLE work_items (
    event_id TEXT NOT NULL,
    concern TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    error TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    claim_epoch INTEGER,
    claim_life INTEGER,
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    PRIMARY KEY (event_id, concern)
);
CREATE INDEX work_items_waiting ON work_items (concern, next_attempt_at, position) WHERE state IN ('pending', 'retry');
CREATE INDEX work_items_claimed ON work_items (claim_epoch, concern) WHERE state = 'working';
CREATE INDEX work_items_dead ON work_items (updated_at) WHERE state = 'dead';

-- How many deliveries are in each state, by the hour in which their notification was made. `created`
-- counts all of them; what is not in an ended state is open. `shard` keeps instances from waiting
-- for each other at one row.
CREATE TABLE delivery_stats (
    hour TEXT NOT NULL,
    event_type TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    shard INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (hour, event_type, channel, state, shard)
);

-- The proposal's wide row.
CREATE VIEW notification_overview AS
SELECT n.id, n.event_id, n.user_id, n.event_type, n.status, n.correlation_id,
    (SELECT json_group_array(d.channel) FROM deliveries d WHERE d.notification_id = n.id) AS channels,
    p.sent_at AS push_sent_at, p.state AS push_status, p.reason AS push_error,
    e.sent_at AS email_sent_at, e.state AS email_status, e.reason AS email_error,
    s.sent_at AS sms_sent_at, s.state AS sms_status, s.reason AS sms_error,
    (SELECT max(d.retries) FROM deliveries d WHERE d.notification_id = n.id) AS retry_count,
    (SELECT min(d.next_attempt_at) FROM deliveries d WHERE d.notification_id = n.id AND d.state = 'retry') AS next_retry_at,
    n.created_at, n.updated_at
FROM notifications n
LEFT JOIN deliveries p ON p.notification_id = n.id AND p.channel = 'push'
LEFT JOIN deliveries e ON e.notification_id = n.id AND e.channel = 'email'
LEFT JOIN deliveries s ON s.notification_id = n.id AND s.channel = 'sms';
