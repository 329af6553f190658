package pazzo_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

func snapshots(o *pazzo.Options) { o.Reads = pazzo.Snapshot }

func TestRoundTrips(t *testing.T) {
	get := func(ctx context.Context) {
		if _, _, err := name.Get(ctx); err != nil {
			panic(err)
		}
	}
	for what, test := range map[string]struct {
		f                       func(t *testing.T, ctx context.Context)
		live, snapshot, visitor int64
	}{
		"unused":        {func(t *testing.T, ctx context.Context) {}, 0, 0, 0},
		"one read":      {func(t *testing.T, ctx context.Context) { get(ctx) }, 1, 1, 0},
		"three reads":   {func(t *testing.T, ctx context.Context) { get(ctx); get(ctx); get(ctx) }, 3, 1, 0},
		"one write":     {func(t *testing.T, ctx context.Context) { must(t, name.Set(ctx, "a")) }, 1, 1, 1},
		"one addition":  {func(t *testing.T, ctx context.Context) { _, err := visits.Add(ctx, 1); must(t, err) }, 1, 1, 1},
		"one append":    {func(t *testing.T, ctx context.Context) { must(t, notices.Append(ctx, "a")) }, 1, 1, 1},
		"one pop":       {func(t *testing.T, ctx context.Context) { _, _, err := name.Pop(ctx); must(t, err) }, 1, 1, 0},
		"one drain":     {func(t *testing.T, ctx context.Context) { _, err := notices.Drain(ctx); must(t, err) }, 1, 1, 0},
		"set if absent": {func(t *testing.T, ctx context.Context) { _, _, err := name.SetIfAbsent(ctx, "a"); must(t, err) }, 1, 1, 1},
		"update": {func(t *testing.T, ctx context.Context) {
			_, err := name.Update(ctx, func(s string) (string, error) { return s + "a", nil })
			must(t, err)
		}, 2, 2, 1},
		"all":           {func(t *testing.T, ctx context.Context) { allFields(t, ctx); allFields(t, ctx) }, 2, 1, 0},
		"read, write":   {func(t *testing.T, ctx context.Context) { get(ctx); must(t, visits.Set(ctx, 1)); get(ctx) }, 3, 2, 2},
		"read what was": {func(t *testing.T, ctx context.Context) { must(t, name.Set(ctx, "a")); get(ctx) }, 2, 2, 2},
		"two writes":    {func(t *testing.T, ctx context.Context) { must(t, name.Set(ctx, "a")); must(t, name.Set(ctx, "b")) }, 2, 2, 2},
		"fresh":         {func(t *testing.T, ctx context.Context) { get(ctx); _, _, err := name.Fresh(ctx); must(t, err) }, 2, 2, 0},
		"identity":      {func(t *testing.T, ctx context.Context) { _, err := pazzo.FromContext(ctx).User(ctx); must(t, err) }, 1, 1, 0},
		"logout":        {func(t *testing.T, ctx context.Context) { must(t, pazzo.FromContext(ctx).Destroy(ctx)) }, 1, 1, 0},
		"renewal":       {func(t *testing.T, ctx context.Context) { must(t, pazzo.FromContext(ctx).Renew(ctx)) }, 1, 1, 0},
		"write, renewal": {func(t *testing.T, ctx context.Context) {
			must(t, name.Set(ctx, "a"))
			must(t, pazzo.FromContext(ctx).Renew(ctx))
		}, 2, 2, 2},
	} {
		t.Run(what, func(t *testing.T) {
			for mode, want := range map[pazzo.ReadMode]int64{pazzo.Live: test.live, pazzo.Snapshot: test.snapshot} {
				s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
				token := s.login(t)
				handler := func(w http.ResponseWriter, r *http.Request) { test.f(t, r.Context()) }
				s.store.costs(t, want, func() { s.serve(handler, cookies(cookieName+"="+token)) })
				s.store.costs(t, test.visitor, func() { s.serve(handler) })
			}
		})
	}
}

