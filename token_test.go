package pazzo_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// goldenKeys and goldenTokens are those of protocol/token.json: handle 00 01 … 0f,
// generation 1, secret 10 11 … 1f.
var (
	goldenKeys   = []string{"a secret key for test vectors, 1", "schlüssel für prüfvektoren, 2 – ein längerer"}
	goldenTokens = []string{
		"AAECAwQFBgcICQoLDA0ODwAAAAEQERITFBUWFxgZGhscHR4fdYOzdsGg3Zh7Y9Q5",
		"AAECAwQFBgcICQoLDA0ODwAAAAEQERITFBUWFxgZGhscHR4f_03uUqVslQJqKai1",
	}
)

func goldenHandle() (h record.Handle) {
	for i := range h {
		h[i] = byte(i)
	}
	return h
}

func goldenSecret() (s record.Secret) {
	for i := range s {
		s[i] = byte(0x10 + i)
	}
	return s
}

// sealed makes a token from the description in the design alone.
func sealed(t testing.TB, key string, h record.Handle, generation uint32, secret record.Secret) string {
	t.Helper()
	k, err := hkdf.Key(sha256.New, []byte(key), nil, "pazzo token key 1", 32)
	must(t, err)
	body := binary.BigEndian.AppendUint32(h[:], generation)
	body = append(body, secret[:]...)
	m := hmac.New(sha256.New, k)
	m.Write([]byte("pazzo token 1"))
	m.Write(body)
	return base64.RawURLEncoding.EncodeToString(m.Sum(body)[:48])
}

func withKeys(keys ...string) func(*pazzo.Options) {
	return func(o *pazzo.Options) { o.SecretKeys = keys }
}

// put makes a record with the given secret, as another app would have.
func (s *site) put(t testing.TB, h record.Handle, secret record.Secret) {
	t.Helper()
	create := record.Create(secret, record.Expiry{Idle: 1e6, Absolute: 1e6})
	reply, err := s.store.Store.Apply(context.Background(), h, &record.Batch{Ops: []record.Op{create, record.Set("made", "true")}})
	must(t, err)
	equal(t, "status", reply.Status, record.OK)
}

func TestTokensAreTheGoldenOnes(t *testing.T) {
	for i, key := range goldenKeys {
		equal(t, "token made by hand", sealed(t, key, goldenHandle(), 1, goldenSecret()), goldenTokens[i])
		s := newSite(t, withKeys(key))
		s.put(t, goldenHandle(), goldenSecret())
		session, err := s.Acquire(goldenTokens[i])
		must(t, err)
		equal(t, "token made again", session.Token(), goldenTokens[i])
		handle, found, err := session.Handle(t.Context())
		must(t, err)
		equal(t, "handle", handle, goldenHandle())
		equal(t, "found", found, true)
	}
	_, err := newSite(t, withKeys(goldenKeys[0])).Acquire(goldenTokens[1])
	wantError(t, err, pazzo.ErrToken)
}

func TestTokenOfARenewedSessionIsAsDescribed(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	session := pazzo.FromContext(ctx)
	must(t, session.Renew(ctx))
	info, _, err := session.Info(ctx)
	must(t, err)
	reply, err := s.store.Apply(ctx, info.Handle, &record.Batch{})
	must(t, err)
	equal(t, "generation", info.Generation, 2)
	equal(t, "token", session.Token(), sealed(t, appKey, info.Handle, 2, reply.Meta.Secret))
}

func TestOldKeyVerifiesAndTheNextResponseSignsWithTheFirst(t *testing.T) {
	old := newSite(t)
	token := old.login(t)
	both := newSiteOn(t, old.store, withKeys(otherKey, appKey))
	read := func(w http.ResponseWriter, r *http.Request) {
		_, found, err := pazzo.Key[bool]("made").Get(r.Context())
		if err != nil || !found {
			t.Errorf("found %v, error %v", found, err)
		}
	}
	reissued := oneCookie(t, both.serve(read, cookies(cookieName+"="+token))).Value
	if reissued == token {
		t.Fatal("the same token was issued")
	}
	noCookie(t, both.serve(read, cookies(cookieName+"="+reissued)))
	equal(t, "body unchanged", reissued[:48], token[:48])
	_, err := old.Acquire(reissued)
	wantError(t, err, pazzo.ErrToken)

	session, err := both.Acquire(token)
	must(t, err)
	equal(t, "token from Acquire", session.Token(), reissued)
}

func TestTokenOfADroppedKeyOpensNothingAndAsksNoStore(t *testing.T) {
	old := newSite(t)
	token := old.login(t)
	s := newSiteOn(t, old.store, withKeys(otherKey))
	s.store.costs(t, 0, func() {
		noCookie(t, s.serve(func(w http.ResponseWriter, r *http.Request) {
			_, found, err := pazzo.Key[bool]("made").Get(r.Context())
			must(t, err)
			equal(t, "found", found, false)
		}, cookies(cookieName+"="+token)))
	})
}

