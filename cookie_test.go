package pazzo_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

const made pazzo.Key[bool] = "made"

// writePage makes a session if there is none.
func writePage(w http.ResponseWriter, r *http.Request) {
	if err := made.Set(r.Context(), true); err != nil {
		http.Error(w, err.Error(), pazzo.StatusCode(err))
	}
}

// readPage reads one field.
func readPage(w http.ResponseWriter, r *http.Request) {
	_, found, err := made.Get(r.Context())
	switch {
	case err != nil:
		http.Error(w, err.Error(), pazzo.StatusCode(err))
	case found:
		w.Header().Set("Found", "yes")
	}
}

// destroyPage logs out.
func destroyPage(w http.ResponseWriter, r *http.Request) {
	if err := pazzo.FromContext(r.Context()).Destroy(r.Context()); err != nil {
		http.Error(w, err.Error(), pazzo.StatusCode(err))
	}
}

func unusedPage(http.ResponseWriter, *http.Request) {}

// bare is a Set-Cookie header without its value.
func bare(line string) string {
	name, rest, _ := strings.Cut(line, "=")
	_, attributes, _ := strings.Cut(rest, ";")
	return name + ";" + attributes
}

func TestCookieAttributes(t *testing.T) {
	for name, test := range map[string]struct {
		cookie   pazzo.Cookie
		insecure bool
		want     string
	}{
		"defaults":        {pazzo.Cookie{}, false, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax"},
		"domain":          {pazzo.Cookie{Domain: "app.example"}, false, "__Secure-session; Path=/; Domain=app.example; HttpOnly; Secure; SameSite=Lax"},
		"path":            {pazzo.Cookie{Path: "/app"}, false, "__Secure-session; Path=/app; HttpOnly; Secure; SameSite=Lax"},
		"strict":          {pazzo.Cookie{SameSite: http.SameSiteStrictMode}, false, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Strict"},
		"none":            {pazzo.Cookie{SameSite: http.SameSiteNoneMode}, false, "__Host-session; Path=/; HttpOnly; Secure; SameSite=None"},
		"partitioned":     {pazzo.Cookie{Partitioned: true, SameSite: http.SameSiteNoneMode}, false, "__Host-session; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"},
		"Django's name":   {pazzo.Cookie{Name: "sessionid"}, false, "sessionid; Path=/; HttpOnly; Secure; SameSite=Lax"},
		"named, a domain": {pazzo.Cookie{Name: "s", Domain: "app.example"}, false, "s; Path=/; Domain=app.example; HttpOnly; Secure; SameSite=Lax"},
		"persistent":      {pazzo.Cookie{Persistent: true}, false, "__Host-session; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		"insecure":        {pazzo.Cookie{}, true, "session; Path=/; HttpOnly; SameSite=Lax"},
		"insecure, named": {pazzo.Cookie{Name: "sessionid", Domain: "app.example"}, true, "sessionid; Path=/; Domain=app.example; HttpOnly; SameSite=Lax"},
	} {
		s := newSite(t, func(o *pazzo.Options) { o.Cookie, o.InsecureHTTP = test.cookie, test.insecure })
		set := s.serve(writePage)
		token := oneCookie(t, set)
		equal(t, name, bare(setCookies(set)[0]), test.want)
		found := s.serve(readPage, cookies(token.Name+"="+token.Value))
		equal(t, name+": found with it", found.Header.Get("Found"), "yes")

		// Only a cookie with the same attributes deletes it.
		gone := s.serve(destroyPage, cookies(token.Name+"="+token.Value))
		deleted := strings.Replace(test.want, "; Max-Age=86400", "", 1)
		deleted = strings.Replace(deleted, "; HttpOnly", "; Max-Age=0; HttpOnly", 1)
		equal(t, name+": deleted", bare(setCookies(gone)[0]), deleted)
		equal(t, name+": value", oneCookie(t, gone).Value, "")
	}
}

func TestInsecureHTTPIsLoudInTheLog(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.InsecureHTTP = true })
	contains(t, s.log.String(), "level=WARN", "INSECURE", "InsecureHTTP", "development")
	if log := newSite(t).log.String(); strings.Contains(log, "INSECURE") {
		t.Errorf("a secure site logs %q", log)
	}
}

func TestMaxAgeFollowsTheAbsoluteEnd(t *testing.T) {
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		timeouts pazzo.Timeouts
		do       func(ctx context.Context, s *pazzo.Session) error
		after    time.Duration // before do
		want     int           // seconds; 0: until the browser closes
	}{
		"new":             {pazzo.AAL2, nil, 0, 86_400},
		"over 400 days":   {pazzo.Timeouts{Idle: 10 * day, Absolute: 500 * day}, nil, 0, 400 * 86_400},
		"renewed later":   {pazzo.AAL2, func(ctx context.Context, s *pazzo.Session) error { return s.Renew(ctx) }, 1800 * time.Second, 86_400 - 1800},
		"logged in later": {pazzo.AAL2, func(ctx context.Context, s *pazzo.Session) error { return s.Authenticate(ctx, "ann") }, 1800 * time.Second, 86_400},
		"remembered": {pazzo.AAL2, func(ctx context.Context, s *pazzo.Session) error {
			return s.SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.Timeouts{Idle: day, Absolute: 30 * day}})
		}, 1800 * time.Second, 30 * 86_400},
		"until the browser closes": {pazzo.AAL2, func(ctx context.Context, s *pazzo.Session) error {
			return s.SetExpiry(ctx, pazzo.Expiry{UntilBrowserClose: true})
		}, 0, 0},
		"less than a second": {pazzo.Timeouts{Idle: time.Second, Absolute: time.Second}, func(ctx context.Context, s *pazzo.Session) error {
			return s.Renew(ctx)
		}, 700 * time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(o *pazzo.Options) { o.Cookie.Persistent, o.Timeouts = true, test.timeouts })
				response := s.serve(writePage)
				if test.do != nil {
					token := oneCookie(t, response)
					time.Sleep(test.after)
					response = s.serve(func(w http.ResponseWriter, r *http.Request) {
						must(t, test.do(r.Context(), pazzo.FromContext(r.Context())))
					}, cookies(token.Name+"="+token.Value))
				}
				equal(t, "Max-Age", oneCookie(t, response).MaxAge, test.want)
				s.store.Close()
			})
		})
	}
}

