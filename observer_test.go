package pazzo_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// watcher notes what an observer is told.
type watcher struct {
	mu         sync.Mutex
	operations []pazzo.Operation
	events     []pazzo.LifeCycle
}

func (o *watcher) observe(options *pazzo.Options) {
	options.Observer = &pazzo.Observer{
		Operation: func(_ context.Context, e pazzo.Operation) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.operations = append(o.operations, e)
		},
		LifeCycle: func(_ context.Context, e pazzo.LifeCycle) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, e)
		},
	}
}

// during returns what f causes: operations as "name outcome", events as "event
// user reason".
func (o *watcher) during(f func()) (operations, events []string) {
	o.operations, o.events = nil, nil
	f()
	for _, e := range o.operations {
		operations = append(operations, e.Name+" "+e.Outcome)
	}
	for _, e := range o.events {
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Event, e.User, e.Reason)))
	}
	return operations, events
}

func TestObserverIsToldOfEveryOperationAndEvent(t *testing.T) {
	o := &watcher{}
	s := newSite(t, o.observe)
	browser := newBrowser(t, s)
	for _, step := range []struct {
		do         func(ctx context.Context, session *pazzo.Session)
		operations []string
		events     []string
	}{
		{func(ctx context.Context, _ *pazzo.Session) { _, _, err := name.Get(ctx); must(t, err) }, nil, nil},
		{func(ctx context.Context, _ *pazzo.Session) { must(t, name.Set(ctx, "a")) }, []string{"create ok"}, []string{"created"}},
		{func(ctx context.Context, _ *pazzo.Session) { _, _, err := name.Get(ctx); must(t, err) }, []string{"read ok"}, nil},
		{func(ctx context.Context, _ *pazzo.Session) { must(t, name.Set(ctx, "b")) }, []string{"write ok"}, nil},
		{func(ctx context.Context, _ *pazzo.Session) {
			_, err := visits.Add(ctx, 1<<60)
			wantError(t, err, pazzo.ErrRange)
			_, err = pazzo.Counter("name").Add(ctx, 1)
			wantError(t, err, pazzo.ErrNotInteger)
			wantError(t, pazzo.Flash[int]("name").Append(ctx, 1), pazzo.ErrNotList)
		}, []string{"write out of range", "write not an integer", "write not a list"}, nil},
		{func(ctx context.Context, session *pazzo.Session) { must(t, session.Renew(ctx)) }, []string{"write ok"}, []string{"renewed"}},
		{func(ctx context.Context, session *pazzo.Session) { must(t, session.Authenticate(ctx, "ann")) },
			[]string{"read ok", "index ok", "renew ok", "index ok"}, []string{"authenticated ann"}},
		{func(ctx context.Context, session *pazzo.Session) { must(t, session.Authenticate(ctx, "ben")) },
			[]string{"read ok", "index ok", "write ok", "index ok", "renew ok", "index ok"},
			[]string{"destroyed ann replaced", "created", "authenticated ben"}},
		{func(ctx context.Context, session *pazzo.Session) { must(t, session.Destroy(ctx)) }, []string{"write ok", "index ok"}, []string{"destroyed ben logout"}},
	} {
		operations, events := o.during(func() { browser.navigate(step.do) })
		for i := range operations { // how a login that ends another is written is not the point
			operations[i] = strings.Replace(operations[i], "destroy ok", "write ok", 1)
		}
		if !slices.Equal(operations, step.operations) || !slices.Equal(events, step.events) {
			t.Errorf("operations %q, events %q;\nwant       %q, events %q", operations, events, step.operations, step.events)
		}
		for _, e := range o.operations {
			if e.Store != "memory" || e.Duration < 0 || e.CacheHit || e.Err != nil {
				t.Errorf("operation is %+v", e)
			}
		}
		for _, e := range o.events {
			if e.Handle == (pazzo.Handle{}) {
				t.Errorf("event is %+v", e)
			}
		}
	}
}

func TestObserverIsToldOfRefusals(t *testing.T) {
	o := &watcher{}
	s := newSite(t, o.observe)
	first := s.login(t)
	old := s.context(t, first)
	must(t, pazzo.FromContext(old).Renew(old))
	now := pazzo.FromContext(old).Token()
	refused := func(token string) (operations, events []string) {
		return o.during(func() {
			s.serve(writePage, cookies(cookieName+"="+token), fetch)
			o.operations = o.operations[:min(1, len(o.operations))]
		})
	}
	operations, events := refused(first)
	same(t, "operations", operations, []string{"write superseded"})
	same(t, "events", events, []string{"superseded token refused"})
	must(t, pazzo.FromContext(old).Destroy(old))
	operations, events = refused(now)
	same(t, "operations", operations, []string{"write ended"})
	same(t, "events", events, []string{"ended token refused  logout"})
	operations, events = refused(sealed(t, appKey, record.Handle{7}, 1, record.Secret{}))
	same(t, "operations", operations, []string{"write absent"})
	same(t, "events", events, []string{"created"})
}

