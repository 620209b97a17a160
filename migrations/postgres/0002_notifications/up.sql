-- What one event means to one recipient. `open`, `retry`, `sent`, `failed` count its deliveries and
-- are changed by deltas; `status` follows from them. `id` sorts as the events were stored. The fill factor
-- leaves room for updates that change no status: they are HOT.
CREATE TABLE notifications (
    id             TEXT         COLLATE "C" PRIMARY KEY,
    event_id       VARCHAR(50)  COLLATE "C" NOT NULL,
    event_type     VARCHAR(100) COLLATE "C" NOT NULL,
    user_id        BIGINT       NOT NULL,
    lane           SMALLINT     NOT NULL,
    correlation_id VARCHAR(100),
    template       TEXT         NOT NULL,
    locale         TEXT,
    time_zone      TEXT,
    name           TEXT,
    expires_at     TIMESTAMPTZ,
    open           SMALLINT     NOT NULL,
    retry          SMALLINT     NOT NULL DEFAULT 0,
    sent           SMALLINT     NOT NULL DEFAULT 0,
    failed         SMALLINT     NOT NULL DEFAULT 0,
    status         TEXT         NOT NULL,
    ends           SMALLINT     NOT NULL DEFAULT 0,
    created_at     TIMESTAMPTZ  NOT NULL DEFAULT statement_timestamp(),
    updated_at     TIMESTAMPTZ  NOT NULL DEFAULT statement_timestamp(),
    UNIQUE (event_id, user_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_attention ON notifications (status, id) WHERE status IN ('PENDING', 'RETRY', 'PARTIAL', 'FAILED');

-- One notification on one channel. While it is `sending`, epoch, life and attempt are its claim:
-- only who holds all three may record what came of it. Its state decides in which partial index it is, so
-- that no change of it is HOT, and no room is left for one.
CREATE TABLE deliveries (
    notification_id  TEXT        COLLATE "C" NOT NULL,
    channel          TEXT        COLLATE "C" NOT NULL,
    lane             SMALLINT    NOT NULL,
    state            TEXT        COLLATE "C" NOT NULL,
    reason           TEXT,
    provider         TEXT,
    reference        TEXT,
    segments         SMALLINT,
    attempt          SMALLINT    NOT NULL DEFAULT 0,
    retries          SMALLINT    NOT NULL DEFAULT 0,
    cycle            SMALLINT    NOT NULL DEFAULT 0,
    next_attempt_at  TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    not_before       TIMESTAMPTZ,
    claim_epoch      BIGINT,
    claim_life       BIGINT,
    template_version TEXT,
    sent_at          TIMESTAMPTZ,
    updated_at       TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (notification_id, channel)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX deliveries_waiting ON deliveries (channel, lane, next_attempt_at, notification_id)
    WHERE state IN ('pending', 'retry', 'deferred');
CREATE INDEX deliveries_claimed ON deliveries (claim_epoch, channel) WHERE state = 'sending';
CREATE INDEX deliveries_dead ON deliveries (updated_at) WHERE state = 'dead';

-- One row for each attempt; for push, one for each device.
CREATE TABLE notification_history (
    id              BIGINT      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    notification_id TEXT        COLLATE "C" NOT NULL,
    channel         TEXT        NOT NULL,
    attempt         SMALLINT    NOT NULL,
    cycle           SMALLINT    NOT NULL,
    device          TEXT,
    outcome         TEXT        NOT NULL,
    provider        TEXT,
    code            TEXT,
    error           TEXT,
    reference       TEXT,
    latency_ms      INTEGER,
    at              TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp()
);
CREATE INDEX notification_history_notification ON notification_history (notification_id);

-- One event for one other concern that subscribes to its type.
CREATE TABLE work_items (
    event_id        VARCHAR(50) COLLATE "C" NOT NULL,
    concern         TEXT        COLLATE "C" NOT NULL,
    position        BIGINT      NOT NULL,
    state           TEXT        COLLATE "C" NOT NULL DEFAULT 'pending',
    error           TEXT,
    attempt         SMALLINT    NOT NULL DEFAULT 0,
    next_attempt_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    claim_epoch     BIGINT,
    claim_life      BIGINT,
    updated_at      TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (event_id, concern)
);
CREATE INDEX work_items_waiting ON work_items (concern, next_attempt_at, position) WHERE state IN ('pending', 'retry');
CREATE INDEX work_items_claimed ON work_items (claim_epoch, concern) WHERE state = 'working';
CREATE INDEX work_items_dead ON work_items (updated_at) WHERE state = 'dead';

-- How many deliveries are in each state, by the hour in which their notification was made. `created`
-- counts all of them; what is not in an ended state is open. `shard` keeps instances from waiting
-- for each other at one row.
CREATE TABLE delivery_stats (
    hour       TIMESTAMPTZ  NOT NULL,
    event_type VARCHAR(100) COLLATE "C" NOT NULL,
    channel    TEXT         COLLATE "C" NOT NULL,
    state      TEXT         COLLATE "C" NOT NULL,
    shard      SMALLINT     NOT NULL,
    n          BIGINT       NOT NULL,
    PRIMARY KEY (hour, event_type, channel, state, shard)
) WITH (fillfactor = 50);

-- The proposal's wide row.
CREATE VIEW notification_overview AS
SELECT n.id, n.event_id, n.user_id, n.event_type, n.status, n.correlation_id,
       ARRAY(SELECT d.channel FROM deliveries d WHERE d.notification_id = n.id ORDER BY d.channel) AS channels,
       p.sent_at AS push_sent_at,  p.state AS push_status,  p.reason AS push_error,
       e.sent_at AS email_sent_at, e.state AS email_status, e.reason AS email_error,
       s.sent_at AS sms_sent_at,   s.state AS sms_status,   s.reason AS sms_error,
       (SELECT max(d.retries) FROM deliveries d WHERE d.notification_id = n.id) AS retry_count,
       (SELECT min(d.next_attempt_at) FROM deliveries d WHERE d.notification_id = n.id AND d.state = 'retry') AS next_retry_at,
       n.created_at, n.updated_at
FROM notifications n
LEFT JOIN deliveries p ON p.notification_id = n.id AND p.channel = 'push'
LEFT JOIN deliveries e ON e.notification_id = n.id AND e.channel = 'email'
LEFT JOIN deliveries s ON s.notification_id = n.id AND s.channel = 'sms';
