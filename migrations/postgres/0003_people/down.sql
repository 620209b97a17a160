DROP TABLE sandbox_messages, idempotency_keys, logins, tokens, accounts, devices, users;
