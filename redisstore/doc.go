// Package redisstore keeps sessions in Redis or Valkey, 7.0 or newer: a single
// server, Sentinel or Cluster. It implements [record.Store].
//
// # What lies in the server
//
// This is a published layout (record.Layout 1): clients in other languages and
// the agent read and write it too. Numbers are big-endian, unsigned; times are
// milliseconds since 1970 by the server's clock.
//
// A session is one hash under <prefix>{<handle, 32 lower-case hexadecimal
// digits>}, which is never renamed:
//
//	"\x00m"  record.Meta.Pack (62 bytes), or record.Tombstone.Pack (15) alone
//	"\x00r"  revision 6 | size 4; the size is that of all field names and texts
//	"\x00p"  record.Previous.Pack (28), if Meta.HasPrevious
//	"\x00u"  time of authentication 6 | user, if Meta.HasUser
//	"\x00d"  the device, if one was described
//	other    a session field, and its JSON text
//
// Its TTL (PEXPIREAT) is Meta.Expires or Tombstone.Until; no key is ever without
// one. The sessions of a user are a hash under <prefix>u:<SHA-256 of the user, 64
// lower-case hexadecimal digits>:
//
//	handle   (16 bytes) record.Entry.Pack (13)
//	"\x00b"  blocked until 6, if blocked
//
// # How it is used
//
// apply.lua applies a batch, index.lua an index step; their comments define what
// goes in and out. Both are called by EVALSHA, so that the SHA-1 is the version
// of the protocol, and by EVAL when a server does not know the script. A batch
// that only reads is a plain HMGET or HGETALL, unless judging its token takes the
// script.
//
// A user with few rights suffices:
//
//	+evalsha +eval +script|load +hmget +hgetall +hget +hset +hdel +hlen +hkeys
//	+hexists +del +pexpireat +time ~<prefix>*
//
// with +hello +ping +client, which connecting takes; +select for a database other
// than 0, +cluster for Cluster, and +info or +config|get so that [Store.Traits]
// learns the eviction policy; +pttl, and +cluster in a Cluster, for a near cache.
//
// # Failover
//
// A Cluster's replicas refuse our reads, and Sentinel tells which server is the
// primary. A server named by plain redis:// that is demoted would go on answering
// reads with what it has, while writes get READONLY. So a read at most every
// second, there and with Sentinel, has a write of nothing before it (DEL of
// <prefix>none): reads from a demoted server may be stale for that second, and
// fail afterwards, until the name leads to a primary again.
package redisstore
