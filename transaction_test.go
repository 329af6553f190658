package pazzo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

func account(i int) pazzo.Key[int] { return pazzo.Key[int](fmt.Sprint("account ", i)) }

func TestTransfersAreExactUnderContention(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	const accounts, each = 4, 1000
	for i := range accounts {
		s.set(t, token, map[string]string{string(account(i)): fmt.Sprint(each)})
	}
	var moved [accounts]atomic.Int64
	together(contenders, func(i int) {
		for n := range rounds() {
			from, to := (i+n)%accounts, (i+n*3+1)%accounts
			if from == to {
				continue
			}
			err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
				a, _, err := account(from).Get(ctx)
				if err != nil {
					return err
				}
				if err := account(from).Set(ctx, a-1); err != nil {
					return err
				}
				_, err = pazzo.Counter(account(to)).Add(ctx, 1)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			moved[from].Add(-1)
			moved[to].Add(1)
		}
	})
	for i := range accounts {
		n, _, err := account(i).Get(s.context(t, token))
		must(t, err)
		equal(t, string(account(i)), int64(n), each+moved[i].Load())
	}
}

func TestTransactionsOnDifferentFieldsNeverCollide(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	var attempts atomic.Int64
	together(contenders, func(i int) {
		for range rounds() {
			err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
				attempts.Add(1)
				n, _, err := account(i).Get(ctx)
				if err != nil {
					return err
				}
				return account(i).Set(ctx, n+1)
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	equal(t, "attempts", attempts.Load(), int64(contenders*rounds()))
	for i := range contenders {
		equal(t, string(account(i)), s.text(t, token, string(account(i))), fmt.Sprint(rounds()))
	}
}

// What a transaction has read must hold when it commits, and nothing else.
func TestTransactionRunsAgainIfWhatItReadHasChanged(t *testing.T) {
	for name, test := range map[string]struct {
		read  func(ctx context.Context) error
		write string // the field that another request writes meanwhile
		want  int    // attempts
	}{
		"the field read":         {func(ctx context.Context) error { _, _, err := account(1).Get(ctx); return err }, "account 1", 2},
		"another field":          {func(ctx context.Context) error { _, _, err := account(1).Get(ctx); return err }, "account 2", 1},
		"a field read as absent": {func(ctx context.Context) error { _, _, err := account(9).Get(ctx); return err }, "account 9", 2},
		"any field, when listed": {func(ctx context.Context) error { _, err := pazzo.FromContext(ctx).All(ctx); return err }, "account 2", 2},
		"a new one, when listed": {func(ctx context.Context) error { _, err := pazzo.FromContext(ctx).All(ctx); return err }, "account 9", 2},
		"the field set":          {func(ctx context.Context) error { return nil }, "account 0", 1},
		"the field added to":     {func(ctx context.Context) error { _, err := pazzo.Counter("account 1").Add(ctx, 1); return err }, "account 1", 2},
		"the field popped":       {func(ctx context.Context) error { _, _, err := account(1).Pop(ctx); return err }, "account 1", 2},
		"the field deleted":      {func(ctx context.Context) error { return account(1).Delete(ctx) }, "account 1", 1},
		"the field after Clear": {func(ctx context.Context) error {
			if err := pazzo.FromContext(ctx).Clear(ctx); err != nil {
				return err
			}
			_, _, err := account(1).Get(ctx)
			return err
		}, "account 1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			token := s.login(t)
			s.set(t, token, map[string]string{"account 0": "0", "account 1": "1", "account 2": "2"})
			attempts := 0
			err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
				attempts++
				must(t, test.read(ctx))
				if attempts == 1 {
					s.set(t, token, map[string]string{test.write: "77"})
				}
				return account(0).Set(ctx, 10)
			})
			must(t, err)
			equal(t, "attempts", attempts, test.want)
			equal(t, "text", s.text(t, token, "account 0"), "10")
		})
	}
}