// refuses fails the test unless text is no token and costs no call of the store.
func (s *site) refuses(t testing.TB, what, text string) {
	t.Helper()
	s.store.costs(t, 0, func() {
		if _, err := s.Acquire(text); err != pazzo.ErrToken {
			t.Errorf("%s: error is %v, want %v", what, err, pazzo.ErrToken)
		}
		s.serve(func(w http.ResponseWriter, r *http.Request) {
			if _, found, err := pazzo.Key[bool]("made").Get(r.Context()); found || err != nil {
				t.Errorf("%s: found %v, error %v", what, found, err)
			}
		}, cookies(cookieName+"="+strings.ReplaceAll(text, ";", "")))
	})
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	s := newSite(t)
	token := s.login(t)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	must(t, err)
	equal(t, "size", len(raw), 48)
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		s.refuses(t, "decoded bit", base64.RawURLEncoding.EncodeToString(raw))
		raw[i/8] ^= 1 << (i % 8)
	}
	text := []byte(token)
	for i := range len(text) * 8 {
		text[i/8] ^= 1 << (i % 8)
		s.refuses(t, "bit of the text", string(text))
		text[i/8] ^= 1 << (i % 8)
	}
}

func TestVariantsOfAGoodTokenAreRefused(t *testing.T) {
	s := newSite(t)
	good := s.login(t)
	raw, err := base64.RawURLEncoding.DecodeString(good)
	must(t, err)
	for name, text := range map[string]string{
		"padding":                 good + "=",
		"more padding":            good + "==",
		"line feed behind":        good + "\n",
		"line feed inside":        good[:32] + "\n" + good[32:],
		"line feed for a letter":  good[:32] + "\n" + good[33:],
		"return for a letter":     good[:63] + "\r",
		"line feeds for four":     good[:60] + "\r\n\r\n",
		"four more in front":      "AAAA" + good,
		"four more behind":        good + "AAAA",
		"one less":                good[:63],
		"four less":               good[:60],
		"a third":                 good[:21],
		"twice":                   good + good,
		"mac alone":               good[48:],
		"body alone":              good[:48],
		"quoted once":             `"` + good,
		"percent":                 good[:60] + "%3D" + good[63:],
		"NUL":                     good[:63] + "\x00",
		"not UTF-8":               good[:63] + "\xff",
		"zeros":                   strings.Repeat("A", 64),
		"zero mac":                base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw[:36]), make([]byte, 12)...)),
		"standard base64 for url": strings.Repeat("-_", 32),
		"upper case":              strings.ToUpper(good),
		"very long":               strings.Repeat(good, 1000),
	} {
		// Nothing of a good one may be left over that completes a short one.
		if _, err := s.Acquire(good); err != nil {
			t.Fatal("the good one:", err)
		}
		s.refuses(t, name, text)
	}
	// A space around a cookie's value is none of it, around a token it is.
	for _, text := range []string{" " + good, good + " ", good[:63] + " "} {
		_, err := s.Acquire(text)
		wantError(t, err, pazzo.ErrToken)
	}
	if _, err := s.Acquire(good); err != nil {
		t.Fatal("the good one:", err)
	}
}

// A wrong secret is one that a stolen key could sign, a generation to come is what
// a failover may leave behind.
func TestSignedTokenNeedsTheSecretAndAGenerationThatExists(t *testing.T) {
	s := newSite(t)
	s.put(t, goldenHandle(), goldenSecret())
	wrong := goldenSecret()
	wrong[15] ^= 1
	for name, token := range map[string]string{
		"wrong secret":     sealed(t, appKey, goldenHandle(), 1, wrong),
		"generation above": sealed(t, appKey, goldenHandle(), 2, goldenSecret()),
		"generation zero":  sealed(t, appKey, goldenHandle(), 0, goldenSecret()),
		"unknown handle":   sealed(t, appKey, record.Handle{1}, 1, goldenSecret()),
	} {
		ctx := s.context(t, token)
		_, found, err := pazzo.Key[bool]("made").Get(ctx)
		if found || err != nil {
			t.Errorf("%s: found %v, error %v", name, found, err)
		}
	}
	ctx := s.context(t, sealed(t, appKey, goldenHandle(), 1, goldenSecret()))
	_, found, err := pazzo.Key[bool]("made").Get(ctx)
	must(t, err)
	equal(t, "found with the right one", found, true)
}

func TestShortKeyNeedsInsecureShortKeyAndIsLoud(t *testing.T) {
	_, err := pazzo.New(newSite(t).store, &pazzo.Options{SecretKeys: []string{"short"}})
	wantError(t, err, pazzo.ErrOptions)
	s := newSite(t, withKeys("short"), func(o *pazzo.Options) { o.InsecureShortKey = true })
	contains(t, s.log.String(), "level=WARN", "INSECURE", "InsecureShortKey")
	ctx := s.context(t, s.login(t))
	_, found, err := pazzo.Key[bool]("made").Get(ctx)
	must(t, err)
	equal(t, "found", found, true)
	if strings.Contains(s.log.String(), "=short") {
		t.Error("the log shows the key")
	}
}