// A cookie that ends with the browser stays one, whoever renews it.
func TestUntilBrowserCloseStays(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.Cookie.Persistent = true })
	token := oneCookie(t, s.serve(func(w http.ResponseWriter, r *http.Request) {
		must(t, pazzo.FromContext(r.Context()).SetExpiry(r.Context(), pazzo.Expiry{UntilBrowserClose: true}))
	}))
	again := oneCookie(t, s.serve(func(w http.ResponseWriter, r *http.Request) {
		must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
	}, cookies(token.Name+"="+token.Value)))
	equal(t, "Max-Age", again.MaxAge, 0)
}

func TestSeveralCookiesOfOurName(t *testing.T) {
	s := newSite(t)
	handle := record.Handle{1}
	s.put(t, handle, goldenSecret())
	good := cookieName + "=" + sealed(t, appKey, handle, 1, goldenSecret())
	dead := func(n byte) string {
		return cookieName + "=" + sealed(t, appKey, record.Handle{2, n}, 1, goldenSecret())
	}
	wrong := cookieName + "=" + sealed(t, appKey, handle, 1, record.Secret{})
	forged := cookieName + "=" + sealed(t, otherKey, handle, 1, goldenSecret())
	lines := func(lines ...string) []string { return lines }
	for name, test := range map[string]struct {
		lines []string
		found string
		calls int64
	}{
		"one":                        {lines(good), "yes", 1},
		"among others":               {lines("a=b; " + good + "; c=d"), "yes", 1},
		"no space":                   {lines("a=b;" + good + ";c=d"), "yes", 1},
		"quoted":                     {lines(strings.Replace(good, "=", `="`, 1) + `"`), "yes", 1},
		"spaces around":              {lines(strings.Replace(good, "=", " = ", 1) + " \t"), "yes", 1},
		"two headers":                {lines("a=b", good), "yes", 1},
		"two headers, ours in both":  {lines(dead(1), good), "yes", 2},
		"live first":                 {lines(good + "; " + dead(1)), "yes", 1},
		"dead first":                 {lines(dead(1) + "; " + good), "yes", 2},
		"wrong secret first":         {lines(wrong + "; " + good), "yes", 2},
		"third":                      {lines(dead(1) + "; " + dead(2) + "; " + good), "yes", 3},
		"fourth":                     {lines(dead(1) + "; " + dead(2) + "; " + dead(3) + "; " + good), "", 3},
		"duplicates do not count":    {lines(dead(1) + "; " + dead(1) + "; " + dead(1) + "; " + good), "yes", 2},
		"forged ones do not count":   {lines(strings.Repeat(forged+"; "+cookieName+"=; "+cookieName+"; ", 50) + good), "yes", 1},
		"another case":               {lines(strings.Replace(good, "session", "SESSION", 1)), "", 0},
		"another prefix":             {lines(strings.TrimPrefix(good, "__Host-")), "", 0},
		"longer name":                {lines("x" + good), "", 0},
		"only in another's value":    {lines("a=b " + good), "", 0},
		"none":                       {nil, "", 0},
		"empty":                      {lines(""), "", 0},
		"nothing but a name":         {lines(cookieName), "", 0},
		"nothing but an equals sign": {lines(cookieName + "="), "", 0},
	} {
		s.store.costs(t, test.calls, func() {
			response := s.serve(readPage, cookies(test.lines...))
			equal(t, name+": found", response.Header.Get("Found"), test.found)
			noCookie(t, response)
		})
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// The first live one is the request's session for good: when it ends, the request
// does not go on in another.
func TestOtherCookiesAreNotTriedAfterALiveOne(t *testing.T) {
	s := newSite(t)
	first, second := s.login(t), s.login(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		must(t, pazzo.FromContext(r.Context()).Destroy(r.Context()))
		_, found, err := made.Get(r.Context())
		must(t, err)
		equal(t, "found after destroying the first", found, false)
	}, cookies(cookieName+"="+first+"; "+cookieName+"="+second))
	_, found, err := made.Get(s.context(t, second))
	must(t, err)
	equal(t, "the second lives", found, true)
}

func TestNameAndValueAreAtMost4096Bytes(t *testing.T) {
	_, err := pazzo.New(newSite(t).store, &pazzo.Options{SecretKeys: []string{appKey}, Cookie: pazzo.Cookie{Name: strings.Repeat("n", 4096-64+1)}})
	wantError(t, err, pazzo.ErrOptions)
	contains(t, err.Error(), "Cookie.Name", "4032")
	s := newSite(t, func(o *pazzo.Options) { o.Cookie.Name = strings.Repeat("n", 4096-64) })
	c := oneCookie(t, s.serve(writePage))
	equal(t, "bytes", len(c.Name)+len(c.Value), 4096)
}

func TestAResponseHasOneCookieOfOurs(t *testing.T) {
	s := newSite(t)
	var token string
	response := s.serve(func(w http.ResponseWriter, r *http.Request) {
		ctx, session := r.Context(), pazzo.FromContext(r.Context())
		must(t, made.Set(ctx, true))
		must(t, session.Renew(ctx))
		must(t, session.Authenticate(ctx, "ann"))
		must(t, session.Destroy(ctx))
		must(t, made.Set(ctx, true))
		must(t, session.Authenticate(ctx, "ben"))
		must(t, session.SetExpiry(ctx, pazzo.Expiry{}))
		token = session.Token()
	})
	c := oneCookie(t, response)
	equal(t, "the last token", c.Value, token)
	equal(t, "found with it", s.serve(readPage, cookies(cookieName+"="+c.Value)).Header.Get("Found"), "yes")
}

// Other cookies of the response, and others' headers, stay as they are.
func TestAppsOwnCookiesStay(t *testing.T) {
	response := newSite(t).serve(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark"})
		writePage(w, r)
	})
	if got := response.Cookies(); len(got) != 2 || got[0].Name != "theme" || got[1].Name != cookieName {
		t.Errorf("cookies are %v", got)
	}
}

