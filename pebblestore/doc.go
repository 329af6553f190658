// Package pebblestore keeps sessions on the disk of one machine, in an embedded
// Pebble database: nothing to install, and nothing lost when the process or the
// machine fails.
//
//	store, err := pebblestore.Open("/var/lib/myapp/sessions", nil)
//	if err != nil { … }
//	defer store.Close()
//	manager, err := pazzo.New(store, &pazzo.Options{SecretKeys: keys})
//
// One process has a directory at a time; several share its sessions through
// `pazzo agent -store pebble:///var/lib/pazzo`.
//
// # What it promises
//
// A write returns when it is on the disk. Those that come at the same time share
// one sync. A reader sees nothing that a power loss could take back: where the
// latest write of a session is not on the disk yet, the reader waits for it.
// A record and its place in the order of expiry change in one step.
// [Options.LoseUpTo] gives some of that up for speed.
//
// # When the disk is full
//
// Below [Options.MinFree], writes that make the data larger are refused with
// [record.ErrFull]; the rest goes on, and everything does once there is room. When
// even that is used up, by somebody else, writes wait for room, and new ones are
// refused. Nothing is damaged.
//
// # When the disk fails
//
// A sync that failed must not be repeated: what it was about may be gone. The store
// then fails for good: writes under way are [record.ErrOutcomeUnknown], every later
// call is [record.ErrUnavailable] and names the cause, and the log tells. Nothing
// that was acknowledged is lost. Start the process anew: only that opens the
// directory again.
//
// # Time
//
// The store's clock is the machine's wall clock at the time of Open, and from there
// a monotonic one. Sessions go on expiring while the store is closed.
package pebblestore
