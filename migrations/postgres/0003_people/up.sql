-- Recipients: users of the bank, under the bank's own ids.
CREATE TABLE users (
    id         BIGINT      PRIMARY KEY,
    name       TEXT,
    email      TEXT,
    phone      TEXT,
    locale     TEXT,
    time_zone  TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp()
);

-- A push token is one installation of the app: it belongs to whoever registered it last. `id` is a
-- hash of the token, and what logs and attempts call the device.
CREATE TABLE devices (
    id       TEXT        COLLATE "C" PRIMARY KEY,
    user_id  BIGINT      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token    TEXT        NOT NULL,
    platform TEXT        NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp()
);
CREATE INDEX devices_user ON devices (user_id);

-- Who owns an account, learned from events. The first event that says so stands.
CREATE TABLE accounts (
    number     TEXT        COLLATE "C" PRIMARY KEY,
    user_id    BIGINT      NOT NULL,
    learned_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp()
);

-- API tokens; the secret itself is not kept.
CREATE TABLE tokens (
    id         TEXT        COLLATE "C" PRIMARY KEY,
    name       TEXT        NOT NULL,
    hash       TEXT        NOT NULL,
    scopes     TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);

-- Single-use links to log in to the dashboard, and sessions, by hash. `token_id` is the token that a
-- session was begun with: it ends with it.
CREATE TABLE logins (
    hash       TEXT        COLLATE "C" PRIMARY KEY,
    kind       TEXT        NOT NULL,
    scopes     TEXT        NOT NULL,
    token_id   TEXT        COLLATE "C",
    expires_at TIMESTAMPTZ NOT NULL
);

-- What a POST with this key was answered. `status` is NULL while the first one is under way.
CREATE TABLE idempotency_keys (
    token_id   TEXT        COLLATE "C" NOT NULL,
    key        TEXT        COLLATE "C" NOT NULL,
    request    TEXT        NOT NULL,
    status     SMALLINT,
    answer     TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (token_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What the sandbox was given.
CREATE TABLE sandbox_messages (
    id              BIGINT      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    channel         TEXT        NOT NULL,
    notification_id TEXT        COLLATE "C" NOT NULL,
    event_id        VARCHAR(50) NOT NULL,
    event_type      VARCHAR(100) NOT NULL,
    destination     JSONB       NOT NULL,
    content         JSONB       NOT NULL,
    at              TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
