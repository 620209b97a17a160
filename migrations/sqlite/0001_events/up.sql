-- The event store. `id` … `timestamp` are what another application inserts; the rest is Herald's.
-- `position` is the order of storing. AUTOINCREMENT: a position is never used again.
CREATE TABLE domain_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    aggregate_id TEXT NOT NULL,
    aggregate_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    metadata TEXT,
    timestamp TEXT NOT NULL,
    processed BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    origin TEXT NOT NULL DEFAULT 'outside',
    outcome TEXT NOT NULL DEFAULT 'pending',
    reason TEXT
);

CREATE INDEX domain_events_aggregate ON domain_events (aggregate_id, position);
CREATE INDEX domain_events_type ON domain_events (type, position);
CREATE INDEX domain_events_correlation ON domain_events ((metadata->>'correlationId'), position)
    WHERE metadata->>'correlationId' IS NOT NULL;

-- The open set: one row for each event that is still to be handled. Its size is the backlog.
CREATE TABLE event_queue (
    position INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    aggregate_type TEXT NOT NULL,
    aggregate_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX event_queue_type ON event_queue (type, position);
CREATE INDEX event_queue_aggregate ON event_queue (aggregate_id, position);

-- Whoever inserts an event queues it, in the same transaction. There is one instance only, so all
-- events are in one partition. Herald's own events that nobody handles are inserted closed.
CREATE TRIGGER queue_events AFTER INSERT ON domain_events WHEN NOT (NEW.origin = 'herald' AND NEW.processed)
BEGIN
    INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
    VALUES (NEW.position, NEW.id, NEW.type, NEW.aggregate_type, NEW.aggregate_id, 0);
END;

-- Events whose handling failed for good: dead letters. A table of its own, so that finding them
-- needs no index on domain_events.outcome.
CREATE TABLE event_failures (
    event_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    failed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    discarded_at TEXT
);

-- One row for each start of an instance; the number is its epoch. Fenced: given up by the others.
CREATE TABLE instances (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    heartbeat_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    ended_at TEXT
);
CREATE INDEX instances_live ON instances (heartbeat_at) WHERE ended_at IS NULL;

-- Who handles which part of the aggregates. The token grows with each change of hands.
CREATE TABLE partitions (
    partition INTEGER PRIMARY KEY,
    epoch INTEGER,
    token INTEGER NOT NULL DEFAULT 0
);
INSERT INTO partitions (partition) VALUES (0);

-- What operators have set for every instance: `dispatch` held, `channel:sms` paused.
CREATE TABLE controls (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    set_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);
