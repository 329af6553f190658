package pazzo_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// One test for each requirement that docs/security.md lists: OWASP ASVS 5.0 by
// number, the OWASP session management cheat sheet, NIST SP 800-63B-4, and
// rfc6265bis. What they touch in passing is tested in depth elsewhere.

func TestASVS_7_1_1_TimeoutsByDefault(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	info, _ := b.info()
	equal(t, "idle timeout", info.Idle, time.Hour)
	equal(t, "absolute timeout", info.Deadline.Sub(info.AuthTime), 24*time.Hour)
}

func TestASVS_7_1_2_ConcurrentSessionsAreLimited(t *testing.T) {
	for _, whenFull := range []pazzo.WhenFull{pazzo.EvictOldest, pazzo.Refuse} {
		s := newSite(t, func(o *pazzo.Options) { o.MaxPerUser, o.WhenFull = 2, whenFull })
		logins(t, s, "ann", 2)
		err := newBrowser(t, s).login("ann")
		if whenFull == pazzo.Refuse {
			wantError(t, err, pazzo.ErrTooManySessions)
		} else {
			must(t, err)
		}
		infos, err := s.Sessions(t.Context(), "ann")
		must(t, err)
		equal(t, "sessions", len(infos), 2)
	}
}

func TestASVS_7_2_1_TokensAreVerifiedByTheBackend(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	raw, err := base64.RawURLEncoding.DecodeString(b.cookie)
	must(t, err)
	raw[0] ^= 1
	forged := &browser{t: t, site: s, cookie: base64.RawURLEncoding.EncodeToString(raw)}
	s.store.costs(t, 0, func() { forged.findsNothing() })
	_, err = s.Revoke(t.Context(), b.handle()) // a good mac is not enough: the record decides
	must(t, err)
	b.findsNothing()
}

func TestASVS_7_2_2_TokensAreDynamic(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	seen := map[string]bool{b.cookie: true}
	for range 3 {
		must(t, b.login("ann"))
		if seen[b.cookie] {
			t.Error("a login issued a token of before")
		}
		seen[b.cookie] = true
	}
}

func TestASVS_7_2_3_TokensAreUniqueAndRandom(t *testing.T) {
	s := newSite(t)
	const n = 2000
	handles, secrets := make(map[string]bool), make(map[string]bool)
	ones := make([]int, 8*32) // of each bit of handle and secret
	for range n {
		raw, err := base64.RawURLEncoding.DecodeString(s.login(t))
		must(t, err)
		handle, secret := raw[:16], raw[20:36] // 128 bits each
		handles[string(handle)], secrets[string(secret)] = true, true
		for i, c := range append(append([]byte(nil), handle...), secret...) {
			for bit := range 8 {
				ones[8*i+bit] += int(c >> bit & 1)
			}
		}
	}
	equal(t, "different handles", len(handles), n)
	equal(t, "different secrets", len(secrets), n)
	for i, count := range ones { // seven standard deviations
		if count < n/2-157 || count > n/2+157 {
			t.Errorf("bit %d is 1 in %d of %d tokens", i, count, n)
		}
	}
}

func TestASVS_7_2_4_NewTokenOnAuthentication(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	_, err := b.add()
	must(t, err)
	for _, user := range []string{"ann", "ann", "bob"} { // login, re-authentication, change of user
		before := b.other()
		must(t, b.login(user))
		if b.cookie == before.cookie {
			t.Error("the token is that of before")
		}
		before.findsNothing()
	}
}

func TestASVS_7_3_1_InactivityTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logins(t, newSite(t), "ann", 1)[0]
		time.Sleep(time.Hour)
		b.findsNothing()
	})
}

func TestASVS_7_3_2_AbsoluteLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Timeouts = pazzo.Timeouts{Idle: 30 * time.Minute, Absolute: time.Hour} })
		b := logins(t, s, "ann", 1)[0]
		for range 3 {
			time.Sleep(19 * time.Minute)
			isAlive(t, b, "ann")
		}
		time.Sleep(4 * time.Minute)
		b.findsNothing()
	})
}

func TestASVS_7_4_1_NoUseAfterLogoutOrExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		list := logins(t, s, "ann", 2)
		stolen := list[0].other()
		list[0].navigate(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		stolen.findsNothing()
		_, err := stolen.add()
		wantError(t, err, pazzo.ErrGone)
		time.Sleep(time.Hour) // the tombstone is gone, and the other has expired
		stolen.findsNothing()
		list[1].findsNothing()
	})
}

