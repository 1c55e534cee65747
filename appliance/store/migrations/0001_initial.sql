CREATE TABLE accounts (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE COLLATE NOCASE, name TEXT NOT NULL, role TEXT NOT NULL,
    password_hash TEXT NOT NULL, key_hash BLOB NOT NULL UNIQUE, key_sealed BLOB NOT NULL, key_rotated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL, disabled_at INTEGER
) STRICT;

-- Links that open once: to make an account (no account_id), or to give that account a new password.
CREATE TABLE invites (
    id TEXT PRIMARY KEY, token_hash BLOB NOT NULL UNIQUE,
    account_id TEXT REFERENCES accounts(id) ON DELETE CASCADE,
    made_by TEXT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT;

-- What an administrator chose in the dashboard instead of what the configuration says.
CREATE TABLE choices (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE browser_sessions (
    token_hash BLOB PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    csrf TEXT NOT NULL, agent TEXT NOT NULL, address TEXT NOT NULL,
    created_at INTEGER NOT NULL, confirmed_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX browser_sessions_account ON browser_sessions(account_id);

-- Without an account: deleted, and its rows are going.
CREATE TABLE devices (
    no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    account_id TEXT REFERENCES accounts(id) ON DELETE CASCADE,
    name TEXT NOT NULL, sandbox INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT, reason_code INTEGER, until INTEGER,
    linked INTEGER NOT NULL, wanted INTEGER NOT NULL, phone TEXT, jid TEXT, lid TEXT, push_name TEXT, proxy BLOB,
    created_at INTEGER NOT NULL, connected_at INTEGER, moved_as TEXT
) STRICT;
CREATE INDEX devices_account ON devices(account_id, no);

-- Files of moved devices that were taken in here: a session must not be begun a second time from the same keys.
CREATE TABLE imports (
    export_id TEXT NOT NULL PRIMARY KEY, device_id TEXT NOT NULL, imported_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each worker's events have been applied: an event at or below the mark is a repeat.
CREATE TABLE worker_marks (
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    incarnation INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (device_id, incarnation)
) STRICT, WITHOUT ROWID;

CREATE TABLE jid_pairs (
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    lid TEXT NOT NULL, phone_jid TEXT NOT NULL, PRIMARY KEY (device_id, lid)
) STRICT, WITHOUT ROWID;
CREATE INDEX jid_pairs_phone ON jid_pairs(device_id, phone_jid);

CREATE TABLE chat_names (
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    chat TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (device_id, chat)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL,
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    sandbox INTEGER NOT NULL, wa_id TEXT, chat TEXT NOT NULL, participant TEXT, from_me INTEGER NOT NULL, via_api INTEGER NOT NULL,
    kind TEXT NOT NULL, type TEXT NOT NULL, text TEXT, content BLOB NOT NULL, details BLOB NOT NULL,
    status TEXT, error_code TEXT, error_message TEXT, outgoing BLOB, media_id TEXT, filename TEXT, told INTEGER NOT NULL,
    timestamp INTEGER, created_at INTEGER NOT NULL, expires_at INTEGER
) STRICT;
CREATE UNIQUE INDEX messages_wa ON messages(device_id, wa_id, chat, coalesce(participant, ''), from_me) WHERE wa_id IS NOT NULL;
-- With the columns that lists are narrowed by, so that what does not fit is passed over without reading its row.
CREATE INDEX messages_account ON messages(account_id, no, device_id, created_at, from_me, kind);
CREATE INDEX messages_chat ON messages(device_id, chat, no);
CREATE INDEX messages_waiting ON messages(device_id, no) WHERE status IN ('queued', 'sending');
CREATE INDEX messages_refused ON messages(device_id, created_at) WHERE error_code IS NOT NULL;
CREATE INDEX messages_failed ON messages(account_id, no) WHERE error_code IS NOT NULL;
CREATE INDEX messages_untold ON messages(device_id, no) WHERE told = 0;

-- Full text over what people write and what they call their files. The owners are words of their own columns,
-- so that a search reads nothing of anybody else's.
CREATE VIEW message_words AS
    SELECT no, account_id, device_id, text, filename FROM messages WHERE text IS NOT NULL OR filename IS NOT NULL;
CREATE VIRTUAL TABLE message_search USING fts5(
    account_id, device_id, text, filename, content = 'message_words', content_rowid = 'no', columnsize = 0,
    tokenize = "unicode61 remove_diacritics 2"
);
-- Triggers, because messages also go by the cascade of their device.
CREATE TRIGGER message_search_insert AFTER INSERT ON messages WHEN new.text IS NOT NULL OR new.filename IS NOT NULL BEGIN
    INSERT INTO message_search (rowid, account_id, device_id, text, filename)
    VALUES (new.no, new.account_id, new.device_id, new.text, new.filename);
END;
CREATE TRIGGER message_search_delete AFTER DELETE ON messages WHEN old.text IS NOT NULL OR old.filename IS NOT NULL BEGIN
    INSERT INTO message_search (message_search, rowid, account_id, device_id, text, filename)
    VALUES ('delete', old.no, old.account_id, old.device_id, old.text, old.filename);
END;
CREATE TRIGGER message_search_update AFTER UPDATE OF text, filename ON messages
WHEN old.text IS NOT new.text OR old.filename IS NOT new.filename BEGIN
    INSERT INTO message_search (message_search, rowid, account_id, device_id, text, filename)
    SELECT 'delete', old.no, old.account_id, old.device_id, old.text, old.filename
    WHERE old.text IS NOT NULL OR old.filename IS NOT NULL;
    INSERT INTO message_search (rowid, account_id, device_id, text, filename)
    SELECT new.no, new.account_id, new.device_id, new.text, new.filename
    WHERE new.text IS NOT NULL OR new.filename IS NOT NULL;
END;

-- Each conversation's newest message, kept with every insertion: finding it again would read all messages.
CREATE TABLE chats (
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    chat TEXT NOT NULL, account_id TEXT NOT NULL, last_no INTEGER NOT NULL, push_name TEXT, PRIMARY KEY (device_id, chat)
) STRICT, WITHOUT ROWID;
CREATE INDEX chats_newest ON chats(account_id, last_no);

-- In groups every participant climbs the ladder alone.
CREATE TABLE receipts (
    message_no INTEGER NOT NULL REFERENCES messages(no) ON DELETE CASCADE,
    participant TEXT NOT NULL, status TEXT NOT NULL, timestamp INTEGER NOT NULL, PRIMARY KEY (message_no, participant)
) STRICT, WITHOUT ROWID;

-- Receipts that arrived before their message was known.
CREATE TABLE waiting_receipts (
    device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    wa_id TEXT NOT NULL, participant TEXT NOT NULL, status TEXT NOT NULL, timestamp INTEGER NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, wa_id, participant, status)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_receipts_age ON waiting_receipts(created_at);

CREATE TABLE idempotency (
    account_id TEXT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    key TEXT NOT NULL, fingerprint BLOB NOT NULL, message_id TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency(created_at);

CREATE TABLE media (
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    kind TEXT NOT NULL, mimetype TEXT NOT NULL, size INTEGER, filename TEXT, seconds INTEGER,
    source BLOB, state TEXT NOT NULL, error TEXT, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX media_age ON media(created_at);
CREATE INDEX media_stored ON media(created_at) WHERE state = 'stored';
CREATE INDEX media_device ON media(device_id);

CREATE TABLE events (
    no INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, device_id TEXT NOT NULL,
    type TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX events_account ON events(account_id, no);
CREATE INDEX events_device ON events(device_id, no);
CREATE INDEX events_age ON events(created_at);

-- The highest event number deleted by retention, per account: an older point is gone.
CREATE TABLE event_floors (account_id TEXT PRIMARY KEY, no INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Without an account: deleted, and its deliveries are going.
CREATE TABLE endpoints (
    no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    account_id TEXT REFERENCES accounts(id) ON DELETE CASCADE,
    device_id TEXT REFERENCES devices(id) ON DELETE CASCADE,
    url TEXT NOT NULL, events BLOB NOT NULL, filters BLOB NOT NULL,
    secret_sealed BLOB NOT NULL, previous_sealed BLOB, previous_until INTEGER, headers_sealed BLOB,
    redirect_is_success INTEGER NOT NULL, enabled INTEGER NOT NULL, status TEXT NOT NULL, status_reason TEXT,
    failing_since INTEGER, probe_at INTEGER, catching_up INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX endpoints_account ON endpoints(account_id, no);

CREATE TABLE deliveries (
    no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
    device_id TEXT NOT NULL, event_no INTEGER NOT NULL, event_type TEXT NOT NULL, status TEXT NOT NULL,
    attempts INTEGER NOT NULL, step INTEGER NOT NULL, due_at INTEGER NOT NULL, held INTEGER NOT NULL, lease_until INTEGER,
    last_status INTEGER, last_error TEXT, failing_since INTEGER, finished_at INTEGER, created_at INTEGER NOT NULL
) STRICT;
-- A delivery waits in one of these two: first attempts go in order, later ones by their time.
CREATE INDEX deliveries_fresh ON deliveries(endpoint_id, no) WHERE status = 'pending' AND attempts = 0;
CREATE INDEX deliveries_due ON deliveries(endpoint_id, due_at, no) WHERE status = 'pending' AND attempts > 0;
CREATE INDEX deliveries_leased ON deliveries(lease_until) WHERE status = 'delivering';
CREATE INDEX deliveries_endpoint ON deliveries(endpoint_id, no);
CREATE INDEX deliveries_event ON deliveries(event_no);

CREATE TABLE attempts (
    delivery_no INTEGER NOT NULL REFERENCES deliveries(no) ON DELETE CASCADE,
    n INTEGER NOT NULL, at INTEGER NOT NULL, duration_ms INTEGER NOT NULL, status INTEGER, error TEXT, answer BLOB,
    PRIMARY KEY (delivery_no, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_tickets (
    token_hash BLOB PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    key_hash BLOB NOT NULL, device_id TEXT, created_at INTEGER NOT NULL, open_by INTEGER NOT NULL, opened INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    no INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, kind TEXT NOT NULL, error TEXT NOT NULL,
    event BLOB NOT NULL, created_at INTEGER NOT NULL
) STRICT;