func TestObserverIsToldOfErrorsConflictsRotationsAndTouches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &watcher{}
		s := newSite(t, o.observe, func(o *pazzo.Options) { o.RotateEvery = 10 * time.Minute })
		token := s.login(t)
		down := fmt.Errorf("down: %w", pazzo.ErrUnavailable)
		s.store.before = func(*record.Batch) error { return down }
		operations, _ := o.during(func() { s.serve(readPage, cookies(cookieName+"="+token)) })
		same(t, "operations", operations, []string{"read error"})
		if !errors.Is(o.operations[0].Err, down) {
			t.Errorf("error is %v", o.operations[0].Err)
		}
		s.store.before = nil
		time.Sleep(7 * time.Minute) // a touch is due after 6
		operations, _ = o.during(func() { s.serve(readPage, cookies(cookieName+"="+token)) })
		same(t, "operations", operations, []string{"read ok", "touch ok"})
		time.Sleep(4 * time.Minute) // and a renewal after 10
		operations, events := o.during(func() { s.serve(readPage, cookies(cookieName+"="+token)) })
		same(t, "operations", operations, []string{"read ok", "renew ok", "read ok"}) // the last before Set-Cookie
		same(t, "events", events, []string{"rotated"})
		ctx := s.context(t, token)
		attempts := 0
		operations, _ = o.during(func() {
			_, err := name.Update(ctx, func(string) (string, error) {
				if attempts++; attempts == 1 {
					s.set(t, token, map[string]string{"name": "1"})
				}
				return "a", nil
			})
			wantError(t, err, pazzo.ErrDecode)
		})
		if !slices.Contains(operations, "write conflict") {
			t.Errorf("operations are %q", operations)
		}
		s.store.Close()
	})
}

// An observer of which one function or none is set is all right.
func TestObserverMayBeIncomplete(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.Observer = &pazzo.Observer{} })
	ctx := s.context(t, s.login(t))
	must(t, pazzo.FromContext(ctx).Authenticate(ctx, "ann"))
	must(t, pazzo.FromContext(ctx).Destroy(ctx))
}

// secretsOf returns every form in which a log could show what it must not: the
// token, its secret, the key and what the session holds.
func secretsOf(t testing.TB, tokens ...string) (secrets []string) {
	t.Helper()
	for _, token := range tokens {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		must(t, err)
		secret, mac := raw[20:36], raw[36:]
		secrets = append(secrets, token, token[28:48], token[48:])
		for _, part := range [][]byte{secret, mac} {
			secrets = append(secrets, hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
				base64.StdEncoding.EncodeToString(part),
				strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(strings.Trim(fmt.Sprintf("%#v", part), "[]byte"), "{}"),
				strings.Trim(fmt.Sprintf("% x", part), "[]"), string(part), strings.Trim(fmt.Sprintf("%q", part), `"`))
		}
	}
	return append(secrets, appKey, otherKey, "hunter2")
}

func showsNoSecret(t testing.TB, what, text string, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows %q:\n%.2000s", what, secret, text)
			return
		}
	}
}

