// Package gorillacompat is a store for github.com/gorilla/sessions (v1.4.0) over
// Pazzo, so that trying it is one line:
//
//	store, err := gorillacompat.NewStore(redis, &pazzo.Options{SecretKeys: keys})
//
// in place of sessions.NewCookieStore(keys...). Overlapping requests of one user then
// lose nothing that they do not both change: each key of Session.Values is a field of
// its own, and Save writes those that have changed since Get, in one step. Lists, such
// as flashes, are merged: what was added is added, what was taken is taken, whatever
// other requests have added meanwhile. A request in flight when a session ends does
// not bring it back.
//
// Values are of any type that gorilla's stores take, and come back as that type; see
// [compat.Encode] for which of them other languages can read. A value that does not
// decode is a *pazzo.DecodeError in place of the value, and spoils no other.
//
// What is different:
//
//	gorilla                                 here
//	keys of any type that gob knows         texts, bools and numbers of the basic types; Save gives
//	                                        pazzo.ErrName for another, such as a type of your own
//	a cookie that does not decode: an       a new session and no error: so is one of gorilla's own, or forged.
//	error from Get, and a new session       An error from Get is the store's; Save then returns it too
//	Save always sends the cookie            if the session is new, its token has changed, or Session.Options:
//	                                        an old cookie must not overwrite that of a parallel login
//	MaxAge is also the session's            only the cookie's; pazzo.Options.Timeouts are the session's
//	Save in a request whose session         pazzo.ErrGone, ErrSuperseded, and no cookie;
//	another one has ended or renewed        after the end a navigation, or a client that sends no Sec-Fetch
//	                                        headers, begins a new session instead
//	two changes of one key at the same      the one that is saved later stays, as with gorilla, unless it is
//	time                                    a list; for counters use pazzo.Counter on Context
//	no way to renew a token                 pazzo.FromContext(store.Context(ctx, session)).Renew or Authenticate,
//	                                        then Save
//	ID                                      the session's public handle, "" before the first Save
package gorillacompat
