DROP TABLE sandbox_messages;
DROP TABLE idempotency_keys;
DROP TABLE logins;
DROP TABLE tokens;
DROP TABLE accounts;
DROP TABLE devices;
DROP TABLE users;
