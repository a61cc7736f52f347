import type { Migration } from '../storage/migrations.ts'

/** The lane's database: attempts that have come far enough to be worth going on with. Additive only. */
export const LANE_MIGRATIONS: Migration[] = [
  {
    id: 1,
    description: 'attempts with a checkpoint',
    sql: `
      CREATE TABLE attempts (
        job TEXT NOT NULL, attempt INTEGER NOT NULL, assignment TEXT NOT NULL, resume TEXT NOT NULL,
        due_at_ms INTEGER NOT NULL,
        PRIMARY KEY (job, attempt)
      ) STRICT, WITHOUT ROWID;
    `,
  },
]
