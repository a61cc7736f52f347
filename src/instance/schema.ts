import type { Migration } from '../storage/migrations.ts'

/**
 * The Instance's database. Additive only: old code may wake on a newer one after a rollback. Times are integer ms since
 * the epoch, money is integer millionths of a US dollar, JSON is text. Every index doubles the cost of a row written,
 * so each serves a query of every turn: the queue's head, what is due, what is past its deadline.
 */
export const INSTANCE_MIGRATIONS: Migration[] = [
  {
    id: 1,
    description: 'instance, keys, providers, jobs, attempts, events',
    sql: `
      CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

      CREATE TABLE api_keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, project TEXT, scopes TEXT NOT NULL,
        digest TEXT NOT NULL, created_at_ms INTEGER NOT NULL, expires_at_ms INTEGER
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE tickets (
        digest TEXT PRIMARY KEY, key_id TEXT, expires_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE providers (
        id TEXT PRIMARY KEY, enabled INTEGER NOT NULL, base_url TEXT, limits TEXT NOT NULL,
        models TEXT NOT NULL, timeout_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE credentials (
        provider TEXT NOT NULL, name TEXT NOT NULL, weight INTEGER NOT NULL, enabled INTEGER NOT NULL,
        disabled_reason TEXT, hint TEXT,
        key_id TEXT NOT NULL, iv TEXT NOT NULL, ciphertext TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
        PRIMARY KEY (provider, name)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE limiters (
        name TEXT PRIMARY KEY, load TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE breakers (name TEXT PRIMARY KEY, breaker TEXT NOT NULL) STRICT, WITHOUT ROWID;

      CREATE TABLE track_records (model TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;

      CREATE TABLE jobs (
        id TEXT PRIMARY KEY, status TEXT NOT NULL, due_at_ms INTEGER, provider TEXT NOT NULL, model TEXT NOT NULL,
        tag REAL NOT NULL, queued_at_ms INTEGER NOT NULL, tokens INTEGER NOT NULL, lane INTEGER, attempt INTEGER NOT NULL, counted INTEGER NOT NULL,
        deadline_at_ms INTEGER NOT NULL, created_at_ms INTEGER NOT NULL, started_at_ms INTEGER, ended_at_ms INTEGER,
        provider_ms INTEGER, store_ms INTEGER, cost_micros INTEGER,
        type TEXT NOT NULL, project TEXT, priority INTEGER NOT NULL, request_id TEXT NOT NULL,
        input TEXT NOT NULL, wishes TEXT NOT NULL, metadata TEXT NOT NULL,
        resume TEXT, output TEXT, fault TEXT, open_attempt TEXT
      ) STRICT;
      CREATE INDEX jobs_queue ON jobs (model, priority, tag, id) WHERE status = 'queued' AND due_at_ms IS NULL;
      CREATE INDEX jobs_due ON jobs (due_at_ms) WHERE due_at_ms IS NOT NULL;
      CREATE INDEX jobs_deadline ON jobs (deadline_at_ms) WHERE ended_at_ms IS NULL;

      CREATE TABLE attempts (
        job TEXT NOT NULL, number INTEGER NOT NULL, model TEXT NOT NULL, credential TEXT NOT NULL, reason TEXT NOT NULL,
        started_at_ms INTEGER NOT NULL,
        ended_at_ms INTEGER, outcome TEXT, provider_request_id TEXT, cost_micros INTEGER, fault TEXT,
        PRIMARY KEY (job, number)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE idempotency (
        scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, job TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (scope, key)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX idempotency_age ON idempotency (created_at_ms);

      CREATE TABLE events (
        seq INTEGER PRIMARY KEY, job TEXT, project TEXT, type TEXT NOT NULL, at_ms INTEGER NOT NULL,
        data TEXT NOT NULL
      ) STRICT;
      CREATE INDEX events_job ON events (job, seq);
    `,
  },
  {
    id: 4,
    description: 'limits, numbers and uses of credentials; whose secret an attempt used',
    // The index holds only jobs that go on from an earlier attempt: others cost it nothing.
    sql: `
      ALTER TABLE credentials ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
      ALTER TABLE credentials ADD COLUMN secret INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE credentials ADD COLUMN retired_at_ms INTEGER;
      ALTER TABLE attempts ADD COLUMN secret INTEGER NOT NULL DEFAULT 0;
      CREATE TABLE credential_uses (name TEXT PRIMARY KEY, uses TEXT NOT NULL) STRICT, WITHOUT ROWID;
      CREATE INDEX jobs_resumed ON jobs (provider) WHERE resume IS NOT NULL;
    `,
  },
]
