package verify

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo"
)

// quiet drops what the app logs.
func quiet(o *pazzo.Options) { o.Logger = slog.New(slog.DiscardHandler) }

// TestSimultaneousLogins has one user log in from 1,000 browsers at once: as many
// sessions are left as the user may have, and those are the ones listed.
func TestSimultaneousLogins(t *testing.T) {
	const most = 3
	onEach(t, func(t *testing.T, a *app) {
		browsers := make([]*browser, 1_000)
		together(len(browsers), func(i int) {
			browsers[i] = &browser{app: a}
			got := browsers[i].get("/login?k=ann")
			if evicted := got.code == http.StatusConflict && strings.Contains(got.body, pazzo.ErrGone.Error()); got.code != http.StatusOK && !evicted {
				t.Errorf("login: %+v", got)
			}
		})
		infos, err := a.Sessions(t.Context(), "ann")
		if err != nil || len(infos) != most {
			t.Fatalf("%d sessions are listed, want %d: %v", len(infos), most, err)
		}
		// On a busy machine logins run out of time to end all that are over the cap;
		// whoever looks at the list next goes on with it.
		for looks := 1; a.redis != nil && looks < 20 && a.do(t, "HLEN", indexKey("ann")) != int64(most); looks++ {
			if _, err := a.Sessions(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
		}
		listed := make(map[string]bool)
		for _, info := range infos {
			listed[info.Handle.String()] = true
		}
		alive := 0
		for _, b := range browsers {
			if b.jar == "" || b.mustGet(t, "/me") != "ann" {
				continue
			}
			alive++
			if handle := b.mustGet(t, "/handle"); !listed[handle] {
				t.Errorf("the session %s is alive and not listed", handle)
			}
		}
		if alive != most {
			t.Errorf("%d browsers are logged in, want %d", alive, most)
		}
		if a.redis == nil {
			return
		}
		if n := a.live(t); n != most {
			t.Errorf("%d sessions are alive in Redis, want %d", n, most)
		}
		if entries := a.do(t, "HLEN", indexKey("ann")).(int64); entries != most {
			t.Errorf("the user's list has %d entries, want %d", entries, most)
		}
	}, quiet, func(o *pazzo.Options) { o.MaxPerUser = most })
}

// TestSimultaneousLoginsRefused has the logins over the cap be refused instead.
func TestSimultaneousLoginsRefused(t *testing.T) {
	const most = 3
	onEach(t, func(t *testing.T, a *app) {
		members := make([]*browser, 200)
		together(len(members), func(i int) {
			members[i] = &browser{app: a}
			got := members[i].get("/login?k=ann")
			if refused := got.code == http.StatusForbidden && strings.Contains(got.body, pazzo.ErrTooManySessions.Error()); got.code != http.StatusOK && !refused {
				t.Errorf("login: %+v", got)
			}
			if (got.code == http.StatusOK) != (members[i].jar != "") {
				t.Errorf("login: %+v, and the cookie %q", got, members[i].jar)
			}
		})
		alive := 0
		for _, b := range members {
			if b.jar != "" && b.mustGet(t, "/me") == "ann" {
				alive++
			}
		}
		infos, err := a.Sessions(t.Context(), "ann")
		if err != nil || len(infos) != most || alive != most {
			t.Errorf("%d sessions are listed and %d alive, want %d: %v", len(infos), alive, most, err)
		}
		if a.redis != nil {
			if n := a.live(t); n != most {
				t.Errorf("%d sessions are alive in Redis, want %d", n, most)
			}
		}
	}, quiet, func(o *pazzo.Options) { o.MaxPerUser, o.WhenFull = most, pazzo.Refuse })
}

// TestBlockDuringLogins disables an account while it logs in from many browsers:
// after that nobody is logged in, and nobody comes in.
func TestBlockDuringLogins(t *testing.T) {
	onEach(t, func(t *testing.T, a *app) {
		for round := range scale(5, 100) {
			user := fmt.Sprint("user", round)
			browsers := make([]*browser, 100)
			var blockErr error
			together(len(browsers), func(i int) {
				browsers[i] = &browser{app: a}
				if i == len(browsers)/2 {
					blockErr = a.Block(t.Context(), user, 0)
					return
				}
				got := browsers[i].get("/login?k=" + user)
				ended := strings.Contains(got.body, pazzo.ErrBlocked.Error()) || strings.Contains(got.body, pazzo.ErrGone.Error())
				if got.code != http.StatusOK && !ended {
					t.Errorf("login: %+v", got)
				}
			})
			infos, err := a.Sessions(t.Context(), user)
			if err := errors.Join(blockErr, err); err != nil || len(infos) != 0 {
				t.Fatalf("after the block: %v, %v", infos, err)
			}
			for _, b := range browsers {
				if name := b.mustGet(t, "/me"); name != "" {
					t.Fatalf("%q is logged in after the block", name)
				}
			}
			if got := browsers[0].get("/login?k=" + user); got.code != http.StatusForbidden {
				t.Errorf("a login after the block: %+v", got)
			}
		}
		if a.redis != nil {
			if n := a.live(t); n != 0 {
				t.Errorf("%d sessions are alive in Redis", n)
			}
		}
	}, quiet)
}
