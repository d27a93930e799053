-- name: add_account
INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING

-- name: account_by_name
SELECT id, name FROM accounts WHERE name = ?

-- name: accounts
SELECT id, name FROM accounts ORDER BY name

-- name: account_exists
SELECT 1 FROM accounts WHERE id = ?

-- name: add_secret
INSERT INTO secrets (id, account, digest, hint, created_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET revoked_at = NULL WHERE secrets.account = excluded.account
RETURNING id

-- name: account_by_digest
SELECT a.id, a.name FROM secrets s JOIN accounts a ON a.id = s.account WHERE s.digest = ? AND s.revoked_at IS NULL

-- name: account_open
SELECT EXISTS (SELECT 1 FROM secrets WHERE account = ? AND revoked_at IS NULL)

-- name: secret_columns
s.id, a.id, a.name, s.hint, s.created_at, s.revoked_at

-- name: secrets
SELECT {secret_columns} FROM secrets s JOIN accounts a ON a.id = s.account ORDER BY a.name, s.created_at, s.id

-- name: secret
SELECT {secret_columns} FROM secrets s JOIN accounts a ON a.id = s.account WHERE s.id = ?

-- name: revoke_secret
UPDATE secrets SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?

-- name: add_setting
INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING

-- name: setting
SELECT value FROM settings WHERE name = ?
