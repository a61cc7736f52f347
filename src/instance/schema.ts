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
    id: 2,
    description: 'money: holds of jobs, ledger, spending by day, budgets, projects',
    // The ledger has a line per attempt that bought something, each once by its key, in the order of the days. Old lines
    // may be folded into one of kind 'carried' per day and project (job '', attempt 0) with the sums of what it stands
    // for: one INSERT … SELECT … GROUP BY day, project and one DELETE. Sums, and so the proof of the books, stay.
    sql: `
      ALTER TABLE jobs ADD COLUMN estimate_micros INTEGER;
      ALTER TABLE jobs ADD COLUMN held_micros INTEGER;
      ALTER TABLE jobs ADD COLUMN held_day TEXT;
      ALTER TABLE jobs ADD COLUMN spent_micros INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN budget_scope TEXT;
      ALTER TABLE jobs ADD COLUMN deadline_left_ms INTEGER;
      CREATE INDEX jobs_over_budget ON jobs (budget_scope, id) WHERE budget_scope IS NOT NULL;

      CREATE TABLE ledger (
        day TEXT NOT NULL, project TEXT NOT NULL, job TEXT NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL,
        settled_micros INTEGER NOT NULL, presumed_micros INTEGER NOT NULL, over_hold_micros INTEGER NOT NULL,
        unpriced INTEGER NOT NULL, attempts INTEGER NOT NULL, held_micros INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (day, project, job, attempt)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE spending (
        scope TEXT NOT NULL, day TEXT NOT NULL,
        settled_micros INTEGER NOT NULL, presumed_micros INTEGER NOT NULL, over_hold_micros INTEGER NOT NULL,
        unpriced INTEGER NOT NULL, attempts INTEGER NOT NULL,
        PRIMARY KEY (scope, day)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE budgets (
        scope TEXT PRIMARY KEY, limit_micros INTEGER NOT NULL, time_window TEXT NOT NULL, alert_at TEXT NOT NULL,
        alerted TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE projects (name TEXT PRIMARY KEY, created_at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    `,
  },
  {
    id: 3,
    description: 'prices of its own',
    sql: `
      CREATE TABLE prices (
        provider TEXT NOT NULL, model TEXT NOT NULL, price TEXT NOT NULL, updated_at_ms INTEGER NOT NULL,
        PRIMARY KEY (provider, model)
      ) STRICT, WITHOUT ROWID;
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
  {
    id: 5,
    description: 'dead letters, replays, batches',
    // The indexes of the dead letters hold every field that they are filtered by, their own condition included: so
    // SQLite counts without reading a job, whose input may lie on many pages.
    sql: `
      ALTER TABLE jobs ADD COLUMN batch TEXT;
      ALTER TABLE jobs ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN round_after INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN replayed_by TEXT;
      ALTER TABLE jobs ADD COLUMN discarded_at_ms INTEGER;
      CREATE INDEX jobs_batch ON jobs (batch, id) WHERE batch IS NOT NULL;
      CREATE INDEX jobs_dead ON jobs (ended_at_ms, id, json_extract(fault, '$.code'), type, model, provider, status, discarded_at_ms)
        WHERE status = 'failed' AND discarded_at_ms IS NULL;
      CREATE INDEX jobs_dead_project ON jobs (project, ended_at_ms, id, json_extract(fault, '$.code'), type, model, provider, status, discarded_at_ms)
        WHERE status = 'failed' AND discarded_at_ms IS NULL AND project IS NOT NULL;

      CREATE TABLE replays (
        id TEXT PRIMARY KEY, project TEXT, status TEXT NOT NULL, filter TEXT NOT NULL, rate_per_minute INTEGER NOT NULL,
        after_ms INTEGER NOT NULL, after_id TEXT NOT NULL, until_ms INTEGER NOT NULL, until_id TEXT NOT NULL,
        matched INTEGER NOT NULL, complete INTEGER NOT NULL, replayed INTEGER NOT NULL, failed INTEGER NOT NULL,
        request_id TEXT NOT NULL, created_at_ms INTEGER NOT NULL, ended_at_ms INTEGER, due_at_ms INTEGER
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX replays_due ON replays (due_at_ms) WHERE due_at_ms IS NOT NULL;

      CREATE TABLE batches (
        id TEXT PRIMARY KEY, project TEXT, metadata TEXT NOT NULL, request_id TEXT NOT NULL, jobs TEXT NOT NULL,
        total INTEGER NOT NULL, succeeded INTEGER NOT NULL, failed INTEGER NOT NULL, canceled INTEGER NOT NULL,
        cost_micros INTEGER NOT NULL, unknown_costs INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL, ended_at_ms INTEGER
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX batches_project ON batches (project, id) WHERE project IS NOT NULL;

      ALTER TABLE events ADD COLUMN batch TEXT;
      CREATE INDEX events_batch ON events (batch, seq) WHERE batch IS NOT NULL;
    `,
  },
  {
    id: 6,
    description: 'usage by hour and day, the log',
    sql: `
      CREATE TABLE usage_hours (
        start_ms INTEGER NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL,
        attempts INTEGER NOT NULL, succeeded INTEGER NOT NULL, failed INTEGER NOT NULL, canceled INTEGER NOT NULL,
        images INTEGER NOT NULL, cost_micros INTEGER NOT NULL, unknown_costs INTEGER NOT NULL,
        errors TEXT NOT NULL, tokens TEXT NOT NULL, provider_ms TEXT NOT NULL, queue_ms TEXT NOT NULL, total_ms TEXT NOT NULL,
        PRIMARY KEY (start_ms, project, model)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE usage_days (
        start_ms INTEGER NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL,
        attempts INTEGER NOT NULL, succeeded INTEGER NOT NULL, failed INTEGER NOT NULL, canceled INTEGER NOT NULL,
        images INTEGER NOT NULL, cost_micros INTEGER NOT NULL, unknown_costs INTEGER NOT NULL,
        errors TEXT NOT NULL, tokens TEXT NOT NULL, provider_ms TEXT NOT NULL, queue_ms TEXT NOT NULL, total_ms TEXT NOT NULL,
        PRIMARY KEY (start_ms, project, model)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE log (
        seq INTEGER NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, event TEXT NOT NULL,
        job TEXT, project TEXT, request_id TEXT, data TEXT NOT NULL,
        PRIMARY KEY (seq, number)
      ) STRICT, WITHOUT ROWID;

      -- Only what an operator looks for: the events of a good job are in neither.
      CREATE INDEX events_notable ON events (seq)
        WHERE type IN ('job.retrying', 'job.fallback', 'job.failed', 'job.canceled', 'job.replayed', 'credential.disabled', 'credential.cooled', 'budget.alert');
      -- Only jobs whose request id does not tell when they were made, as those that Switchyard makes do.
      CREATE INDEX jobs_request ON jobs (request_id) WHERE substr(request_id, 5, 8) <> substr(id, 5, 8);
    `,
  },
  {
    id: 7,
    description: 'the archive of finished jobs',
    // An object of the archive a row. Without a time it may be half written, or of a crash: nothing is read from it.
    sql: `
      CREATE TABLE archives (
        last_id TEXT NOT NULL, name TEXT NOT NULL, first_id TEXT NOT NULL, jobs INTEGER NOT NULL, written_at_ms INTEGER,
        PRIMARY KEY (last_id, name)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX archives_age ON archives (written_at_ms);
    `,
  },
  {
    id: 8,
    description: 'calls on the line; what a model of text used',
    sql: `
      ALTER TABLE jobs ADD COLUMN foreground INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE jobs ADD COLUMN usage TEXT;
    `,
  },
  {
    id: 9,
    description: 'routes of providers',
    sql: 'ALTER TABLE providers ADD COLUMN route TEXT;',
  },
  {
    id: 10,
    description: 'servers that let everybody in',
    sql: 'ALTER TABLE providers ADD COLUMN keyless INTEGER NOT NULL DEFAULT 0;',
  },
]