func TestLiveReadsSeeOthersWritesAndSnapshotsDoNot(t *testing.T) {
	for mode, want := range map[pazzo.ReadMode]string{pazzo.Live: "after", pazzo.Snapshot: "before"} {
		s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
		token := s.login(t)
		s.set(t, token, map[string]string{"name": `"before"`, "gone": "1"})
		ctx := s.context(t, token)
		got, _, err := name.Get(ctx)
		must(t, err)
		equal(t, "first read", got, "before")
		elsewhere := s.context(t, token)
		must(t, name.Set(elsewhere, "after"))
		must(t, pazzo.FromContext(elsewhere).Delete(elsewhere, "gone"))
		must(t, visits.Set(elsewhere, 1))
		got, _, err = name.Get(ctx)
		must(t, err)
		equal(t, "second read", got, want)
		_, found, err := pazzo.FromContext(ctx).Get(ctx, "gone")
		must(t, err)
		equal(t, "the deleted one is still there", found, mode == pazzo.Snapshot)
		n, err := visits.Get(ctx)
		must(t, err)
		equal(t, "the new one is not there", n == 0, mode == pazzo.Snapshot)
		all := allFields(t, ctx)
		equal(t, "when listed", all["name"], `"`+want+`"`)

		got, _, err = name.Fresh(ctx)
		must(t, err)
		equal(t, "Fresh", got, "after")
		got, _, err = name.Get(ctx)
		must(t, err)
		equal(t, "read after Fresh", got, want)
		n, err = visits.Fresh(ctx)
		must(t, err)
		equal(t, "Counter.Fresh", n, 1)
		must(t, notices.Append(elsewhere, "a"))
		list, err := notices.Fresh(ctx)
		must(t, err)
		equal(t, "Flash.Fresh", len(list), 1)
	}
}

func TestSnapshotHasTheRequestsOwnWritesAndOthersOnlyWhereItWrote(t *testing.T) {
	for what, test := range map[string]struct {
		write func(t *testing.T, ctx context.Context)
		want  string // "name" afterwards, as text
	}{
		"set":    {func(t *testing.T, ctx context.Context) { must(t, name.Set(ctx, "own")) }, `"own"`},
		"delete": {func(t *testing.T, ctx context.Context) { must(t, name.Delete(ctx)) }, "absent"},
		"pop":    {func(t *testing.T, ctx context.Context) { _, _, err := name.Pop(ctx); must(t, err) }, "absent"},
		"compare, set": {func(t *testing.T, ctx context.Context) {
			_, err := name.CompareAndSet(ctx, "before", "own")
			must(t, err)
		}, `"own"`},
		"update": {func(t *testing.T, ctx context.Context) {
			_, err := name.Update(ctx, func(s string) (string, error) { return s + "!", nil })
			must(t, err)
		}, `"before!"`},
		"untyped":        {func(t *testing.T, ctx context.Context) { must(t, pazzo.FromContext(ctx).Set(ctx, "name", 5)) }, "5"},
		"nothing at all": {func(t *testing.T, ctx context.Context) {}, `"before"`},
		"one that fails": {func(t *testing.T, ctx context.Context) { wantError(t, notices.Append(ctx, "\x00"), nil) }, `"before"`},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, snapshots)
			token := s.login(t)
			s.set(t, token, map[string]string{"name": `"before"`, "other": `"before"`, "zebra": "1"})
			ctx := s.context(t, token)
			allFields(t, ctx)
			test.write(t, ctx)
			s.set(t, token, map[string]string{"other": `"after"`, "aardvark": "1"})
			is := func() {
				t.Helper()
				text, found, err := pazzo.FromContext(ctx).Get(ctx, "name")
				must(t, err)
				if !found {
					text = []byte("absent")
				}
				equal(t, "own", string(text), test.want)
				other, _, err := pazzo.Key[string]("other").Get(ctx)
				must(t, err)
				equal(t, "other", other, "before")
				_, found, err = pazzo.FromContext(ctx).Get(ctx, "aardvark")
				must(t, err)
				equal(t, "found another's new field", found, false)
			}
			is()
			all := allFields(t, ctx)
			want := map[string]string{"made": "true", "name": test.want, "other": `"before"`, "zebra": "1"}
			if test.want == "absent" {
				delete(want, "name")
			}
			if all["notices"] != "" {
				want["notices"] = all["notices"]
			}
			same(t, "all", all, want)
			is()
		})
	}
}

