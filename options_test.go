package pazzo_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

func TestEachInvalidOptionIsNamedWithWhatIsAllowed(t *testing.T) {
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		change func(o *pazzo.Options)
		want   []string
	}{
		"no key":          {func(o *pazzo.Options) { o.SecretKeys = nil }, []string{"SecretKeys is empty", "pazzo secret"}},
		"short key":       {func(o *pazzo.Options) { o.SecretKeys = []string{appKey, "short"} }, []string{"SecretKeys[1] has 5 bytes", "at least 32"}},
		"31 bytes":        {func(o *pazzo.Options) { o.SecretKeys = []string{strings.Repeat("k", 31)} }, []string{"SecretKeys[0] has 31 bytes"}},
		"empty key":       {func(o *pazzo.Options) { o.SecretKeys = []string{""}; o.InsecureShortKey = true }, []string{"SecretKeys[0] has 0 bytes", "not none"}},
		"short idle":      {func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: time.Millisecond, Absolute: day} }, []string{"Timeouts.Idle is 1ms", "1s to"}},
		"no idle":         {func(o *pazzo.Options) { o.Timeouts.Absolute = day }, []string{"Timeouts.Idle is 0s", "1s to"}},
		"no absolute":     {func(o *pazzo.Options) { o.Timeouts.Idle = day }, []string{"Timeouts.Absolute is 0s", "1s to"}},
		"long absolute":   {func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: day, Absolute: 4000 * day} }, []string{"Timeouts.Absolute is 96000h", "87840h"}},
		"idle longer":     {func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: 2 * day, Absolute: day} }, []string{"Timeouts.Idle is 48h0m0s, longer than Timeouts.Absolute, 24h0m0s"}},
		"rotation":        {func(o *pazzo.Options) { o.RotateEvery = time.Second }, []string{"RotateEvery is 1s", "1m0s to"}},
		"back rotation":   {func(o *pazzo.Options) { o.RotateEvery = -time.Hour }, []string{"RotateEvery is -1h"}},
		"grace":           {func(o *pazzo.Options) { o.RotateGrace = time.Hour }, []string{"RotateGrace is 1h", "1s to 5m0s"}},
		"tombstones":      {func(o *pazzo.Options) { o.KeepTombstones = 25 * time.Hour }, []string{"KeepTombstones is 25h", "1s to 24h"}},
		"short tombstone": {func(o *pazzo.Options) { o.KeepTombstones = time.Millisecond }, []string{"KeepTombstones is 1ms"}},
		"cap":             {func(o *pazzo.Options) { o.MaxPerUser = -1 }, []string{"MaxPerUser is -1", "1 to 10000"}},
		"great cap":       {func(o *pazzo.Options) { o.MaxPerUser = 10_001 }, []string{"MaxPerUser is 10001"}},
		"reads":           {func(o *pazzo.Options) { o.Reads = 2 }, []string{"Reads is 2", "Live and Snapshot"}},
		"when full":       {func(o *pazzo.Options) { o.WhenFull = 2 }, []string{"WhenFull is 2", "EvictOldest and Refuse"}},
		"name limit":      {func(o *pazzo.Options) { o.Limits.Name = 257 }, []string{"Limits.Name is 257", "1 to 256"}},
		"value limit":     {func(o *pazzo.Options) { o.Limits.Value = -1 }, []string{"Limits.Value is -1", "1 to"}},
		"field limit":     {func(o *pazzo.Options) { o.Limits.Fields = 1 << 30 }, []string{"Limits.Fields is 1073741824"}},
		"size limit":      {func(o *pazzo.Options) { o.Limits.Size = 1 << 30 }, []string{"Limits.Size is 1073741824"}},
		"cookie name":     {func(o *pazzo.Options) { o.Cookie.Name = "a b" }, []string{"Cookie:", "Name", `"a b"`, "RFC 6265"}},
		"cookie name ;":   {func(o *pazzo.Options) { o.Cookie.Name = "a;b" }, []string{"Cookie:", "Name", `"a;b"`, "RFC 6265"}},
		"long name":       {func(o *pazzo.Options) { o.Cookie.Name = strings.Repeat("n", 4033) }, []string{"Cookie.Name has 4033 bytes", "at most 4032"}},
		"domain":          {func(o *pazzo.Options) { o.Cookie.Domain = "not a domain" }, []string{"Cookie:", "omain"}},
		"path":            {func(o *pazzo.Options) { o.Cookie.Path = "/;HttpOnly" }, []string{"Cookie:", "ath"}},
		"relative path":   {func(o *pazzo.Options) { o.Cookie.Path = "app" }, []string{"Cookie.Path is", `"app"`, "begin with /"}},
		"host and domain": {func(o *pazzo.Options) { o.Cookie.Name, o.Cookie.Domain = "__Host-a", "app.example" }, []string{`"__Host-a" needs Path "/" and no Domain`, "app.example"}},
		"host and path":   {func(o *pazzo.Options) { o.Cookie.Name, o.Cookie.Path = "__hOsT-a", "/app" }, []string{`"__hOsT-a" needs Path`, "/app"}},
		"secure, http":    {func(o *pazzo.Options) { o.Cookie.Name, o.InsecureHTTP = "__Secure-a", true }, []string{`"__Secure-a" needs Secure`, "InsecureHTTP"}},
		"host, http":      {func(o *pazzo.Options) { o.Cookie.Name, o.InsecureHTTP = "__Host-a", true }, []string{`"__Host-a" needs Secure`, "InsecureHTTP"}},
		"none, http":      {func(o *pazzo.Options) { o.Cookie.SameSite, o.InsecureHTTP = http.SameSiteNoneMode, true }, []string{"SameSite None", "InsecureHTTP"}},
		"partition, http": {func(o *pazzo.Options) { o.Cookie.Partitioned, o.InsecureHTTP = true, true }, []string{"Cookie.Partitioned", "InsecureHTTP"}},
		"default site":    {func(o *pazzo.Options) { o.Cookie.SameSite = http.SameSiteDefaultMode }, []string{"Cookie.SameSite is 1", "Lax, Strict and None"}},
		"unknown site":    {func(o *pazzo.Options) { o.Cookie.SameSite = 9 }, []string{"Cookie.SameSite is 9"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &pazzo.Options{SecretKeys: []string{appKey}}
			test.change(o)
			m, err := pazzo.New(newSite(t).store, o)
			wantError(t, err, pazzo.ErrOptions)
			contains(t, err.Error(), test.want...)
			if m != nil {
				t.Error("there is a manager as well")
			}
			if strings.Contains(err.Error(), appKey) {
				t.Error("the error shows a key")
			}
		})
	}
}