func TestASVS_7_4_2_DisablingAnAccountEndsItsSessions(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 3)
	must(t, s.Block(t.Context(), "ann", 0))
	for _, b := range list {
		isEnded(t, b)
	}
	wantError(t, newBrowser(t, s).login("ann"), pazzo.ErrBlocked)
}

// TestASVS_7_4_2_ALoginThatTheBlockOvertakesIsUndone has the user be blocked, or
// the list be lost, when the login has taken effect and is not yet confirmed.
func TestASVS_7_4_2_ALoginThatTheBlockOvertakesIsUndone(t *testing.T) {
	for _, c := range []struct {
		step record.IndexStep
		want error
	}{
		{record.IndexStep{Kind: record.Block, Duration: 60_000}, pazzo.ErrBlocked},
		{record.IndexStep{Kind: record.Unlist}, pazzo.ErrGone},
	} {
		s := newSite(t)
		b := newBrowser(t, s)
		_, err := b.add()
		must(t, err)
		c.step.Handles = []record.Handle{b.handle()}
		s.store.after = func(batch *record.Batch) {
			if batch.Ops[0].Kind == record.OpAuthenticate {
				must(t, index(t, s, "ann", c.step))
			}
		}
		wantError(t, b.login("ann"), c.want)
		s.store.after = nil
		b.findsNothing()
		_, err = b.add()
		wantError(t, err, pazzo.ErrGone)
	}
}

func TestASVS_7_4_3_EndAllOthers(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 3)
	list[2].fetch(func(ctx context.Context, session *pazzo.Session) { // as after a change of password
		must(t, session.Renew(ctx))
		own, _, err := session.Handle(ctx)
		must(t, err)
		n, err := s.RevokeAll(ctx, "ann", own)
		must(t, err)
		equal(t, "ended", n, 2)
	})
	isEnded(t, list[0])
	isEnded(t, list[1])
	isAlive(t, list[2], "ann")
}

// TestASVS_7_4_5_AnAdminEndsSessions has one user's sessions be ended, then
// everyone's, by a change of the key.
func TestASVS_7_4_5_AnAdminEndsSessions(t *testing.T) {
	s := newSite(t)
	ann, bob := logins(t, s, "ann", 1)[0], logins(t, s, "bob", 1)[0]
	_, err := s.RevokeAll(t.Context(), "ann")
	must(t, err)
	isEnded(t, ann)
	isAlive(t, bob, "bob")
	changed := newSiteOn(t, s.store, withKeys(otherKey))
	(&browser{t: t, site: changed, cookie: bob.cookie}).findsNothing()
}

func TestASVS_7_5_1_AuthTimeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := logins(t, s, "ann", 1)[0]
		for range 2 {
			time.Sleep(20 * time.Minute)
			b.tally() // activity is no authentication
		}
		b.fetch(func(ctx context.Context, s *pazzo.Session) {
			must(t, s.Renew(ctx)) // nor is a renewal
			auth, err := s.AuthTime(ctx)
			must(t, err)
			equal(t, "time since the authentication", time.Since(auth).Round(time.Second), 40*time.Minute)
			must(t, s.Authenticate(ctx, "ann"))
			auth, err = s.AuthTime(ctx)
			must(t, err)
			equal(t, "time since the authentication", time.Since(auth), 0)
		})
	})
}

func TestASVS_7_5_2_UsersListAndEndTheirSessions(t *testing.T) {
	s := newSite(t)
	list := logins(t, s, "ann", 2)
	infos, err := s.Sessions(t.Context(), "ann")
	must(t, err)
	for i, info := range infos {
		equal(t, "handle", info.Handle, list[i].handle())
		found, err := s.Revoke(t.Context(), info.Handle)
		must(t, err)
		equal(t, "found", found, true)
		isEnded(t, list[i])
	}
}

// issued returns the cookie that a first write sets.
func issued(t *testing.T, change ...func(*pazzo.Options)) *http.Cookie {
	t.Helper()
	return oneCookie(t, newBrowser(t, newSite(t, change...)).navigate(func(ctx context.Context, _ *pazzo.Session) {
		must(t, memo.Set(ctx, "x"))
	}))
}

func TestASVS_3_3_1_SecureAndPrefix(t *testing.T) {
	c := issued(t)
	equal(t, "Secure", c.Secure, true)
	equal(t, "name", c.Name, "__Host-session")
	shared := issued(t, func(o *pazzo.Options) { o.Cookie.Domain = "app.example" })
	equal(t, "Secure", shared.Secure, true)
	equal(t, "name", shared.Name, "__Secure-session")
}