func TestLogsShowNoTokenNoSecretAndNoValue(t *testing.T) {
	for name, handler := range map[string]func(o *output) slog.Handler{
		"text": func(o *output) slog.Handler {
			return slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug - 100, AddSource: true})
		},
		"JSON": func(o *output) slog.Handler {
			return slog.NewJSONHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug - 100, AddSource: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := &output{}
			options := func(o *pazzo.Options) { o.Logger = slog.New(handler(log)) }
			s := newSite(t, options, withKeys(appKey, otherKey))
			var tokens []string
			token := ""
			do := func(f func(ctx context.Context, session *pazzo.Session) error) {
				t.Helper()
				ctx := s.context(t, token)
				session := pazzo.FromContext(ctx)
				if err := f(ctx, session); err != nil {
					o := log
					slog.New(handler(o)).ErrorContext(ctx, "handler failed", "error", err, "session", session)
				}
				if token = session.Token(); token != "" && !slices.Contains(tokens, token) {
					tokens = append(tokens, token)
				}
			}
			do(func(ctx context.Context, session *pazzo.Session) error {
				return session.Set(ctx, "password", "hunter2")
			})
			do(func(ctx context.Context, session *pazzo.Session) error {
				return session.Append(ctx, "password", "hunter2")
			})
			do(func(ctx context.Context, session *pazzo.Session) error {
				_, _, err := pazzo.Key[time.Time]("password").Get(ctx)
				return err
			})
			do(func(ctx context.Context, session *pazzo.Session) error {
				_, err := session.Add(ctx, "password", 1)
				return err
			})
			do(func(ctx context.Context, session *pazzo.Session) error {
				return session.Set(ctx, "large", strings.Repeat("hunter2", 1<<20))
			})
			do(func(ctx context.Context, session *pazzo.Session) error { return session.Renew(ctx) })
			do(func(ctx context.Context, session *pazzo.Session) error { return session.Authenticate(ctx, "ann") })
			superseded := tokens[0]
			do(func(ctx context.Context, session *pazzo.Session) error {
				s.serve(writePage, cookies(cookieName+"="+superseded), fetch)
				s.serve(writePage, cookies(cookieName+"="+strings.Repeat("A", 64)+"; "+cookieName+"="+token))
				return nil
			})
			s.store.before = func(b *record.Batch) error { return pazzo.ErrUnavailable }
			do(func(ctx context.Context, session *pazzo.Session) error {
				return session.Set(ctx, "password", "hunter2")
			})
			s.store.before = nil
			do(func(ctx context.Context, session *pazzo.Session) error { return session.Destroy(ctx) })
			contains(t, log.String(), "created", "renewed", "authenticated", "destroyed", "refused", "handle", "handler failed", "ann", "logout")
			showsNoSecret(t, "the log", log.String(), secretsOf(t, tokens...))
		})
	}
}

func TestPrintingASessionAManagerOrOptionsShowsNoSecret(t *testing.T) {
	options := &pazzo.Options{SecretKeys: []string{appKey, otherKey}, RotateEvery: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	s := newSite(t, withKeys(appKey, otherKey))
	ctx := s.context(t, "")
	made := pazzo.FromContext(ctx)
	must(t, made.Set(ctx, "password", "hunter2"))
	token := made.Token()
	unopened, err := s.Acquire(token)
	must(t, err)
	opened := s.context(t, token)
	must(t, pazzo.FromContext(opened).Renew(opened))
	s.set(t, pazzo.FromContext(opened).Token(), map[string]string{"password": `"hunter2"`})
	var inHandler *pazzo.Session
	var writer http.ResponseWriter
	s.serve(func(w http.ResponseWriter, r *http.Request) { inHandler, writer = pazzo.FromContext(r.Context()), w }, cookies(cookieName+"="+token))
	info, _, err := pazzo.FromContext(opened).Info(opened)
	must(t, err)

	secrets := secretsOf(t, token, pazzo.FromContext(opened).Token())
	for name, value := range map[string]any{
		"a session that was made": made, "a session not yet opened": unopened, "a session opened": pazzo.FromContext(opened),
		"a session in a handler": inHandler, "no session": (*pazzo.Session)(nil),
		"the manager": s.Manager, "its value's pointer": &struct{ M *pazzo.Manager }{s.Manager},
		"options": options, "options by value": *options, "options in a struct": struct{ O pazzo.Options }{*options},
		"options in a slice": []pazzo.Options{*options}, "a session in a struct": struct{ S *pazzo.Session }{made},
		"a context": ctx, "info": info, "the writer": writer, "keys": []any{pazzo.Key[int]("a"), pazzo.Counter("b")},
	} {
		verbs := []string{"%v", "%+v", "%#v", "%20v"}
		if name != "the writer" { // fmt looks into an unexported pointer for a verb that does not fit
			verbs = append(verbs, "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%T")
		}
		for _, verb := range verbs {
			showsNoSecret(t, fmt.Sprintf("%s with %s", name, verb), fmt.Sprintf(verb, value), secrets)
		}
		log := &output{}
		slog.New(slog.NewTextHandler(log, nil)).Info("a", "value", value, slog.Group("g", "value", value))
		slog.New(slog.NewJSONHandler(log, nil)).Info("a", "value", value, slog.Group("g", "value", value))
		showsNoSecret(t, name+" in a log", log.String(), secrets)
		if text, err := json.Marshal(value); err == nil {
			showsNoSecret(t, name+" as JSON", string(text), secrets)
		}
	}
	// What may be shown is.
	contains(t, fmt.Sprintf("%v", made), info.Handle.String())
	contains(t, fmt.Sprintf("%+v", options), "RotateEvery:1h0m0s", "SecretKeys:[[secret] [secret]]")
}
