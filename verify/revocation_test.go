package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// slow is a store whose calls take their time, those most that log somebody in, so
// that requests meet.
type slow struct{ record.Store }

func (s slow) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	delay := 2 * time.Millisecond
	if slices.ContainsFunc(b.Ops, func(op record.Op) bool { return op.Kind == record.OpAuthenticate }) {
		delay = 50 * time.Millisecond
	}
	time.Sleep(rand.N(delay))
	return s.Store.Apply(ctx, h, b)
}

func (s slow) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	time.Sleep(rand.N(2 * time.Millisecond))
	return s.Store.ApplyIndex(ctx, user, step)
}

// TestRevocationDuringLogins has all of a user's sessions be ended in the middle
// of many logins: afterwards, what is alive is listed and what is listed is alive.
func TestRevocationDuringLogins(t *testing.T) {
	const logins = 40
	test := func(t *testing.T, a *app) {
		done, failed := 0, 0
		for round := range scale(30, 1_000) {
			user := fmt.Sprintf("user%d", round)
			browsers := make([]*browser, logins)
			codes := make([]int, logins)
			end := rand.IntN(logins)
			together(logins, func(i int) {
				browsers[i] = &browser{app: a}
				if i != end {
					codes[i] = browsers[i].get("/login?k=" + user).code
					return
				}
				time.Sleep(rand.N(20 * time.Millisecond))
				if _, err := a.RevokeAll(t.Context(), user); err != nil {
					t.Error(err)
				}
			})
			listed := make(map[string]bool)
			infos, err := a.Sessions(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range infos {
				listed[info.Handle.String()] = true
			}
			for i, b := range browsers {
				switch {
				case i == end:
					continue
				case codes[i] == http.StatusOK:
					done++
				case codes[i] == http.StatusConflict:
					failed++
				default:
					t.Fatalf("round %d: a login got %d", round, codes[i])
				}
				h := b.mustGet(t, "/handle")
				if h != "" && !listed[h] {
					t.Fatalf("round %d: session %s is alive and not listed", round, h)
				}
				delete(listed, h)
			}
			if len(listed) > 0 {
				t.Fatalf("round %d: %d sessions that nobody has are listed", round, len(listed))
			}
			if _, err := a.RevokeAll(t.Context(), user); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d logins were done and %d refused", done, failed)
		if done == 0 || failed == 0 {
			t.Errorf("%d logins were done and %d refused: they did not meet the end", done, failed)
		}
		if a.redis != nil {
			if n := a.live(t); n != 0 {
				t.Errorf("%d sessions are alive", n)
			}
		}
	}
	t.Run("memory", func(t *testing.T) {
		store := memstore.New(nil)
		t.Cleanup(func() { store.Close() })
		test(t, newApp(t, slow{store}))
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Start(t)
		a := newApp(t, slow{openRedis(t, server, patience)})
		a.redis = server
		test(t, a)
	})
}

// TestEvictingRedisNeedsBestEffort has Redis keep to policies that drop keys.
func TestEvictingRedisNeedsBestEffort(t *testing.T) {
	a := onRedis(t)
	for policy, evicts := range map[string]bool{"noeviction": false, "allkeys-lru": true, "volatile-ttl": true} {
		if _, err := a.redis.Do(t.Context(), "CONFIG", "SET", "maxmemory-policy", policy); err != nil {
			t.Fatal(err)
		}
		_, err := a.RevokeAll(t.Context(), "ann")
		if evicts != (pazzo.StatusCode(err) != http.StatusOK) || evicts && !strings.Contains(err.Error(), "noeviction") {
			t.Errorf("with the policy %s: %v", policy, err)
		}
	}
}