func TestASVS_3_3_2_SameSite(t *testing.T) {
	equal(t, "SameSite", issued(t).SameSite, http.SameSiteLaxMode)
	strict := issued(t, func(o *pazzo.Options) { o.Cookie.SameSite = http.SameSiteStrictMode })
	equal(t, "SameSite", strict.SameSite, http.SameSiteStrictMode)
}

func TestASVS_3_3_3_HostPrefixUnlessShared(t *testing.T) {
	c := issued(t)
	equal(t, "name", c.Name, "__Host-session")
	equal(t, "Domain", c.Domain, "")
	equal(t, "Path", c.Path, "/")
	for _, wrong := range []pazzo.Cookie{
		{Name: "__Host-session", Domain: "app.example"},
		{Name: "__host-session", Path: "/app"},
	} {
		_, err := pazzo.New(newSite(t).store, &pazzo.Options{SecretKeys: []string{appKey}, Cookie: wrong})
		wantError(t, err, pazzo.ErrOptions)
	}
}

func TestASVS_3_3_4_HttpOnlyAndOnlyBySetCookie(t *testing.T) {
	s := newSite(t)
	var token string
	r := s.serve(func(w http.ResponseWriter, r *http.Request) {
		session := pazzo.FromContext(r.Context())
		must(t, session.Authenticate(r.Context(), "ann"))
		token = session.Token()
		fmt.Fprintf(w, "%v %+v", session, session) // a session does not print its token
	}, navigate)
	c := oneCookie(t, r)
	equal(t, "HttpOnly", c.HttpOnly, true)
	equal(t, "token", c.Value, token)
	for name, lines := range r.Header {
		if name != "Set-Cookie" && strings.Contains(strings.Join(lines, "\n"), token) {
			t.Errorf("the header %s has the token", name)
		}
	}
	body := make([]byte, 1<<12)
	n, _ := r.Body.Read(body)
	if strings.Contains(string(body[:n]), token) {
		t.Error("the body has the token")
	}
}

func TestASVS_3_3_5_NameAndValueWithin4096Bytes(t *testing.T) {
	longest := 4096 - 64
	c := issued(t, func(o *pazzo.Options) { o.Cookie.Name = strings.Repeat("n", longest) })
	equal(t, "name and value", len(c.Name)+len(c.Value), 4096)
	_, err := pazzo.New(newSite(t).store, &pazzo.Options{
		SecretKeys: []string{appKey},
		Cookie:     pazzo.Cookie{Name: strings.Repeat("n", longest+1)},
	})
	wantError(t, err, pazzo.ErrOptions)
}

func TestASVS_14_2_1_NoTokenInAURL(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	s.store.costs(t, 0, func() {
		s.serve(func(_ http.ResponseWriter, r *http.Request) {
			user, err := pazzo.FromContext(r.Context()).User(r.Context())
			must(t, err)
			equal(t, "user by a token in the URL", user, "")
		}, navigate, func(r *http.Request) {
			r.URL.RawQuery = cookieName + "=" + b.cookie + "&session=" + b.cookie
			r.URL.Path = "/;" + cookieName + "=" + b.cookie
			r.Header.Set("Authorization", "Bearer "+b.cookie)
		})
	})
}

func TestASVS_14_3_1_ClearSiteDataAtLogout(t *testing.T) {
	for _, on := range []bool{true, false} {
		s := newSite(t, func(o *pazzo.Options) { o.ClearSiteData = on })
		want := ""
		if on {
			want = `"cache", "storage"`
		}
		b := logins(t, s, "ann", 2)[0]
		r := b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, memo.Set(ctx, "x")) })
		equal(t, "Clear-Site-Data before", r.Header.Get("Clear-Site-Data"), "")
		r = b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
		equal(t, "Clear-Site-Data at logout", r.Header.Get("Clear-Site-Data"), want)
		b = logins(t, s, "ann", 1)[0]
		r = b.fetch(func(ctx context.Context, s *pazzo.Session) { // a change of user is no logout
			must(t, s.Authenticate(ctx, "bob"))
		})
		equal(t, "Clear-Site-Data at a change of user", r.Header.Get("Clear-Site-Data"), "")
	}
}

