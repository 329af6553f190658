// Package memcachedstore keeps sessions in memcached, 1.6 or newer. It implements
// [record.Store].
//
//	store, err := memcachedstore.Open(ctx, "memcached://10.0.0.5:11211,10.0.0.6:11211", nil)
//
// # What memcached cannot promise
//
// It may drop any item when it is short of memory, and drops all of them when it restarts:
// a logout, or a list of a user's sessions that is lost. So Traits.MayEvict is set, and
// package pazzo refuses what needs complete lists (RevokeAll, Block, the cap) unless best
// effort was opted into. A tombstone can be dropped as well; even then nothing in flight
// brings the session back, for only Create makes a record. [Store.Evictions] counts what
// was dropped.
//
// It has no clock to ask: the time is that of this process. Processes that share sessions
// need clocks that agree, as by NTP; a session ends that much too early or late. The wait
// between two touches bounds what a clock that is set back can do.
//
// # Who may use it
//
// Anybody who reaches it, unless it runs with -Y, a file of users and passwords (SASL, its -S,
// is of the binary protocol, and not spoken here), and in clear, unless it runs with -Z, TLS.
// Without them it belongs on the loopback or in a network of its own.
//
// # What lies in the servers
//
// A session is the item <prefix><handle, 32 lower-case hexadecimal digits>, in record's
// encoding; the sessions of a user are <prefix>u:<SHA-256 of the user, 64 digits>. Both are
// changed by compare and swap only (ms with C), and made only where there is nothing (ms
// with ME), as package casstore has it; up to 16 MiB are used to remember items, so that a
// write can begin with the ms. An item's time to live is a little longer than what it holds.
//
// An item's server is chosen by ketama, as libmemcached does with
// MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED and equal weights, so that other tools find it, and
// a server that is added moves few sessions. The list of servers must be the same text
// everywhere. The sessions of a server that is down are unavailable, an error, and never
// empty ones of another server; they are lost when it returns.
//
// The protocol is the text one with the meta commands, on few connections with many
// requests under way on each. Every request carries an opaque value, which the answer
// repeats, so that no answer is taken for another's.
package memcachedstore
