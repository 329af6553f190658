// Package pgstore keeps sessions in PostgreSQL, 13 or newer. It implements
// [record.Store].
//
//	store, err := pgstore.Open(ctx, "postgres://app:password@db.internal/shop", nil)
//
// The tables are made by [Migrate], or `pazzo migrate`, once and after an upgrade.
//
// # What lies in the server
//
// Each session is one row of the table sessions, in the schema pazzo: its key, a version
// that is drawn anew at every change, when it expires (ms since 1970 by the server's
// clock), and the record in record's encoding. The lists of users' sessions are the same
// in the table users. The files in schema/ are the definition.
//
// # How it is used
//
// A batch is applied here, by record.Apply, to the row as it was read, and the row is
// replaced if its version is still the same, each by one statement that is a transaction of
// its own: SELECT for a read, SELECT and UPDATE for a write. A write of a session that was
// used in the last seconds is the UPDATE alone, which begins from the row as it was left and
// finds out whether it is still so. Batches on one session that come at the same time are
// applied together. See package casstore. A session that other processes keep changing is
// locked by SELECT … FOR UPDATE. Locking always, with 64 writers on 256 sessions, was measured
// to be 0.6 × as fast as SELECT and UPDATE: it takes twice as many round trips, and a
// connection for all of them. Up to 16 MiB are used to remember rows.
//
// # PgBouncer
//
// Nothing here outlives a transaction, so transaction mode will do, but for the word of
// changes: see below. A version before 1.21 does not know prepared statements: add
// default_query_exec_mode=exec to the URL.
//
// # Telling of changes
//
// Tables that were made so (MigrateOptions.Tell) tell of every change of a session, by
// triggers and NOTIFY, so that package nearcache can stand in front of a Store. It listens
// on one more connection, Options.Listen, which leads past a pooler. What it costs and why
// it is so is in docs/design.md.
//
// # Rights
//
// The app's role needs USAGE of the schema and SELECT, INSERT, UPDATE and DELETE on its
// tables, which MigrateOptions.Role grants. It need not own them.
//
// # Durability
//
// A write that has returned is as durable as the server's synchronous_commit makes it,
// which the URL can set: …?synchronous_commit=off risks the last moments before a crash of
// the server, and only these. Unlogged tables (MigrateOptions.Unlogged) are emptied by such
// a crash: everyone is logged out, blocks of users are forgotten, and a replica has
// nothing. After a failover to an asynchronous replica the last changes are lost, a logout
// among them perhaps.
package pgstore
