-- A year of a bank that is over and done with, straight into the tables: `size` notifications. Ids
-- and positions are in the order of time, as Herald makes them. No log for it: plans do not need one.
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
SET work_mem = '64MB';
ALTER TABLE domain_events SET UNLOGGED;
ALTER TABLE notifications SET UNLOGGED;
ALTER TABLE deliveries SET UNLOGGED;
ALTER TABLE notification_history SET UNLOGGED;

-- What is not in the order of storing is rebuilt at the end, which is faster than keeping it up.
CREATE TABLE rebuilt AS
    SELECT indexname AS name, indexdef AS statement FROM pg_indexes
    WHERE tablename IN ('domain_events', 'notifications', 'deliveries', 'notification_history')
      AND indexname NOT IN (SELECT conname FROM pg_constraint);
DO $$ DECLARE index RECORD; BEGIN
    FOR index IN SELECT name FROM rebuilt LOOP EXECUTE format('DROP INDEX %I', index.name); END LOOP;
END $$;

CREATE FUNCTION size() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT {size}::bigint $$;
CREATE FUNCTION at(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT now() - interval '365 days' * ((size() - n)::float8 / size()) $$;
CREATE FUNCTION type_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n % 1000 = 7 THEN 'account.frozen' WHEN n % 100 < 60 THEN 'transaction.completed'
                WHEN n % 100 < 90 THEN 'user.login' WHEN n % 100 < 97 THEN 'transaction.failed'
                ELSE 'checkbook.ready' END $$;
CREATE FUNCTION notification_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT overlay(lpad(to_hex(n), 12, '0') PLACING '-' FROM 9 FOR 0) || '-8000-8000-' || lpad(to_hex(n), 12, '0') $$;

ALTER TABLE domain_events DISABLE TRIGGER queue_events;
INSERT INTO domain_events (position, id, type, aggregate_id, aggregate_type, payload, metadata, timestamp,
                           processed, created_at, outcome)
SELECT n, 'evt-' || lpad(n::text, 12, '0'), type_of(n), 'ACC-' || n % 300000, 'account',
       jsonb_build_object('accountNumber', 'ACC-' || n % 300000, 'amount', (n % 100000)::text || '.00',
                          'currency', 'MWK', 'userId', n % 200000),
       jsonb_build_object('source', 'core-banking', 'correlationId', 'corr-' || n), at(n), TRUE, at(n), 'notified'
FROM generate_series(1, size()) n;
ALTER TABLE domain_events ENABLE TRIGGER queue_events;
SELECT setval(pg_get_serial_sequence('domain_events', 'position'), size());

-- One in 2,000 failed, one in 4,000 was told in part, one in 500 was suppressed.
CREATE FUNCTION status_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n % 2000 = 3 THEN 'FAILED' WHEN n % 4000 = 5 THEN 'PARTIAL'
                WHEN n % 500 = 9 THEN 'SUPPRESSED' ELSE 'SENT' END $$;
INSERT INTO notifications (id, event_id, event_type, user_id, lane, correlation_id, template, locale, time_zone,
                           open, sent, failed, status, ends, created_at, updated_at)
SELECT notification_of(n), 'evt-' || lpad(n::text, 12, '0'), type_of(n), n % 200000, 2, 'corr-' || n, type_of(n),
       'en', 'Africa/Blantyre', 0,
       CASE status_of(n) WHEN 'SENT' THEN 2 WHEN 'PARTIAL' THEN 1 ELSE 0 END,
       CASE status_of(n) WHEN 'FAILED' THEN 2 WHEN 'PARTIAL' THEN 1 ELSE 0 END,
       status_of(n), 1, at(n), at(n)
FROM generate_series(1, size()) n;

-- Nine in ten of those that failed have been given up by an operator.
INSERT INTO deliveries (notification_id, channel, lane, state, reason, provider, reference, attempt,
                        next_attempt_at, sent_at, updated_at)
SELECT notification_of(n), channel, 2, state, CASE WHEN state <> 'sent' THEN 'because' END, provider,
       'ref-' || n, 1, at(n), CASE WHEN state = 'sent' THEN at(n) END, at(n)
FROM generate_series(1, size()) n
CROSS JOIN LATERAL (VALUES ('push', 'fcm'), ('sms', 'http')) AS c(channel, provider)
CROSS JOIN LATERAL (SELECT CASE
    WHEN status_of(n) = 'FAILED' OR (status_of(n) = 'PARTIAL' AND channel = 'sms')
    THEN CASE WHEN n % 20000 = 3 THEN 'dead' ELSE 'discarded' END
    WHEN status_of(n) = 'SUPPRESSED' THEN 'suppressed' ELSE 'sent' END) AS s(state);

INSERT INTO notification_history (notification_id, channel, attempt, cycle, outcome, provider, reference, latency_ms, at)
SELECT notification_of(n), channel, 1, 0, CASE status_of(n) WHEN 'FAILED' THEN 'permanent' ELSE 'accepted' END,
       'x', 'ref-' || n, 40, at(n)
FROM generate_series(1, size()) n, unnest(ARRAY['push', 'sms']) channel;

INSERT INTO work_items (event_id, concern, position, state)
SELECT 'evt-' || lpad(n::text, 12, '0'), 'sync', n, 'done' FROM generate_series(1, size() / 10) n;
INSERT INTO event_failures (event_id, position, reason, discarded_at)
SELECT 'evt-' || lpad(n::text, 12, '0'), n, 'x', CASE WHEN n % 10 > 0 THEN now() END FROM generate_series(1, size() / 10000) n;
INSERT INTO cap_grants (notification_id, channel, user_id, category, shadow, granted_at)
SELECT notification_of(n), 'sms', n % 200000, 'general', FALSE, at(n)
FROM generate_series(size() * 11 / 12, size()) n;
INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
SELECT n, at(n), '*', n % 200000, 'v', '{}' FROM generate_series(1, size()) n;
INSERT INTO external_sends (event_id, channel, sent, reported_at)
SELECT 'evt-' || lpad(n::text, 12, '0'), 'sms', TRUE, at(n) FROM generate_series(size() * 9 / 10, size()) n;
INSERT INTO users (id, name, email) SELECT n, 'Customer ' || n, n || '@mail.example' FROM generate_series(0, size() / 50) n;
INSERT INTO devices (id, user_id, token, platform) SELECT 'dev-' || n, n, 't', 'web' FROM generate_series(0, size() / 50) n;
INSERT INTO accounts (number, user_id) SELECT 'ACC-' || n, n % 200000 FROM generate_series(0, size() / 35) n;
INSERT INTO delivery_stats (hour, event_type, channel, state, shard, n)
SELECT hour, event_type, channel, state, shard, 100
FROM generate_series(date_trunc('hour', now() - interval '1 day' * least(365, size() / 20000), 'UTC'), date_trunc('hour', now(), 'UTC'), '1 hour') hour,
     unnest(ARRAY['transaction.completed', 'user.login', 'transaction.failed', 'checkbook.ready', 'account.frozen']) event_type,
     unnest(ARRAY['push', 'email', 'sms']) channel, unnest(ARRAY['created', 'sent', 'dead']) state, unnest(ARRAY[1, 2]) shard;

DO $$ DECLARE index RECORD; BEGIN
    FOR index IN SELECT statement FROM rebuilt LOOP EXECUTE index.statement; END LOOP;
END $$;
