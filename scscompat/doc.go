// Package scscompat has the methods of github.com/alexedwards/scs/v2 (v2.9.0) over
// Pazzo, so that trying it is one line:
//
//	import scs "github.com/pazzo-sessions/pazzo/scscompat"
//
// and, with a shared store, SecretKeys beside Store. Overlapping requests of one
// user then lose nothing: each key is a field of its own, each Put, Pop, Remove and
// Clear a write of its own that takes effect when it returns. A request that is in
// flight at a logout does not bring the session back.
//
// A request's reads answer from what Load has read and from the request's own
// writes, as with scs. Pop asks the store, so that of several requests one gets the
// value.
//
// Values are of any type that scs takes, and come back as that type; see
// [compat.Encode] for which of them other languages can read. A value that does not
// decode is a *pazzo.DecodeError in place of the value, and spoils no other.
//
// What is different:
//
//	scs                                     here
//	Put and others cannot fail              a failure is kept, Commit returns it and LoadAndSave answers
//	                                        with ErrorFunc; the handler's own response is then dropped
//	nothing is stored before Commit         what was written stays, also when the handler panics or the
//	                                        request fails later
//	a write brings back a session that      pazzo.ErrGone, ErrSuperseded: ErrorFunc, 409 by default; after the end a
//	another request has destroyed or        navigation, or a client that sends no Sec-Fetch headers, begins
//	renewed                                 a new session instead
//	two Puts of one key at the same time    the later one stays, as with scs; for counters and carts use
//	                                        pazzo.Counter and Key.Update on Context
//	the session is created by the Commit    … by the first write; a session that nobody writes to has no token
//	Iterate                                 errors.ErrUnsupported: list by user, Manager().Sessions
//	Codec                                   none: each value is a field
//	Store                                   one of Pazzo's; a token of scs opens nothing, as if it had expired
//	timeouts under a second                 pazzo.ErrOptions from Load
//	keys over 256 bytes, or not UTF-8       pazzo.ErrTooLarge, ErrName
//	a context without a session panics      only where no error is returned
package scscompat