// Clear and a transaction start the snapshot anew.
func TestSnapshotAfterClearAndTransaction(t *testing.T) {
	s := newSite(t, snapshots)
	token := s.login(t)
	ctx := s.context(t, token)
	allFields(t, ctx)
	must(t, pazzo.FromContext(ctx).Clear(ctx))
	same(t, "all after Clear", allFields(t, ctx), map[string]string{})
	must(t, pazzo.Atomically(ctx, func(ctx context.Context) error { return name.Set(ctx, "a") }))
	got, _, err := name.Get(ctx)
	must(t, err)
	equal(t, "after a transaction", got, "a")
}

func TestSnapshotOfAnEndedSessionIsEmptyOnceTheRequestKnows(t *testing.T) {
	s := newSite(t, snapshots)
	token := s.login(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		allFields(t, ctx)
		must(t, visits.Set(ctx, 1))
		must(t, pazzo.FromContext(s.context(t, token)).Destroy(context.Background()))
		wantError(t, name.Set(ctx, "a"), pazzo.ErrGone)
		same(t, "all", allFields(t, ctx), map[string]string{})
		_, found, err := made.Get(ctx)
		must(t, err)
		equal(t, "found", found, false)
	}, cookies(cookieName+"="+token), fetch)
}

// The request may learn of the end from listing, which loads what it wrote.
func TestSnapshotOfASessionThatEndsBeforeItIsListedIsEmpty(t *testing.T) {
	s := newSite(t, snapshots)
	token := s.login(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		allFields(t, ctx)
		must(t, visits.Set(ctx, 1))
		must(t, pazzo.FromContext(s.context(t, token)).Destroy(context.Background()))
		same(t, "all", allFields(t, ctx), map[string]string{})
		_, found, err := made.Get(ctx)
		must(t, err)
		equal(t, "found", found, false)
	}, cookies(cookieName+"="+token), fetch)
}

func TestSnapshotOfASessionThatTheRequestMakes(t *testing.T) {
	s := newSite(t, snapshots)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		same(t, "all", allFields(t, ctx), map[string]string{})
		must(t, name.Set(ctx, "a"))
		same(t, "all after the first write", allFields(t, ctx), map[string]string{"name": `"a"`})
		must(t, pazzo.FromContext(ctx).Destroy(ctx))
		same(t, "all after Destroy", allFields(t, ctx), map[string]string{})
		must(t, visits.Set(ctx, 1))
		same(t, "all of the next", allFields(t, ctx), map[string]string{"visits": "1"})
	})
}

// A write that another goroutine of the request makes while the snapshot loads is
// not lost to it.
func TestSnapshotThatLoadsDuringAnOwnWriteHasIt(t *testing.T) {
	s := newSite(t, snapshots)
	token := s.login(t)
	ctx := s.context(t, token)
	var during atomic.Bool
	s.store.after = func(b *record.Batch) {
		if len(b.Ops) > 0 && b.Ops[0].Kind == record.OpGetAll && during.CompareAndSwap(false, true) {
			must(t, name.Set(ctx, "own"))
		}
	}
	must(t, visits.Set(ctx, 1)) // opens the session
	allFields(t, ctx)
	got, _, err := name.Get(ctx)
	must(t, err)
	equal(t, "own write", got, "own")
}

func TestSnapshotsOfSeveralGoroutines(t *testing.T) {
	s := newSite(t, snapshots)
	token := s.login(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		together(contenders, func(i int) {
			for n := range rounds() {
				if err := account(i).Set(ctx, n); err != nil {
					t.Error(err)
				}
				got, _, err := account(i).Get(ctx)
				if err != nil || got != n {
					t.Errorf("own write is %d, want %d; error %v", got, n, err)
				}
				if n%8 == 0 {
					all, err := pazzo.FromContext(ctx).All(ctx)
					if err != nil {
						t.Error(err)
					}
					found := false
					for name := range all {
						found = found || name == string(account(i))
					}
					equal(t, "own field listed", found, true)
				}
			}
		})
	}, cookies(cookieName+"="+token))
}