// mangle returns a text that is like a token in some ways.
func mangle(random *rand.Rand, good string) string {
	text := []byte(good)
	switch random.IntN(6) {
	case 0: // letters changed
		for range 1 + random.IntN(4) {
			text[random.IntN(len(text))] = byte(random.Uint32())
		}
	case 1: // another length
		text = text[:random.IntN(len(text))]
	case 2: // base64 of nothing known
		raw := make([]byte, 48)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		text = base64.RawURLEncoding.AppendEncode(nil, raw)
	case 3: // anything
		text = make([]byte, random.IntN(200))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
	case 4: // a body that is good, a mac that is not
		raw := make([]byte, 12)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		text = base64.RawURLEncoding.AppendEncode(text[:48], raw)
	case 5: // something put in
		at := random.IntN(len(text))
		text = append(text[:at], append([]byte{byte(random.Uint32())}, text[at:]...)...)
	}
	return string(text)
}

func nightly() bool { return os.Getenv("PAZZO_NIGHTLY") == "1" }

func TestAMillionBadCookiesAskNoStoreAndKeepNoMemory(t *testing.T) {
	n := 50_000
	if nightly() {
		n = 1_000_000
	}
	s := newSite(t, withKeys(otherKey, appKey))
	good := s.login(t)
	random := rand.New(rand.NewPCG(1, 2))
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, found, err := pazzo.Key[bool]("made").Get(r.Context()); found || err != nil {
			t.Errorf("cookie %q: found %v, error %v", r.Header["Cookie"], found, err)
		}
	}))
	r, err := http.NewRequest("GET", "/", nil)
	must(t, err)
	line := make([]string, 1)
	r.Header["Cookie"] = line
	serve := func(n int) {
		for range n {
			bad := mangle(random, good)
			if strings.Trim(bad, " \t;") == good {
				continue // a cookie like that has the token all right
			}
			line[0] = cookieName + "=" + bad
			w := discard{}
			h.ServeHTTP(w, r)
			if len(w["Set-Cookie"]) > 0 {
				t.Fatalf("cookie %q: Set-Cookie is %q", bad, w["Set-Cookie"])
			}
		}
	}
	serve(1000)
	before := heap()
	s.store.costs(t, 0, func() { serve(n) })
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes in %d requests", grown, n)
	}
	t.Logf("%d bad cookies", n)
}

// discard is a ResponseWriter that keeps nothing but the header.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestBadCookiesCostTheSameFewAllocationsHoweverMany(t *testing.T) {
	s := newSite(t)
	forged := cookieName + "=" + strings.Repeat("A", 64)
	allocations := func(line string) float64 {
		h := s.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r, err := http.NewRequest("GET", "/", nil)
		must(t, err)
		r.Header["Cookie"] = []string{line}
		w := discard{}
		return testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) })
	}
	none := allocations("a=b")
	if none > 12 {
		t.Errorf("%v allocations without a cookie of ours", none)
	}
	// The race detector has pools drop a part of what they are given.
	if n := allocations(forged); n > none+6 {
		t.Errorf("%v allocations for a forged cookie, %v without", n, none)
	}
	if raceEnabled {
		return
	}
	if n := allocations(strings.Repeat(forged+"; ", 1000)); n > none+2 {
		t.Errorf("%v allocations for 1,000 forged cookies, %v without", n, none)
	}
	if n := allocations(cookieName + "=" + strings.Repeat("A", 1<<20)); n > none+2 {
		t.Errorf("%v allocations for a long cookie, %v without", n, none)
	}
}

// goldenToken makes a session whose token is the same in each of a fuzzer's
// processes.
func goldenToken(t testing.TB, s *site) string {
	s.put(t, goldenHandle(), goldenSecret())
	return sealed(t, appKey, goldenHandle(), 1, goldenSecret())
}

func FuzzToken(f *testing.F) {
	s := newSite(f)
	good := goldenToken(f, s)
	f.Add(good)
	f.Add(strings.Repeat("A", 64))
	f.Add(good[:63] + "\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s.store.costs(t, 0, func() {
			_, err := s.Acquire(text)
			if ours := text == "" || text == good; (err == nil) != ours {
				t.Errorf("token %q: error is %v", text, err)
			}
		})
	})
}

func FuzzCookieHeader(f *testing.F) {
	s := newSite(f)
	good := goldenToken(f, s)
	f.Add(cookieName + "=" + good)
	f.Add("a=b; " + cookieName + `="` + good + `" ;;=; ` + cookieName)
	f.Add(cookieName + "=" + strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, line string) {
		found, most := false, int64(0)
		if strings.Contains(line, good) {
			most = 1
		}
		calls := s.store.during(func() {
			noCookie(t, s.serve(func(w http.ResponseWriter, r *http.Request) {
				var err error
				_, found, err = pazzo.Key[bool]("made").Get(r.Context())
				must(t, err)
			}, cookies(line)))
		})
		if calls > most || found && calls == 0 {
			t.Errorf("cookie %q: %d calls of the store, found %v", line, calls, found)
		}
	})
}
