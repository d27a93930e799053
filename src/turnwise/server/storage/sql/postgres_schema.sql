-- Written by `python -m turnwise.server.storage.schema`; change schema.py instead.

CREATE TABLE accounts (
	id TEXT COLLATE "C" NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT accounts_name UNIQUE (name)
);
CREATE TABLE channel_messages (
	key BIGSERIAL NOT NULL,
	channel BIGINT NOT NULL,
	seq BIGINT NOT NULL,
	count INTEGER NOT NULL,
	at BIGINT NOT NULL,
	data BYTEA NOT NULL,
	PRIMARY KEY (key),
	CONSTRAINT channel_messages_seq UNIQUE (channel, seq)
);
CREATE TABLE channels (
	key BIGSERIAL NOT NULL,
	account TEXT COLLATE "C" NOT NULL,
	channel TEXT COLLATE "C" NOT NULL,
	given_seq BIGINT NOT NULL,
	last_seq BIGINT NOT NULL,
	kept BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (key),
	CONSTRAINT channels_channel UNIQUE (account, channel)
);
CREATE INDEX channels_empty ON channels (used_at) WHERE kept = 0;
CREATE INDEX channels_full ON channels (kept) WHERE kept > 10000;
CREATE TABLE conversation_terms (
	account TEXT COLLATE "C" NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	value TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	id TEXT COLLATE "C" NOT NULL,
	kinds INTEGER NOT NULL,
	PRIMARY KEY (account, name, value, created_at, id)
);
CREATE TABLE conversation_texts (
	conversation BIGINT NOT NULL,
	description TEXT COLLATE "C",
	meta TEXT COLLATE "C",
	backstory TEXT COLLATE "C",
	PRIMARY KEY (conversation)
);
CREATE TABLE conversations (
	key BIGSERIAL NOT NULL,
	id TEXT COLLATE "C" NOT NULL,
	account TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	expires_at BIGINT,
	last_sequence BIGINT NOT NULL,
	name TEXT COLLATE "C",
	bot_id TEXT COLLATE "C",
	model TEXT COLLATE "C",
	dataset_id TEXT COLLATE "C",
	skillset_id TEXT COLLATE "C",
	privacy BOOLEAN,
	moderation BOOLEAN,
	contact_id TEXT COLLATE "C",
	task_id TEXT COLLATE "C",
	space_id TEXT COLLATE "C",
	PRIMARY KEY (key),
	CONSTRAINT conversations_id UNIQUE (id)
);
CREATE INDEX conversations_expiry ON conversations (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX conversations_list ON conversations (account, created_at, id);
CREATE TABLE idempotency (
	key BIGSERIAL NOT NULL,
	digest BYTEA NOT NULL,
	body BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	message_id TEXT COLLATE "C",
	answer BYTEA,
	PRIMARY KEY (key),
	CONSTRAINT idempotency_digest UNIQUE (digest)
);
CREATE TABLE messages (
	conversation BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	id TEXT COLLATE "C" NOT NULL,
	type TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	name TEXT COLLATE "C",
	description TEXT COLLATE "C",
	meta TEXT COLLATE "C",
	text TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (conversation, sequence),
	CONSTRAINT messages_id UNIQUE (conversation, id)
);
CREATE TABLE processes (
	id TEXT COLLATE "C" NOT NULL,
	lease_until BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE rates (
	subject TEXT COLLATE "C" NOT NULL,
	period BIGINT NOT NULL,
	process TEXT COLLATE "C" NOT NULL,
	requests BIGINT NOT NULL,
	messages BIGINT NOT NULL,
	tokens BIGINT NOT NULL,
	turns BIGINT NOT NULL,
	PRIMARY KEY (subject, period, process)
);
CREATE INDEX rates_purge ON rates (period);
CREATE TABLE removed_conversations (
	conversation BIGINT NOT NULL,
	id TEXT COLLATE "C" NOT NULL,
	account TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	removed_at BIGINT NOT NULL,
	emptied BOOLEAN NOT NULL,
	PRIMARY KEY (conversation),
	CONSTRAINT removed_conversations_id UNIQUE (id)
);
CREATE INDEX removed_conversations_purge ON removed_conversations (emptied, removed_at);
CREATE TABLE removed_messages (
	conversation BIGINT NOT NULL,
	id TEXT COLLATE "C" NOT NULL,
	sequence BIGINT NOT NULL,
	removed_at BIGINT NOT NULL,
	PRIMARY KEY (conversation, id)
);
CREATE INDEX removed_messages_purge ON removed_messages (removed_at);
CREATE TABLE secrets (
	id TEXT COLLATE "C" NOT NULL,
	account TEXT COLLATE "C" NOT NULL,
	digest BYTEA NOT NULL,
	hint TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	revoked_at BIGINT,
	PRIMARY KEY (id),
	CONSTRAINT secrets_digest UNIQUE (digest)
);
CREATE INDEX secrets_account ON secrets (account);
CREATE TABLE settings (
	name TEXT COLLATE "C" NOT NULL,
	value BYTEA NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE turn_events (
	turn TEXT COLLATE "C" NOT NULL,
	seq INTEGER NOT NULL,
	tokens BIGINT NOT NULL,
	text TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (turn, seq)
);
CREATE TABLE turns (
	id TEXT COLLATE "C" NOT NULL,
	account TEXT COLLATE "C" NOT NULL,
	conversation TEXT COLLATE "C",
	channel TEXT COLLATE "C",
	kind TEXT COLLATE "C" NOT NULL,
	state TEXT COLLATE "C" NOT NULL,
	owner TEXT COLLATE "C" NOT NULL,
	attempt INTEGER NOT NULL,
	cancel BOOLEAN NOT NULL,
	tokens BIGINT NOT NULL,
	message TEXT COLLATE "C",
	reason TEXT COLLATE "C",
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	ended_at BIGINT,
	steps BYTEA,
	request BYTEA NOT NULL,
	queued_at BIGINT,
	PRIMARY KEY (id)
);
CREATE UNIQUE INDEX turns_channel ON turns (account, channel) WHERE channel IS NOT NULL;
CREATE INDEX turns_conversation ON turns (conversation, created_at);
CREATE UNIQUE INDEX turns_running ON turns (conversation) WHERE state = 'running';
CREATE INDEX turns_unfinished ON turns (owner) WHERE ended_at IS NULL;
CREATE INDEX turns_waiting ON turns (conversation, queued_at) WHERE state = 'waiting';
CREATE TABLE used_tokens (
	conversation BIGINT NOT NULL,
	at BIGINT NOT NULL,
	model TEXT COLLATE "C" NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	PRIMARY KEY (conversation, at, model)
);
CREATE TABLE votes (
	conversation BIGINT NOT NULL,
	message TEXT COLLATE "C" NOT NULL,
	at BIGINT NOT NULL,
	value INTEGER NOT NULL,
	reason TEXT COLLATE "C",
	PRIMARY KEY (conversation, message, at)
);
CREATE TABLE waits (
	turn TEXT COLLATE "C" NOT NULL,
	call_id TEXT COLLATE "C" NOT NULL,
	attempt INTEGER NOT NULL,
	channel TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (turn, call_id)
);
CREATE TABLE writers (
	id TEXT COLLATE "C" NOT NULL,
	last_group BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version (version_num) VALUES ('0003');
