-- What a recipient wishes, as one document; the version is its ETag.
ALTER TABLE users ADD COLUMN preferences TEXT;
ALTER TABLE users ADD COLUMN preferences_version INTEGER NOT NULL DEFAULT 0;

-- Whether its route was in shadow mode when it was decided, and which variant of its template it got.
ALTER TABLE notifications ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;
ALTER TABLE notifications ADD COLUMN variant TEXT;

-- A delivery that waits to be told with others has a key that it shares with them. The one that tells
-- them has their number and sums; each of them names that one.
ALTER TABLE deliveries ADD COLUMN digest_key TEXT;
ALTER TABLE deliveries ADD COLUMN digest TEXT;
ALTER TABLE deliveries ADD COLUMN told_in TEXT;
-- The replay that made or reopened it, if one did.
ALTER TABLE deliveries ADD COLUMN replay_id TEXT;
-- What was deferred, by when it is due.
CREATE INDEX deliveries_deferred ON deliveries (next_attempt_at, notification_id) WHERE state = 'deferred';
-- What a recipient still waits for, to be asked about again when the recipient's wishes change.
CREATE INDEX notifications_waiting ON notifications (user_id) WHERE status IN ('PENDING', 'RETRY');
CREATE INDEX deliveries_digest ON deliveries (digest_key) WHERE state = 'deferred' AND digest_key IS NOT NULL;

-- One row for each delivery that a frequency cap let through, or for each notification that the flood cap
-- did (channel `*`). Written in the transaction that decides, under the lock of the recipient's row.
CREATE TABLE cap_grants (
    notification_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    category TEXT NOT NULL,
    flood TEXT,
    shadow INTEGER NOT NULL,
    granted_at TEXT NOT NULL,
    PRIMARY KEY (notification_id, channel)
);
CREATE INDEX cap_grants_user ON cap_grants (user_id, granted_at);
-- What no window reaches any more is forgotten by age.
CREATE INDEX cap_grants_age ON cap_grants (granted_at);

-- The ledger: what was decided about an event, by which rules, and what they saw. Channel `*`: when it was
-- handled, for all channels; else later, for one.
CREATE TABLE decisions (
    position INTEGER NOT NULL,
    decided_at TEXT NOT NULL,
    channel TEXT NOT NULL,
    user_id INTEGER,
    rules TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (position, decided_at, channel)
);

-- What the rules were, by their version.
CREATE TABLE rule_sets (
    version TEXT PRIMARY KEY,
    rules TEXT NOT NULL,
    first_used_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);

-- Stored events that are decided anew. `cursor` is how far it has come; `report` what it has found so far.
CREATE TABLE replays (
    id TEXT PRIMARY KEY,
    filter TEXT NOT NULL,
    send INTEGER NOT NULL,
    reason TEXT,
    state TEXT NOT NULL DEFAULT 'pending',
    error TEXT,
    begins INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    until INTEGER NOT NULL,
    report TEXT NOT NULL,
    requested_by TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    finished_at TEXT 
);
CREATE INDEX replays_open ON replays (created_at) WHERE state IN ('pending', 'running');

-- What the caps would have granted in a dry run, until it is over: so that it goes on where it was.
CREATE TABLE replay_grants (
    replay_id TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    channel TEXT NOT NULL,
    category TEXT NOT NULL,
    flood TEXT,
    shadow INTEGER NOT NULL,
    granted_at TEXT NOT NULL
);
CREATE INDEX replay_grants_user ON replay_grants (replay_id, user_id, granted_at);

-- What the system that Herald replaces has sent, by its own account.
CREATE TABLE external_sends (
    event_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    sent INTEGER NOT NULL,
    sent_at TEXT ,
    reported_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    PRIMARY KEY (event_id, channel)
);
CREATE INDEX external_sends_age ON external_sends (reported_at);

-- As delivery_stats, for the notifications that got a variant of their template.
CREATE TABLE variant_stats (
    hour TEXT NOT NULL,
    event_type TEXT NOT NULL,
    variant TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    shard INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (hour, event_type, variant, channel, state, shard)
);
