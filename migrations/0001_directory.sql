-- The directory: which organizations and instances exist. Everything else of an instance lives in its own actor.
CREATE TABLE organizations (
  id TEXT PRIMARY KEY,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE instances (
  id TEXT PRIMARY KEY,
  organization TEXT REFERENCES organizations (id),
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX instances_by_organization ON instances (organization);
