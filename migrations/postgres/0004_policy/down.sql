DROP TABLE variant_stats, external_sends, replay_grants, replays, rule_sets, decisions, cap_grants;
DROP INDEX deliveries_deferred;
DROP INDEX deliveries_digest;
ALTER TABLE deliveries DROP COLUMN digest_key, DROP COLUMN digest, DROP COLUMN told_in, DROP COLUMN replay_id;
ALTER TABLE notifications DROP COLUMN shadow, DROP COLUMN variant;
ALTER TABLE users DROP COLUMN preferences, DROP COLUMN preferences_version;
