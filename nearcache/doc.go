// Package nearcache keeps copies of sessions in the process, in front of a store that
// tells of changes (record.Notifier), so that a read costs no round trip and is right all
// the same.
//
// # What is promised
//
// Within the process, reads see the process's own writes, and never an older state than one
// seen before. Of the writes of others, a read misses those of the last MaxStale at most,
// even if the connection on which the store tells of changes falls silent; while it
// works, it misses those of the last milliseconds. Where the process has written to the
// session itself a moment ago, the store's word of that and of a write of others may come as
// one, and the latter is then missed for an eighth of MaxStale at most. Writes are not
// cached, and judged by the store alone.
//
// Reads with Batch.Fresh ask the store, and so do reads by handle (record.Admin), and those with
// a Batch.MinRevision that the copy has not reached.
//
// That a session is absent, or has ended, is not kept: who asks while another is being told
// so gets the same answer, and the next one asks again. Such reads are rare, since only a
// token that was good once gets so far, and so they need no memory that others could use.
//
// A store that cannot tell of changes may be cached as well, if Options.TTL is set. Then a read
// misses the writes of others in the last TTL; what is said of the process's own holds.
//
// # How
//
// A copy that was read from the store is good until the store tells of a change, contact
// with it is lost (Listener.Lost), or MaxStale after the last time for which it said that
// all was told (Listener.Current). An own write is applied to the copy as well, if its
// answer proves that nobody has written in between: the revision is the next one, and the
// record that record.Apply makes of the copy has the answer's metadata. The store's word of
// the write itself cannot be told from that of a write of others; so the copy is then good
// for a limited time only, see echo.
package nearcache
