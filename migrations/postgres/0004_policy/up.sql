-- What a recipient wishes, as one document; the version is its ETag.
ALTER TABLE users ADD COLUMN preferences TEXT, ADD COLUMN preferences_version BIGINT NOT NULL DEFAULT 0;

-- Whether its route was in shadow mode when it was decided, and which variant of its template it got.
ALTER TABLE notifications ADD COLUMN shadow BOOLEAN NOT NULL DEFAULT FALSE, ADD COLUMN variant TEXT;

-- A delivery that waits to be told with others has a key that it shares with them. The one that tells
-- them has their number and sums; each of them names that one.
ALTER TABLE deliveries ADD COLUMN digest_key TEXT COLLATE "C", ADD COLUMN digest TEXT, ADD COLUMN told_in TEXT;
-- The replay that made or reopened it, if one did.
ALTER TABLE deliveries ADD COLUMN replay_id TEXT COLLATE "C";
-- What was deferred, by when it is due.
CREATE INDEX deliveries_deferred ON deliveries (next_attempt_at, notification_id) WHERE state = 'deferred';
-- What a recipient still waits for, to be asked about again when the recipient's wishes change.
CREATE INDEX notifications_waiting ON notifications (user_id) WHERE status IN ('PENDING', 'RETRY');
CREATE INDEX deliveries_digest ON deliveries (digest_key) WHERE state = 'deferred' AND digest_key IS NOT NULL;

-- One row for each delivery that a frequency cap let through, or for each notification that the flood cap
-- did (channel `*`). Written in the transaction that decides, under the lock of the recipient's row.
CREATE TABLE cap_grants (
    notification_id TEXT        COLLATE "C" NOT NULL,
    channel         TEXT        COLLATE "C" NOT NULL,
    user_id         BIGINT      NOT NULL,
    category        TEXT        NOT NULL,
    flood           TEXT,
    shadow          BOOLEAN     NOT NULL,
    granted_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (notification_id, channel)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX cap_grants_user ON cap_grants (user_id, granted_at);
-- What no window reaches any more is forgotten by age.
CREATE INDEX cap_grants_age ON cap_grants (granted_at);

-- The ledger: what was decided about an event, by which rules, and what they saw. Channel `*`: when it was
-- handled, for all channels; else later, for one.
CREATE TABLE decisions (
    position   BIGINT      NOT NULL,
    decided_at TIMESTAMPTZ NOT NULL,
    channel    TEXT        COLLATE "C" NOT NULL,
    user_id    BIGINT,
    rules      TEXT        NOT NULL,
    record     TEXT        NOT NULL,
    PRIMARY KEY (position, decided_at, channel)
);

-- What the rules were, by their version.
CREATE TABLE rule_sets (
    version       TEXT        COLLATE "C" PRIMARY KEY,
    rules         TEXT        NOT NULL,
    first_used_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp()
);

-- Stored events that are decided anew. `cursor` is how far it has come; `report` what it has found so far.
CREATE TABLE replays (
    id           TEXT        COLLATE "C" PRIMARY KEY,
    filter       TEXT        NOT NULL,
    send         BOOLEAN     NOT NULL,
    reason       TEXT,
    state        TEXT        COLLATE "C" NOT NULL DEFAULT 'pending',
    error        TEXT,
    begins       BIGINT      NOT NULL,
    cursor       BIGINT      NOT NULL,
    until        BIGINT      NOT NULL,
    report       TEXT        NOT NULL,
    requested_by TEXT,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    updated_at   TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    finished_at  TIMESTAMPTZ
);
CREATE INDEX replays_open ON replays (created_at) WHERE state IN ('pending', 'running');

-- What the caps would have granted in a dry run, until it is over: so that it goes on where it was.
CREATE TABLE replay_grants (
    replay_id  TEXT        COLLATE "C" NOT NULL,
    user_id    BIGINT      NOT NULL,
    channel    TEXT        COLLATE "C" NOT NULL,
    category   TEXT        NOT NULL,
    flood      TEXT,
    shadow     BOOLEAN     NOT NULL,
    granted_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX replay_grants_user ON replay_grants (replay_id, user_id, granted_at);

-- What the system that Herald replaces has sent, by its own account.
CREATE TABLE external_sends (
    event_id    VARCHAR(50) COLLATE "C" NOT NULL,
    channel     TEXT        COLLATE "C" NOT NULL,
    sent        BOOLEAN     NOT NULL,
    sent_at     TIMESTAMPTZ,
    reported_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (event_id, channel)
);
CREATE INDEX external_sends_age ON external_sends (reported_at);

-- As delivery_stats, for the notifications that got a variant of their template.
CREATE TABLE variant_stats (
    hour       TIMESTAMPTZ  NOT NULL,
    event_type VARCHAR(100) COLLATE "C" NOT NULL,
    variant    TEXT         COLLATE "C" NOT NULL,
    channel    TEXT         COLLATE "C" NOT NULL,
    state      TEXT         COLLATE "C" NOT NULL,
    shard      SMALLINT     NOT NULL,
    n          BIGINT       NOT NULL,
    PRIMARY KEY (hour, event_type, variant, channel, state, shard)
) WITH (fillfactor = 50);