// f sees one state of the session, even if others write between its reads.
func TestTransactionSeesOneState(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	s.set(t, token, map[string]string{"account 1": "1", "account 2": "1"})
	attempts := 0
	must(t, pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
		attempts++
		a, _, err := account(1).Get(ctx)
		must(t, err)
		s.set(t, token, map[string]string{"account 2": "2"})
		b, _, err := account(2).Fresh(ctx)
		must(t, err)
		equal(t, "the second field", b, a)
		all := allFields(t, ctx)
		equal(t, "the second field when listed", all["account 2"], "1")
		return nil // and nothing written: no reason to run again
	}))
	equal(t, "attempts", attempts, 1)
}

func TestAnErrorWritesNothing(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	failed := errors.New("no")
	s.store.costs(t, 1, func() { // the read
		ctx := s.context(t, token)
		err := pazzo.Atomically(ctx, func(ctx context.Context) error {
			must(t, name.Set(ctx, "a"))
			_, err := visits.Add(ctx, 1)
			must(t, err)
			must(t, pazzo.FromContext(ctx).Clear(ctx))
			return failed
		})
		equal(t, "error", err, failed)
	})
	same(t, "fields", allFields(t, s.context(t, token)), map[string]string{"made": "true"})
}

func TestAPanicWritesNothing(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	func() {
		defer func() { equal(t, "what was recovered", recover(), any("a bug")) }()
		pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
			must(t, name.Set(ctx, "a"))
			panic("a bug")
		})
	}()
	equal(t, "text", s.text(t, token, "name"), "absent")
}

func TestNestedAtomicallyJoins(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	failed := errors.New("no")
	ctx := s.context(t, token)
	s.store.costs(t, 1, func() {
		must(t, pazzo.Atomically(ctx, func(ctx context.Context) error {
			must(t, name.Set(ctx, "outer"))
			err := pazzo.Atomically(ctx, func(ctx context.Context) error {
				got, _, err := name.Get(ctx)
				must(t, err)
				equal(t, "the outer one's write", got, "outer")
				must(t, name.Set(ctx, "inner"))
				return failed
			})
			equal(t, "error", err, failed)
			return nil
		}))
	})
	equal(t, "text", s.text(t, token, "name"), `"inner"`) // it joined: its error is the outer one's to judge
	err := pazzo.Atomically(ctx, func(ctx context.Context) error {
		return pazzo.Atomically(ctx, func(ctx context.Context) error {
			must(t, name.Set(ctx, "lost"))
			return failed
		})
	})
	equal(t, "error", err, failed)
	equal(t, "text", s.text(t, token, "name"), `"inner"`)
}

func TestUpdateAndCompareAndSetInsideAtomicallyJoin(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	must(t, pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
		for range 2 {
			_, err := name.Update(ctx, func(s string) (string, error) { return s + "a", nil })
			must(t, err)
		}
		swapped, err := name.CompareAndSet(ctx, "aa", "b")
		must(t, err)
		equal(t, "swapped", swapped, true)
		equal(t, "text elsewhere meanwhile", s.text(t, token, "name"), "absent")
		return nil
	}))
	equal(t, "text", s.text(t, token, "name"), `"b"`)
}

func TestLifeCycleInsideAtomicallyIsRefused(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	ctx := s.context(t, token)
	session := pazzo.FromContext(ctx)
	must(t, pazzo.Atomically(ctx, func(ctx context.Context) error {
		equal(t, "session", pazzo.FromContext(ctx), session)
		for name, err := range map[string]error{
			"Renew":        session.Renew(ctx),
			"Authenticate": session.Authenticate(ctx, "ann"),
			"Destroy":      session.Destroy(ctx),
			"SetExpiry":    session.SetExpiry(ctx, pazzo.Expiry{}),
			"SetDevice":    session.SetDevice(ctx, pazzo.Device{}),
		} {
			if !errors.Is(err, pazzo.ErrInTransaction) {
				t.Errorf("%s: error is %v, want %v", name, err, pazzo.ErrInTransaction)
			}
		}
		return name.Set(ctx, "a")
	}))
	equal(t, "token", session.Token(), token)
	equal(t, "text", s.text(t, token, "name"), `"a"`)
}