func TestASVS_16_2_5_NoTokenInTheLog(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	var tokens []string
	keep := func() { tokens = append(tokens, b.cookie) }
	_, err := b.add()
	must(t, err)
	keep()
	must(t, b.login("ann"))
	keep()
	old := b.other()
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })
	keep()
	_, err = old.add()
	wantError(t, err, pazzo.ErrSuperseded)
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	log := s.log.String()
	contains(t, log, "session created", "session authenticated", "session renewed", "superseded token refused", "session destroyed")
	for _, token := range tokens {
		raw, _ := base64.RawURLEncoding.DecodeString(token)
		for _, secret := range []string{token, fmt.Sprintf("%x", raw[20:36]), string(raw[20:36])} {
			if strings.Contains(log, secret) {
				t.Error("the log has a token or its secret")
			}
		}
	}
}

func TestOWASP_GenericCookieName(t *testing.T) {
	name := strings.ToLower(issued(t).Name)
	for _, telling := range []string{"pazzo", "go", "php", "sid"} {
		if strings.Contains(name, telling) {
			t.Errorf("the cookie's name %q tells what made it", name)
		}
	}
}

// TestOWASP_MeaninglessID has a token hold nothing of the session, and be of one
// length.
func TestOWASP_MeaninglessID(t *testing.T) {
	s := newSite(t)
	for _, user := range []string{"a", strings.Repeat("long", 100)} {
		b := newBrowser(t, s)
		must(t, b.login(user))
		equal(t, "length of the token", len(b.cookie), 64)
		raw, err := base64.RawURLEncoding.DecodeString(b.cookie)
		must(t, err)
		if len(user) > 1 && strings.Contains(string(raw), user[:4]) {
			t.Error("the token has the user in it")
		}
	}
}

func TestOWASP_StrictMode(t *testing.T) {
	unknown := sealed(t, appKey, record.NewHandle(), 1, record.NewSecret()) // well signed
	for _, token := range []string{unknown, "chosen-by-an-attacker"} {
		s := newSite(t)
		b := &browser{t: t, site: s, cookie: token}
		must(t, b.login("ann"))
		if b.cookie == token || b.handle() == handleOf(token) {
			t.Error("an unknown id was adopted")
		}
	}
}

func TestOWASP_RenewalTimeoutWithSafetyInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		b := r.due(t)
		before := b.other()
		r.rotates(t, b)
		b.tally() // the new token has arrived
		time.Sleep(grace - time.Second)
		isServed(t, before.other(), b.cookie)
		time.Sleep(time.Second)
		before.findsNothing()
	})
}

func TestOWASP_RenewAtAnyPrivilegeChange(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	before := b.other()
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Renew(ctx)) })
	before.findsNothing()
	isAlive(t, b, "ann")
}

func TestOWASP_NoStoreWithSetCookie(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	for _, call := range []func(context.Context, *pazzo.Session) error{addOne, login("ann"), renew, logout} {
		r := b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, call(ctx, s)) })
		oneCookie(t, r)
		equal(t, "Cache-Control", r.Header.Get("Cache-Control"), "no-store")
	}
}

func TestOWASP_LifeCycleIsLoggedByHandle(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	handle := b.handle().String()
	b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	for _, event := range []string{"created", "authenticated", "destroyed"} {
		found := false
		for line := range strings.Lines(s.log.String()) {
			found = found || strings.Contains(line, "session "+event) && strings.Contains(line, handle)
		}
		if !found {
			t.Errorf("the log does not say that %s was %s", handle, event)
		}
	}
}

func TestOWASP_SeveralCookiesOfTheName(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	s.serve(func(_ http.ResponseWriter, r *http.Request) {
		user, err := pazzo.FromContext(r.Context()).User(r.Context())
		must(t, err)
		equal(t, "user", user, "ann")
	}, fetch, cookies(strings.Join([]string{
		cookieName + "=planted",
		cookieName + "=" + sealed(t, appKey, record.NewHandle(), 1, record.NewSecret()),
		cookieName + "=" + b.cookie,
	}, "; ")))
}

func TestNIST_SecretIsMadeByTheHost(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	b.cookie = strings.Repeat("x", 64)
	_, err := b.add()
	must(t, err)
	raw, err := base64.RawURLEncoding.DecodeString(b.cookie)
	must(t, err)
	equal(t, "bytes of handle, generation, secret and mac", len(raw), 16+4+16+12)
}

func TestNIST_InvalidatedAtLogout(t *testing.T) {
	s := newSite(t)
	b := logins(t, s, "ann", 1)[0]
	kept := b.other()
	r := b.fetch(func(ctx context.Context, s *pazzo.Session) { must(t, s.Destroy(ctx)) })
	equal(t, "Max-Age at logout", oneCookie(t, r).MaxAge, -1)
	kept.findsNothing()
}