func TestAllInvalidOptionsAreNamedInOneError(t *testing.T) {
	_, err := pazzo.New(newSite(t).store, &pazzo.Options{
		SecretKeys:  []string{"short"},
		Timeouts:    pazzo.Timeouts{Idle: -1, Absolute: -2},
		RotateEvery: 1, RotateGrace: 1, KeepTombstones: 1, MaxPerUser: -1, Reads: 7, WhenFull: 7,
		Limits: record.Limits{Name: -1, Value: -1, Fields: -1, Size: -1},
		Cookie: pazzo.Cookie{Name: "a b", SameSite: 9},
	})
	wantError(t, err, pazzo.ErrOptions)
	contains(t, err.Error(), "SecretKeys[0]", "Timeouts.Idle", "Timeouts.Absolute", "RotateEvery", "RotateGrace", "KeepTombstones",
		"MaxPerUser", "Reads", "WhenFull", "Limits.Name", "Limits.Value", "Limits.Fields", "Limits.Size", "Cookie:", "Cookie.SameSite")
}

func TestNilOptionsLackAKey(t *testing.T) {
	_, err := pazzo.New(newSite(t).store, nil)
	wantError(t, err, pazzo.ErrOptions)
	contains(t, err.Error(), "SecretKeys is empty")
}

