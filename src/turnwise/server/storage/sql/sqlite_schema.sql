-- Written by `python -m turnwise.server.storage.schema`; change schema.py instead.

CREATE TABLE accounts (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT accounts_name UNIQUE (name)
)
 WITHOUT ROWID;
CREATE TABLE channel_messages (
	"key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	channel INTEGER NOT NULL,
	seq BIGINT NOT NULL,
	count INTEGER NOT NULL,
	at BIGINT NOT NULL,
	data BLOB NOT NULL,
	CONSTRAINT channel_messages_seq UNIQUE (channel, seq)
);
CREATE TABLE channels (
	"key" INTEGER NOT NULL,
	account TEXT NOT NULL,
	channel TEXT NOT NULL,
	given_seq BIGINT NOT NULL,
	last_seq BIGINT NOT NULL,
	kept BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY ("key"),
	CONSTRAINT channels_channel UNIQUE (account, channel)
);
CREATE INDEX channels_empty ON channels (used_at) WHERE kept = 0;
CREATE INDEX channels_full ON channels (kept) WHERE kept > 10000;
CREATE TABLE conversation_terms (
	account TEXT NOT NULL,
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	id TEXT NOT NULL,
	kinds INTEGER NOT NULL,
	PRIMARY KEY (account, name, value, created_at, id)
)
 WITHOUT ROWID;
CREATE TABLE conversation_texts (
	conversation INTEGER NOT NULL,
	description TEXT,
	meta TEXT,
	backstory TEXT,
	PRIMARY KEY (conversation)
);
CREATE TABLE conversations (
	"key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	account TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	expires_at BIGINT,
	last_sequence BIGINT NOT NULL,
	name TEXT,
	bot_id TEXT,
	model TEXT,
	dataset_id TEXT,
	skillset_id TEXT,
	privacy BOOLEAN,
	moderation BOOLEAN,
	contact_id TEXT,
	task_id TEXT,
	space_id TEXT,
	CONSTRAINT conversations_id UNIQUE (id)
);
CREATE INDEX conversations_expiry ON conversations (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX conversations_list ON conversations (account, created_at, id);
CREATE TABLE idempotency (
	"key" INTEGER NOT NULL,
	digest BLOB NOT NULL,
	body BLOB NOT NULL,
	created_at BIGINT NOT NULL,
	message_id TEXT,
	answer BLOB,
	PRIMARY KEY ("key"),
	CONSTRAINT idempotency_digest UNIQUE (digest)
);
CREATE TABLE messages (
	conversation INTEGER NOT NULL,
	sequence BIGINT NOT NULL,
	id TEXT NOT NULL,
	type TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	name TEXT,
	description TEXT,
	meta TEXT,
	text TEXT NOT NULL,
	PRIMARY KEY (conversation, sequence),
	CONSTRAINT messages_id UNIQUE (conversation, id)
)
 WITHOUT ROWID;
CREATE TABLE processes (
	id TEXT NOT NULL,
	lease_until BIGINT NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE rates (
	subject TEXT NOT NULL,
	period BIGINT NOT NULL,
	process TEXT NOT NULL,
	requests BIGINT NOT NULL,
	messages BIGINT NOT NULL,
	tokens BIGINT NOT NULL,
	turns BIGINT NOT NULL,
	PRIMARY KEY (subject, period, process)
)
 WITHOUT ROWID;
CREATE INDEX rates_purge ON rates (period);
CREATE TABLE removed_conversations (
	conversation INTEGER NOT NULL,
	id TEXT NOT NULL,
	account TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	removed_at BIGINT NOT NULL,
	emptied BOOLEAN NOT NULL,
	PRIMARY KEY (conversation),
	CONSTRAINT removed_conversations_id UNIQUE (id)
);
CREATE INDEX removed_conversations_purge ON removed_conversations (emptied, removed_at);
CREATE TABLE removed_messages (
	conversation INTEGER NOT NULL,
	id TEXT NOT NULL,
	sequence BIGINT NOT NULL,
	removed_at BIGINT NOT NULL,
	PRIMARY KEY (conversation, id)
)
 WITHOUT ROWID;
CREATE INDEX removed_messages_purge ON removed_messages (removed_at);
CREATE TABLE secrets (
	id TEXT NOT NULL,
	account TEXT NOT NULL,
	digest BLOB NOT NULL,
	hint TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	revoked_at BIGINT,
	PRIMARY KEY (id),
	CONSTRAINT secrets_digest UNIQUE (digest)
)
 WITHOUT ROWID;
CREATE INDEX secrets_account ON secrets (account);
CREATE TABLE settings (
	name TEXT NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (name)
)
 WITHOUT ROWID;
CREATE TABLE turn_events (
	turn TEXT NOT NULL,
	seq INTEGER NOT NULL,
	tokens BIGINT NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (turn, seq)
)
 WITHOUT ROWID;
CREATE TABLE turns (
	id TEXT NOT NULL,
	account TEXT NOT NULL,
	conversation TEXT,
	channel TEXT,
	kind TEXT NOT NULL,
	state TEXT NOT NULL,
	owner TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	cancel BOOLEAN NOT NULL,
	tokens BIGINT NOT NULL,
	message TEXT,
	reason TEXT,
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	ended_at BIGINT,
	steps BLOB,
	request BLOB NOT NULL,
	queued_at BIGINT,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE UNIQUE INDEX turns_channel ON turns (account, channel) WHERE channel IS NOT NULL;
CREATE INDEX turns_conversation ON turns (conversation, created_at);
CREATE UNIQUE INDEX turns_running ON turns (conversation) WHERE state = 'running';
CREATE INDEX turns_unfinished ON turns (owner) WHERE ended_at IS NULL;
CREATE INDEX turns_waiting ON turns (conversation, queued_at) WHERE state = 'waiting';
CREATE TABLE used_tokens (
	conversation INTEGER NOT NULL,
	at BIGINT NOT NULL,
	model TEXT NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	PRIMARY KEY (conversation, at, model)
)
 WITHOUT ROWID;
CREATE TABLE votes (
	conversation INTEGER NOT NULL,
	message TEXT NOT NULL,
	at BIGINT NOT NULL,
	value INTEGER NOT NULL,
	reason TEXT,
	PRIMARY KEY (conversation, message, at)
)
 WITHOUT ROWID;
CREATE TABLE waits (
	turn TEXT NOT NULL,
	call_id TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	channel TEXT NOT NULL,
	PRIMARY KEY (turn, call_id)
)
 WITHOUT ROWID;
CREATE TABLE writers (
	id TEXT NOT NULL,
	last_group BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version (version_num) VALUES ('0003');
