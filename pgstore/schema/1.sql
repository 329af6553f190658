-- Sessions: one row for each, under the prefix and the 16 bytes of its handle.
CREATE TABLE @sessions (
	key     bytea  PRIMARY KEY,
	version bigint NOT NULL, -- drawn anew at every change
	expires bigint NOT NULL, -- when the row may go, ms since 1970
	data    bytea  NOT NULL  -- record.Record.Append
) WITH (
	fillfactor = 70, -- so that most changes stay within their page and touch no index
	autovacuum_vacuum_scale_factor = 0.02,
	autovacuum_vacuum_cost_delay = 1
);

CREATE INDEX sessions_expires ON @sessions (expires);

-- The sessions of each user, under the prefix and the SHA-256 of the user's name.
CREATE TABLE @users (
	key     bytea  PRIMARY KEY,
	version bigint NOT NULL,
	expires bigint NOT NULL,
	data    bytea  NOT NULL -- record.Index.Append
) WITH (
	fillfactor = 70,
	autovacuum_vacuum_scale_factor = 0.02,
	autovacuum_vacuum_cost_delay = 1
);

CREATE INDEX users_expires ON @users (expires);