func TestVaryAndCacheControl(t *testing.T) {
	s := newSite(t)
	token := cookies(cookieName + "=" + s.login(t))
	// with has h run after response headers are set.
	with := func(name, value string, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(name, value)
			h(w, r)
		}
	}
	cache := "public, max-age=60"
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		edit    func(*http.Request)
		vary    []string
		cache   string
	}{
		"unused":             {unusedPage, token, nil, ""},
		"unused, cached":     {with("Cache-Control", cache, unusedPage), token, nil, cache},
		"read":               {readPage, token, []string{"Cookie"}, ""},
		"read, cached":       {with("Cache-Control", cache, readPage), token, []string{"Cookie"}, cache},
		"read without":       {readPage, navigate, []string{"Cookie"}, ""},
		"written":            {writePage, token, []string{"Cookie"}, ""},
		"made":               {writePage, navigate, []string{"Cookie"}, "no-store"},
		"made, cached":       {with("Cache-Control", cache, writePage), navigate, []string{"Cookie"}, "no-store"},
		"merged":             {with("Vary", "Accept-Encoding", readPage), token, []string{"Accept-Encoding", "Cookie"}, ""},
		"there already":      {with("Vary", "Accept, cookie", readPage), token, []string{"Accept, cookie"}, ""},
		"everything already": {with("Vary", "*", readPage), token, []string{"*"}, ""},
		"destroyed":          {destroyPage, cookies(cookieName + "=" + s.login(t)), []string{"Cookie"}, "no-store"},
	} {
		response := s.serve(test.handler, test.edit)
		if got := response.Header["Vary"]; !slices.Equal(got, test.vary) {
			t.Errorf("%s: Vary is %q, want %q", name, got, test.vary)
		}
		equal(t, name+": Cache-Control", response.Header.Get("Cache-Control"), test.cache)
	}
}

