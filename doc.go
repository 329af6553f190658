// Package pazzo gives web apps sessions that stay correct when many requests of
// one user run at the same time.
//
//	store := memstore.New(nil)
//	sessions, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{key}})
//	…
//	http.ListenAndServe(addr, sessions.Handler(mux))
//
// Handlers use the session by its fields, each of a type of its own:
//
//	const visits pazzo.Counter = "visits"
//	const cart pazzo.Key[[]Item] = "cart"
//
//	n, err := visits.Add(r.Context(), 1)
//	items, err := cart.Update(r.Context(), func(items []Item) ([]Item, error) {
//		return append(items, item), nil
//	})
//
// Every access is a call of the store and takes effect when it returns. Writes to
// different fields never undo one another; Add, Append, Pop, Drain, SetIfAbsent,
// CompareAndSet, Update and Atomically are exact on one field or several; of two
// plain Sets of one field, the later one stays. There is no save at the end of a
// request, so nothing brings back what another request has changed or ended.
//
// At login call Session.Authenticate, at logout Session.Destroy, at another change
// of privilege Session.Renew. Requests that are in flight with the old token then
// get ErrSuperseded or ErrGone from their writes; StatusCode maps these to 409.
//
// Parallel first requests of a visitor without a cookie make a session each, and
// the browser keeps the last: Options.CreateOnNavigation prevents that.
package pazzo
