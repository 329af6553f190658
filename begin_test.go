package pazzo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/pazzo-sessions/pazzo"
)

// begin gives a request outside net/http its session. finish returns the headers of
// its response.
func (s *site) begin(header http.Header) (ctx context.Context, finish func() http.Header) {
	session := s.Begin(context.Background(), header)
	return pazzo.NewContext(context.Background(), session), func() http.Header {
		h := http.Header{"Vary": {"Accept"}}
		session.StartResponse(h)
		return h
	}
}

func TestASessionBegunFromHeadersSaysInOthersWhatHandlerWould(t *testing.T) {
	s := newSite(t)
	ctx, finish := s.begin(http.Header{})
	_, err := events.Add(ctx, 1)
	must(t, err)
	first := finish()
	made, err := http.ParseSetCookie(first.Get("Set-Cookie"))
	must(t, err)
	equal(t, "Cache-Control", first.Get("Cache-Control"), "no-store")
	equal(t, "Vary", fmt.Sprint(first["Vary"]), "[Accept Cookie]")

	ctx, finish = s.begin(http.Header{"Cookie": {"other=1; " + cookieName + "=forged", cookieName + "=" + made.Value}})
	n, err := events.Add(ctx, 1)
	must(t, err)
	equal(t, "events", n, 2)
	second := finish()
	equal(t, "Set-Cookie", len(second.Values("Set-Cookie")), 0)
	equal(t, "Vary", fmt.Sprint(second["Vary"]), "[Accept Cookie]")

	_, finish = s.begin(http.Header{"Cookie": {cookieName + "=" + made.Value}})
	equal(t, "headers of a request that did not use its session", fmt.Sprint(finish()), "map[Vary:[Accept]]")
}

func TestAResponseStartsOnce(t *testing.T) {
	s := newSite(t)
	ctx, finish := s.begin(http.Header{})
	must(t, made.Set(ctx, true))
	equal(t, "cookies", len(finish().Values("Set-Cookie")), 1)
	equal(t, "the second time", fmt.Sprint(finish()), "map[Vary:[Accept]]")
	if err := pazzo.FromContext(ctx).Renew(ctx); !errors.Is(err, pazzo.ErrResponseStarted) {
		t.Errorf("Renew afterwards gives %v", err)
	}
	(*pazzo.Session)(nil).StartResponse(http.Header{})
}

func TestTheHeadersTellANavigationFromAFetch(t *testing.T) {
	s := newSite(t, func(o *pazzo.Options) { o.CreateOnNavigation = true })
	for mode, want := range map[string]error{"navigate": nil, "cors": pazzo.ErrNotNavigation} {
		ctx, _ := s.begin(http.Header{"Sec-Fetch-Mode": {mode}})
		if err := made.Set(ctx, true); !errors.Is(err, want) {
			t.Errorf("a request of mode %s gets %v, want %v", mode, err, want)
		}
	}
}

func TestARequestHasOneSessionOfAManager(t *testing.T) {
	s, other := newSite(t), newSite(t)
	ctx, _ := s.begin(http.Header{})
	if again := s.Begin(ctx, http.Header{}); again != pazzo.FromContext(ctx) {
		t.Error("a second middleware begins another session")
	}
	if theirs := other.Begin(ctx, http.Header{}); theirs == pazzo.FromContext(ctx) {
		t.Error("another manager's middleware begins no session")
	}
}

// An offer of a current token asks the store, in the context of the session.
func TestASessionFromAcquireCanStartAResponse(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	must(t, pazzo.FromContext(ctx).SetExpiry(ctx, pazzo.Expiry{Timeouts: pazzo.AAL3}))
	h := http.Header{}
	pazzo.FromContext(ctx).StartResponse(h)
	equal(t, "cookies", len(h.Values("Set-Cookie")), 1)
}