func TestTransactionCostsOneRoundTripToWriteAndOneToRead(t *testing.T) {
	blind := func(ctx context.Context) error {
		session := pazzo.FromContext(ctx)
		for i := range 10 {
			must(t, account(i).Set(ctx, i))
		}
		must(t, session.Delete(ctx, "made"))
		must(t, session.Set(ctx, "account 3", json.RawMessage("[]")))
		n, _, err := account(4).Get(ctx) // its own
		must(t, err)
		equal(t, "own write", n, 4)
		return notices.Delete(ctx)
	}
	reading := func(ctx context.Context) error {
		for range 3 {
			_, err := visits.Add(ctx, 1)
			must(t, err)
			must(t, notices.Append(ctx, "a"))
			_, err = name.GetOr(ctx, "")
			must(t, err)
			_, err = pazzo.FromContext(ctx).All(ctx)
			must(t, err)
		}
		return nil
	}
	for name, test := range map[string]struct {
		f         func(ctx context.Context) error
		calls     int64
		ofVisitor int64 // without a session
	}{
		"blind writes":    {blind, 1, 1},
		"reads, writes":   {reading, 2, 1},
		"nothing":         {func(context.Context) error { return nil }, 0, 0},
		"reads":           {func(ctx context.Context) error { _, err := visits.Get(ctx); return err }, 1, 0},
		"nothing changed": {func(ctx context.Context) error { _, err := visits.Add(ctx, 0); return err }, 2, 1},
		"clear":           {func(ctx context.Context) error { return pazzo.FromContext(ctx).Clear(ctx) }, 1, 0},
		"delete":          {func(ctx context.Context) error { return made.Delete(ctx) }, 1, 0},
		"pop, then set": {func(ctx context.Context) error {
			_, _, err := made.Pop(ctx)
			must(t, err)
			return made.Set(ctx, false)
		}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []pazzo.ReadMode{pazzo.Live, pazzo.Snapshot} {
				s := newSite(t, func(o *pazzo.Options) { o.Reads = mode })
				token := s.login(t)
				s.store.costs(t, test.calls, func() { must(t, pazzo.Atomically(s.context(t, token), test.f)) })
				s.store.costs(t, test.ofVisitor, func() { must(t, pazzo.Atomically(s.context(t, ""), test.f)) })
			}
		})
	}
}

func TestClearInATransactionKeepsWhatIsSetAfterIt(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	s.set(t, token, map[string]string{"a": "1", "b": "2", "visits": "5"})
	must(t, pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
		session := pazzo.FromContext(ctx)
		must(t, session.Set(ctx, "a", 10))
		must(t, session.Clear(ctx))
		same(t, "fields", allFields(t, ctx), map[string]string{})
		n, err := visits.Add(ctx, 1)
		must(t, err)
		equal(t, "sum", n, 1)
		_, found, err := session.Pop(ctx, "b")
		must(t, err)
		equal(t, "found", found, false)
		return session.Set(ctx, "b", 20)
	}))
	same(t, "fields", allFields(t, s.context(t, token)), map[string]string{"visits": "1", "b": "20"})
}

func TestTransactionOfAVisitorMakesOneSession(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, "")
	must(t, pazzo.Atomically(ctx, func(ctx context.Context) error {
		_, err := visits.Add(ctx, 1)
		must(t, err)
		return name.Set(ctx, "a")
	}))
	token := pazzo.FromContext(ctx).Token()
	same(t, "fields", allFields(t, s.context(t, token)), map[string]string{"visits": "1", "name": `"a"`})
}

func TestTransactionOnAnEndedOrSupersededSession(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		end  func(ctx context.Context, session *pazzo.Session) error
		want error
	}{
		"superseded": {func(ctx context.Context, session *pazzo.Session) error { return session.Renew(ctx) }, pazzo.ErrSuperseded},
		"ended":      {func(ctx context.Context, session *pazzo.Session) error { return session.Destroy(ctx) }, pazzo.ErrGone},
	} {
		token := s.login(t)
		other := s.context(t, token)
		must(t, test.end(other, pazzo.FromContext(other)))
		attempts := 0
		response := s.serve(func(w http.ResponseWriter, r *http.Request) {
			err := pazzo.Atomically(r.Context(), func(ctx context.Context) error {
				attempts++
				_, found, err := made.Get(ctx)
				must(t, err)
				equal(t, name+": found", found, false)
				return made.Set(ctx, true)
			})
			wantError(t, err, test.want)
		}, cookies(cookieName+"="+token), fetch)
		equal(t, name+": attempts", attempts, 1)
		noCookie(t, response)
	}
}

func TestTransactionThatAlwaysCollidesGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		token := s.login(t)
		attempts, start := 0, time.Now()
		err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
			attempts++
			_, err := visits.Add(ctx, 1)
			must(t, err)
			_, err = visits.Add(s.context(t, token), 10)
			return err
		})
		wantError(t, err, pazzo.ErrConflict)
		equal(t, "attempts", attempts, 64)
		equal(t, "text", s.text(t, token, "visits"), "640")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		s.store.Close()
	})
}

func TestTransactionEndsWithItsContext(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	ctx, cancel := context.WithCancel(s.context(t, token))
	err := pazzo.Atomically(ctx, func(ctx context.Context) error {
		_, err := visits.Add(ctx, 1)
		must(t, err)
		cancel()
		return nil
	})
	wantError(t, err, context.Canceled)
	equal(t, "text", s.text(t, token, "visits"), "absent")
}

func TestTransactionIsForSeveralGoroutines(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	must(t, pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
		together(contenders, func(i int) {
			if _, err := visits.Add(ctx, 1); err != nil {
				t.Error(err)
			}
			if err := account(i).Set(ctx, i); err != nil {
				t.Error(err)
			}
		})
		return nil
	}))
	equal(t, "text", s.text(t, token, "visits"), fmt.Sprint(contenders))
}

// A store that fails leaves nothing half done, and its error reaches the caller.
func TestTransactionReportsTheStoresError(t *testing.T) {
	for _, failure := range []error{pazzo.ErrUnavailable, pazzo.ErrOutcomeUnknown} {
		s := newSite(t)
		token := s.login(t)
		attempts := 0
		s.store.before = func(b *record.Batch) error {
			if b.ReadOnly() {
				return nil
			}
			return fmt.Errorf("down: %w", failure)
		}
		err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error {
			attempts++
			_, err := visits.Add(ctx, 1)
			return err
		})
		wantError(t, err, failure)
		equal(t, "attempts", attempts, 1)
	}
}

// The transaction is on one session; another's keys stay outside of it.
func TestAnotherSessionInsideATransactionIsNotPartOfIt(t *testing.T) {
	s := newSite(t)
	first, second := s.login(t), s.login(t)
	failed := errors.New("no")
	err := pazzo.Atomically(s.context(t, first), func(ctx context.Context) error {
		session, err := s.Acquire(second)
		must(t, err)
		must(t, session.Set(ctx, "a", 2))
		must(t, name.Set(pazzo.NewContext(ctx, session), "b"))
		must(t, pazzo.FromContext(ctx).Set(ctx, "a", 1))
		return failed
	})
	equal(t, "error", err, failed)
	equal(t, "first", s.text(t, first, "a"), "absent")
	equal(t, "second", s.text(t, second, "a"), "2")
	equal(t, "second by key", s.text(t, second, "name"), `"b"`)
}

func TestTransactionThatCannotReadReportsTheStoresError(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	s.store.before = func(b *record.Batch) error { return pazzo.ErrUnavailable }
	for name, f := range map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, _, err := name.Get(ctx); return err },
		"add": func(ctx context.Context) error { _, err := visits.Add(ctx, 1); return err },
		"all": func(ctx context.Context) error { _, err := pazzo.FromContext(ctx).All(ctx); return err },
		"update": func(ctx context.Context) error {
			_, err := name.Update(ctx, func(s string) (string, error) { return s, nil })
			return err
		},
		"swap": func(ctx context.Context) error { _, err := name.CompareAndSet(ctx, "a", "b"); return err },
		"set":  func(ctx context.Context) error { return name.Set(ctx, "a") },
	} {
		attempts := 0
		err := pazzo.Atomically(s.context(t, token), func(ctx context.Context) error { attempts++; return f(ctx) })
		if !errors.Is(err, pazzo.ErrUnavailable) || attempts != 1 {
			t.Errorf("%s: error is %v after %d attempts", name, err, attempts)
		}
	}
}