func TestNothingIsSetWithoutASession(t *testing.T) {
	s := newSite(t)
	destroyed := s.login(t)
	s.serve(destroyPage, cookies(cookieName+"="+destroyed))
	notices := pazzo.Flash[string]("notices")
	for name, edit := range map[string]func(*http.Request){
		"no cookie":        navigate,
		"forged":           cookies(cookieName + "=" + strings.Repeat("A", 64)),
		"unknown handle":   cookies(cookieName + "=" + sealed(t, appKey, record.Handle{9}, 1, goldenSecret())),
		"of a destroyed":   cookies(cookieName + "=" + destroyed),
		"foreign, as text": cookies(cookieName + "=chosen-by-an-attacker"),
	} {
		response := s.serve(func(w http.ResponseWriter, r *http.Request) {
			ctx, session := r.Context(), pazzo.FromContext(r.Context())
			_, found, err := made.Get(ctx)
			if found || err != nil {
				t.Errorf("%s: found %v, error %v", name, found, err)
			}
			if _, err := session.All(ctx); err != nil {
				t.Errorf("%s: All: %v", name, err)
			}
			if user, err := session.User(ctx); user != "" || err != nil {
				t.Errorf("%s: user %q, error %v", name, user, err)
			}
			if list, err := notices.Get(ctx); list != nil || err != nil {
				t.Errorf("%s: list %q, error %v", name, list, err)
			}
		}, edit)
		if got := setCookies(response); got != nil {
			t.Errorf("%s: Set-Cookie is %q", name, got)
		}
	}
}

// A write that would leave nothing makes no session either.
func TestWritesThatKeepNothingMakeNoSession(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.CreateOnNavigation = true })
	for name, edit := range map[string]func(*http.Request){"navigation": navigate, "fetch": fetch} {
		s.store.costs(t, 0, func() {
			response := s.serve(func(w http.ResponseWriter, r *http.Request) {
				ctx, session := r.Context(), pazzo.FromContext(r.Context())
				must(t, made.Delete(ctx))
				_, found, err := made.Pop(ctx)
				if found || err != nil {
					t.Errorf("%s: Pop found %v, error %v", name, found, err)
				}
				_, err = pazzo.Flash[int]("list").Drain(ctx)
				must(t, err)
				must(t, session.Clear(ctx))
				must(t, session.Renew(ctx))
				must(t, session.Destroy(ctx))
				swapped, err := made.CompareAndSet(ctx, false, true)
				if swapped || err != nil {
					t.Errorf("%s: swapped %v, error %v", name, swapped, err)
				}
			}, edit)
			noCookie(t, response)
		})
	}
}

func TestAnUnknownTokenIsNeverAdopted(t *testing.T) {
	s := newSite(t)
	chosen := sealed(t, appKey, record.Handle{9}, 1, goldenSecret())
	c := oneCookie(t, s.serve(writePage, cookies(cookieName+"="+chosen)))
	if c.Value[:22] == chosen[:22] {
		t.Error("the new session has the handle of the unknown token")
	}
}

func TestTokenIsNeverInAHeaderButSetCookieNorInTheBodyNorInTheLog(t *testing.T) {
	s := newSite(t)
	response := s.serve(func(w http.ResponseWriter, r *http.Request) {
		must(t, pazzo.FromContext(r.Context()).Authenticate(r.Context(), "ann"))
		http.Redirect(w, r, "/next", http.StatusSeeOther)
	})
	token := oneCookie(t, response).Value
	response.Header.Del("Set-Cookie")
	var dump strings.Builder
	must(t, response.Write(&dump))
	for what, text := range map[string]string{"response": dump.String(), "log": s.log.String()} {
		for _, secret := range []string{token, token[28:48], token[48:]} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s shows the token:\n%s", what, text)
			}
		}
	}
	contains(t, dump.String(), "Location: /next")
}