// The bounds themselves are allowed.
func TestOptionsAtTheirBoundsAreAllowed(t *testing.T) {
	most := record.MaxTimeout * time.Millisecond
	for name, o := range map[string]*pazzo.Options{
		"least": {
			SecretKeys: []string{strings.Repeat("k", 32)}, Timeouts: pazzo.Timeouts{Idle: time.Second, Absolute: time.Second},
			RotateEvery: time.Minute, RotateGrace: time.Second, KeepTombstones: time.Second, MaxPerUser: 1,
			Limits: record.Limits{Name: 1, Value: 1, Fields: 1, Size: 1},
		},
		"most": {
			SecretKeys: []string{appKey, otherKey}, Timeouts: pazzo.Timeouts{Idle: most, Absolute: most},
			RotateEvery: most, RotateGrace: 5 * time.Minute, KeepTombstones: 24 * time.Hour, MaxPerUser: record.MaxSessions,
			Reads: pazzo.Snapshot, WhenFull: pazzo.Refuse, BestEffortUsers: true, CreateOnNavigation: true,
			Limits: record.Limits{Name: 256, Value: 64 << 20, Fields: 1 << 20, Size: 256 << 20},
		},
		"short key":    {SecretKeys: []string{"k"}, InsecureShortKey: true},
		"levels":       {SecretKeys: []string{appKey}, Timeouts: pazzo.AAL1},
		"third level":  {SecretKeys: []string{appKey}, Timeouts: pazzo.AAL3},
		"secure path":  {SecretKeys: []string{appKey}, Cookie: pazzo.Cookie{Name: "__Secure-a", Path: "/app", Domain: "app.example"}},
		"own domain":   {SecretKeys: []string{appKey}, Cookie: pazzo.Cookie{Domain: ".app.example"}},
		"address":      {SecretKeys: []string{appKey}, Cookie: pazzo.Cookie{Domain: "127.0.0.1"}},
		"http, domain": {SecretKeys: []string{appKey}, InsecureHTTP: true, Cookie: pazzo.Cookie{Domain: "localhost"}},
	} {
		o.Logger = slog.New(slog.DiscardHandler)
		if _, err := pazzo.New(newSite(t).store, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The zero option is the safe one: what New makes of a key alone.
func TestZeroOptionsAreTheSafeOnes(t *testing.T) {
	s := newSite(t)
	response := s.serve(writePage)
	c := oneCookie(t, response)
	equal(t, "cookie", bare(setCookies(response)[0]), "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax")
	ctx := s.context(t, c.Value)
	info, _, err := pazzo.FromContext(ctx).Info(ctx)
	must(t, err)
	equal(t, "idle", info.Idle, time.Hour)
	equal(t, "absolute", info.Deadline.Sub(info.Created), 24*time.Hour)
	if strings.Contains(s.log.String(), "WARN") {
		t.Errorf("it warns: %s", s.log)
	}
	// Reads are live.
	s.store.costs(t, 2, func() {
		for range 2 {
			_, _, err := made.Get(ctx)
			must(t, err)
		}
	})
}

// New does not keep what it was given: the caller may change it afterwards.
func TestOptionsAreCopied(t *testing.T) {
	o := &pazzo.Options{SecretKeys: []string{appKey}}
	s := newSite(t)
	m, err := pazzo.New(s.store, o)
	must(t, err)
	o.SecretKeys[0], o.Cookie.Name, o.InsecureHTTP = otherKey, "changed", true
	changed := &site{Manager: m, store: s.store, log: s.log}
	response := changed.serve(writePage)
	equal(t, "cookie", bare(setCookies(response)[0]), "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax")
	if _, err := s.Acquire(oneCookie(t, response).Value); err != nil {
		t.Error("signed with the key that New got:", err)
	}
	equal(t, "the caller's keys", o.SecretKeys[0], otherKey)
}

// mute is a store that does not answer.
type mute struct{ record.Store }

func (mute) Traits(context.Context) (record.Traits, error) {
	return record.Traits{}, pazzo.ErrUnavailable
}

func TestAStoreThatDoesNotAnswerYetIsLoggedAndNotAnError(t *testing.T) {
	log := &output{}
	if _, err := pazzo.New(mute{}, &pazzo.Options{SecretKeys: []string{appKey}, Logger: slog.New(slog.NewTextHandler(log, nil))}); err != nil {
		t.Fatal(err)
	}
	contains(t, log.String(), "WARN", "does not answer", "unavailable")
}