func TestNIST_SecureHTTPOnlyMinimalHostAndPath(t *testing.T) {
	c := issued(t)
	if !c.Secure || !c.HttpOnly || c.Domain != "" || c.Path != "/" {
		t.Errorf("the cookie is %v", c)
	}
	narrow := issued(t, func(o *pazzo.Options) { o.Cookie.Path = "/page" })
	equal(t, "Path", narrow.Path, "/page")
}

func TestNIST_CookieExpiryIsNotTheEnforcement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(o *pazzo.Options) { o.Cookie.Persistent = true })
		b := newBrowser(t, s)
		r := b.navigate(func(ctx context.Context, s *pazzo.Session) { must(t, s.Authenticate(ctx, "ann")) })
		equal(t, "Max-Age", oneCookie(t, r).MaxAge, 24*3600)
		time.Sleep(time.Hour) // long before the browser drops it
		b.findsNothing()
	})
}

func TestNIST_ActivityResetsTheIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logins(t, newSite(t), "ann", 1)[0]
		before, _ := b.info()
		time.Sleep(50 * time.Minute)
		b.tally()
		time.Sleep(50 * time.Minute)
		isAlive(t, b, "ann")
		after, _ := b.info()
		equal(t, "absolute end", after.Deadline, before.Deadline)
	})
}

func TestNIST_ReauthenticationResetsBothTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logins(t, newSite(t), "ann", 1)[0]
		time.Sleep(50 * time.Minute)
		must(t, b.login("ann"))
		info, _ := b.info()
		equal(t, "time without activity", time.Since(info.Touched), 0)
		equal(t, "time left", time.Until(info.Deadline), 24*time.Hour)
	})
}

func TestNIST_Presets(t *testing.T) {
	const day = 24 * time.Hour
	equal(t, "AAL1", pazzo.AAL1, pazzo.Timeouts{Idle: 30 * day, Absolute: 30 * day})
	equal(t, "AAL2", pazzo.AAL2, pazzo.Timeouts{Idle: time.Hour, Absolute: day})
	equal(t, "AAL3", pazzo.AAL3, pazzo.Timeouts{Idle: 15 * time.Minute, Absolute: day / 2})
	for _, preset := range []pazzo.Timeouts{pazzo.AAL1, pazzo.AAL2, pazzo.AAL3} {
		s := newSite(t, func(o *pazzo.Options) { o.Timeouts = preset })
		info, _ := logins(t, s, "ann", 1)[0].info()
		equal(t, "idle timeout", info.Idle, preset.Idle)
		equal(t, "absolute timeout", info.Deadline.Sub(info.AuthTime), preset.Absolute)
	}
}

func TestRFC6265bis_HostPrefix(t *testing.T) {
	line := issued(t).String()
	contains(t, line, "__Host-session=", "; Secure", "; Path=/")
	if strings.Contains(line, "Domain") {
		t.Errorf("a __Host- cookie has a Domain: %s", line)
	}
}

func TestRFC6265bis_MaxAgeAtMost400Days(t *testing.T) {
	years := 5 * 365 * 24 * time.Hour
	c := issued(t, func(o *pazzo.Options) {
		o.Cookie.Persistent = true
		o.Timeouts = pazzo.Timeouts{Idle: years, Absolute: years}
	})
	equal(t, "Max-Age", c.MaxAge, 400*24*3600)
}

func TestRFC6265bis_OneSetCookieInAResponse(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, s)
	r := b.navigate(func(ctx context.Context, s *pazzo.Session) {
		must(t, memo.Set(ctx, "x"))
		must(t, s.Authenticate(ctx, "ann"))
		must(t, s.Renew(ctx))
		must(t, s.Authenticate(ctx, "bob"))
		must(t, s.Destroy(ctx))
		must(t, s.Authenticate(ctx, "cat"))
	})
	oneCookie(t, r)
	equal(t, "user", b.user(), "cat")
}

// TestPlainHTTPNeedsANamedOption holds development apart from production.
func TestPlainHTTPNeedsANamedOption(t *testing.T) {
	equal(t, "Secure by default", issued(t).Secure, true)
	s := newSite(t, func(o *pazzo.Options) { o.InsecureHTTP = true })
	contains(t, s.log.String(), "level=WARN", "INSECURE", "InsecureHTTP")
	_, err := pazzo.New(s.store, &pazzo.Options{SecretKeys: []string{appKey}, InsecureHTTP: true, Cookie: pazzo.Cookie{Name: "__Host-x"}})
	wantError(t, err, pazzo.ErrOptions)
}
