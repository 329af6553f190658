package pgstore

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/internal/proxy"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pgstore/pgtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// maxStale is what the near caches of these tests promise.
const maxStale = 2 * time.Second

// telling starts a server whose tables tell of changes.
func telling(t testing.TB) *pgtest.Server {
	t.Helper()
	server := pgtest.Start(t)
	if _, err := Migrate(t.Context(), server.URL(), &MigrateOptions{Tell: On}); err != nil {
		t.Fatal(err)
	}
	return server
}

// bad is a URL through a bad network.
func bad(p *proxy.Proxy) string {
	return "postgres://postgres@" + p.Addr() + "/postgres?sslmode=disable"
}

// near is a session as seen through a near cache.
type near struct {
	*session
	access record.Access
	cache  *nearcache.Cache
}

// newNear makes a session with n = 0 through a store that opens it, and puts a near cache in
// front of another store, at url.
func newNear(t testing.TB, direct *Store, url string, timeout time.Duration) near {
	t.Helper()
	store, err := Open(context.Background(), url, &Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.New(store, &nearcache.Options{MaxStale: maxStale})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	secret := record.NewSecret()
	x := &session{t: t, store: direct, handle: record.NewHandle()}
	x.ok(record.Create(secret, hour), record.Set("n", "0"))
	return near{x, record.Access{Mode: record.Held, Generation: 1, Secret: secret}, cache}
}

func (n near) ask(ctx context.Context, ops ...record.Op) (record.Reply, error) {
	return n.cache.Apply(ctx, n.handle, &record.Batch{Access: n.access, Ops: ops})
}

func (n near) read() (text string, hit bool) {
	n.t.Helper()
	reply, err := n.ask(context.Background(), record.Get("n"))
	if err != nil || reply.Status != record.OK {
		n.t.Fatalf("a cached read: %s, %v", reply.Status, err)
	}
	return reply.Values[0].Text, reply.Cached
}

// warm reads until there is a hit.
func (n near) warm() {
	n.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, hit := n.read(); hit {
			return
		}
		if time.Since(start) > 10*time.Second {
			_, why := n.cache.Store.(*Store).following.server()
			n.t.Fatalf("the near cache does not work: %v", why)
		}
	}
}

// becomes waits until a cached read finds a value, and returns how long that took.
func (n near) becomes(want string, within time.Duration) time.Duration {
	n.t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		text, _ := n.read()
		if text == want {
			return time.Since(start)
		}
		if time.Since(start) > within {
			n.t.Fatalf("the cached field is %s still after %s, not %s", text, within, want)
		}
	}
}

// ends waits until a cached read finds the session so.
func (n near) ends(want record.Status, within time.Duration) {
	n.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		reply, err := n.ask(context.Background(), record.Get("n"))
		if err != nil {
			n.t.Fatal(err)
		}
		if reply.Status == want {
			return
		}
		if time.Since(start) > within {
			n.t.Fatalf("the session is %q still after %s, not %q", reply.Status, within, want)
		}
	}
}

func TestNearCacheConformance(t *testing.T) {
	server := telling(t)
	direct := open(t, server.URL(), Options{})
	storetest.Run(t, func(t *testing.T) record.Store {
		n := newNear(t, direct, server.URL(), longEnough)
		n.warm()
		return n.cache
	}, nil)
}

func TestNearCacheSeesOthersWrites(t *testing.T) {
	server := telling(t)
	others := map[string]string{
		"directly":          server.URL(),
		"through PgBouncer": pgtest.StartBouncer(t, server).URL() + "?default_query_exec_mode=exec",
	}
	for name, url := range others {
		t.Run(name, func(t *testing.T) {
			n := newNear(t, open(t, url, Options{}), server.URL(), longEnough)
			n.warm()
			var slowest time.Duration
			for i := range 100 {
				want := strconv.Itoa(i + 1)
				n.ok(record.Set("n", want))
				slowest = max(slowest, n.becomes(want, maxStale))
				n.warm()
			}
			t.Logf("another's write was seen after %s at most", slowest)
		})
	}
}

// The end of a session is seen at once, however it ends.
func TestNearCacheSeesTheEnd(t *testing.T) {
	server := telling(t)
	direct := open(t, server.URL(), Options{Sweep: 10 * time.Millisecond})
	conn := connect(t, server.URL())
	for name, one := range map[string]struct {
		end  func(n near)
		want record.Status
	}{
		"logout":     {func(n near) { n.ok(record.Destroy(record.Logout, 60_000)) }, record.Ended},
		"revocation": {func(n near) { n.ok(record.Destroy(record.Revoked, 60_000)) }, record.Ended},
		"renewal":    {func(n near) { n.ok(record.Renew(record.NewSecret())) }, record.Superseded},
		"expiry":     {func(n near) { n.ok(record.SetExpiry(record.Expiry{Idle: 300, Absolute: 300})) }, record.Absent},
		"a deletion": {func(n near) {
			exec(t, conn, "DELETE FROM pazzo.sessions WHERE key = $1", []byte(DefaultPrefix+string(n.handle[:])))
		}, record.Absent},
		"TRUNCATE": {func(n near) { exec(t, conn, "TRUNCATE pazzo.sessions") }, record.Absent},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNear(t, direct, server.URL(), longEnough)
			n.warm()
			one.end(n)
			n.ends(one.want, time.Second)
		})
	}
}

// Read your writes: every read that begins after an own write has returned sees it, and
// nobody reads an older state after a newer one.
func TestNearCacheReadsItsWrites(t *testing.T) {
	server := telling(t)
	n := newNear(t, open(t, server.URL(), Options{}), server.URL(), longEnough)
	n.warm()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			seen := int64(0)
			for range 200 {
				reply, err := n.ask(context.Background(), record.Add("n", 1))
				if err != nil || reply.Status != record.OK {
					t.Errorf("add: %s, %v", reply.Status, err)
					return
				}
				sum, _ := record.ParseInt(reply.Values[0].Text)
				text, _ := n.read()
				read, _ := record.ParseInt(text)
				if read < sum || read < seen {
					t.Errorf("read %d after writing %d and seeing %d", read, sum, seen)
					return
				}
				seen = read
			}
		})
	}
	wg.Go(func() { // another process
		for range 100 {
			n.ok(record.Add("n", 1))
		}
	})
	wg.Wait()
	n.becomes("1700", maxStale)
	stats := n.cache.Stats()
	t.Logf("%d hits, %d misses", stats.Hits, stats.Misses)
	if stats.Hits == 0 {
		t.Error("no hit")
	}
}

// notStale reads for twice as long as promised after a write of 1, and fails if that is not
// seen in time. It returns how many reads were answered.
func (n near) notStale(written time.Time) (answers int) {
	n.t.Helper()
	for time.Since(written) < 2*maxStale {
		begun := time.Since(written)
		ctx, cancel := context.WithTimeout(n.t.Context(), 50*time.Millisecond)
		reply, err := n.ask(ctx, record.Get("n"))
		cancel()
		if err != nil {
			continue // the store is away
		}
		answers++
		if begun > maxStale && reply.Values[0].Text == "0" {
			n.t.Fatalf("the old value %s after the write", begun)
		}
	}
	return answers
}

// A connection that falls silent must not serve anything older than the promise, be it the
// one that tells alone.
func TestNearCacheBehindABlackHole(t *testing.T) {
	server := telling(t)
	direct := open(t, server.URL(), Options{})
	for name, through := range map[string]func(p *proxy.Proxy) string{
		"all connections":    bad,
		"the one that tells": func(p *proxy.Proxy) string { return server.URL() + "?listen=" + url.QueryEscape(bad(p)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := proxy.Start(t, server.Addr())
			n := newNear(t, direct, through(p), longEnough) // a heartbeat is waited for so long
			n.warm()
			p.BlackHole(proxy.Down)
			n.ok(record.Set("n", "1"))
			if n.notStale(time.Now()) == 0 {
				t.Error("no answer at all, so that nothing was tested")
			}
			p.Heal()
			n.becomes("1", 10*time.Second)
			n.warm()
		})
	}
}

func TestNearCacheAfterACut(t *testing.T) {
	server := telling(t)
	p := proxy.Start(t, server.Addr())
	n := newNear(t, open(t, server.URL(), Options{}), bad(p), time.Second)
	for i := range 10 {
		n.warm()
		p.Refuse(true)
		p.Cut()
		want := strconv.Itoa(i + 1)
		n.ok(record.Set("n", want))
		time.Sleep(20 * time.Millisecond)
		p.Refuse(false)
		for start := time.Now(); ; { // while there is no connection, a read is an error
			reply, err := n.ask(context.Background(), record.Get("n"))
			if err == nil {
				if got := reply.Values[0].Text; got != want {
					t.Fatalf("after the cut: %s, cached %t", got, reply.Cached)
				}
				break
			}
			if time.Since(start) > longEnough {
				t.Fatal(err)
			}
		}
	}
}

// What is read before a change, and arrives after the word of it, is not kept.
func TestNearCacheKeepsNoStaleLoad(t *testing.T) {
	server := telling(t)
	p := proxy.Start(t, server.Addr())
	// The word of changes does not go through the proxy.
	n := newNear(t, open(t, server.URL(), Options{}), bad(p)+"&listen="+url.QueryEscape(server.URL()), longEnough)
	n.warm()
	for i := range 20 {
		n.ok(record.Set("n", strconv.Itoa(2*i)))
		p.Delay(0, 20*time.Millisecond)
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.read()
		}()
		time.Sleep(10 * time.Millisecond)
		want := strconv.Itoa(2*i + 1)
		n.ok(record.Set("n", want))
		<-done
		p.Delay(0, 0)
		n.becomes(want, maxStale)
	}
}

func TestNearCacheAfterARestart(t *testing.T) {
	server := telling(t)
	direct := open(t, server.URL(), Options{})
	n := newNear(t, direct, server.URL(), time.Second)
	n.warm()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.ok(record.Set("n", "1"))
	if n.notStale(time.Now()) == 0 {
		t.Error("no answer after the restart")
	}
	n.warm()
}

// The server that tells goes on, but the others connect to another one.
func TestNearCacheAfterAMoveToAnotherServer(t *testing.T) {
	old, next := telling(t), telling(t)
	p := proxy.Start(t, old.Addr())
	n := newNear(t, open(t, bad(p), Options{}), bad(p)+"&listen="+url.QueryEscape(old.URL()), longEnough)
	n.warm()
	copied := one[[]byte](t, connect(t, old.URL()), "SELECT data FROM pazzo.sessions WHERE key = $1", []byte(DefaultPrefix+string(n.handle[:])))
	exec(t, connect(t, next.URL()), "INSERT INTO pazzo.sessions VALUES ($1, 1, 9e12, $2)", []byte(DefaultPrefix+string(n.handle[:])), copied)
	p.Redirect(next.Addr())
	p.Cut()
	for start := time.Now(); ; {
		if _, err := n.apply(record.Set("n", "1")); err == nil {
			break
		} else if time.Since(start) > longEnough {
			t.Fatal(err)
		}
	}
	if n.notStale(time.Now()) == 0 {
		t.Error("no answer after the move")
	}
	if _, hit := n.read(); hit {
		t.Error("a copy is served, though another server tells of changes")
	}
	wantUntracked(t, n, "another server")
}

// wantUntracked waits until records are not read for the near cache, for a reason.
func wantUntracked(t *testing.T, n near, says string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		_, _, err := n.cache.Store.(*Store).Record(t.Context(), n.handle)
		if errors.Is(err, record.ErrUntracked) && strings.Contains(err.Error(), says) {
			return
		}
		if time.Since(start) > longEnough {
			t.Fatalf("Record returns %v, want ErrUntracked because of %q", err, says)
		}
	}
}

func TestNearCacheBehindPgBouncer(t *testing.T) {
	server := telling(t)
	bouncer := pgtest.StartBouncer(t, server).URL() + "?default_query_exec_mode=exec"
	direct := open(t, bouncer, Options{})
	t.Run("with a direct URL", func(t *testing.T) {
		n := newNear(t, direct, bouncer+"&listen="+url.QueryEscape(server.URL()), longEnough)
		n.warm()
		for i := range 50 {
			want := strconv.Itoa(i + 1)
			n.ok(record.Set("n", want))
			n.becomes(want, maxStale)
			n.warm()
		}
	})
	t.Run("without", func(t *testing.T) {
		n := newNear(t, direct, bouncer, longEnough)
		wantUntracked(t, n, "the parameter listen")
		n.ok(record.Set("n", "1"))
		if text, hit := n.read(); text != "1" || hit {
			t.Errorf("read %s, from a copy: %t", text, hit)
		}
	})
}

// Tables that tell of no changes, or no longer, serve no copies.
func TestTablesThatDoNotTell(t *testing.T) {
	server := migrated(t)
	migrate := func(tell Setting) {
		t.Helper()
		if _, err := Migrate(t.Context(), server.URL(), &MigrateOptions{Tell: tell}); err != nil {
			t.Fatal(err)
		}
	}
	n := newNear(t, open(t, server.URL(), Options{}), server.URL(), longEnough)
	wantUntracked(t, n, "pazzo migrate -tell")
	migrate(On)
	migrate(On)   // changes nothing
	migrate(Keep) // neither does that, as in each deployment
	n.warm()
	migrate(Off)
	migrate(Keep)
	n.ok(record.Set("n", "1"))
	if n.notStale(time.Now()) == 0 {
		t.Error("no answer")
	}
	wantUntracked(t, n, "pazzo migrate -tell")
	conn := connect(t, server.URL())
	if n := one[int](t, conn, "SELECT count(*) FROM pg_proc WHERE proname = 'tell_of_change'"); n != 0 {
		t.Error("the function is left")
	}
	migrate(On)
	n.warm()
	exec(t, conn, "ALTER TABLE pazzo.sessions DISABLE TRIGGER tell_of_update")
	wantUntracked(t, n, "pazzo migrate -tell")
}

// A sweep of what has expired says nothing, since nobody needs to know.
func TestSweepTellsNothing(t *testing.T) {
	server := telling(t)
	s := open(t, server.URL(), Options{Sweep: 10 * time.Millisecond})
	heard := make(chan record.Handle, 10)
	stop := s.Notify(told{heard})
	defer stop()
	x := create(t, s, record.Expiry{Idle: 100, Absolute: 100})
	conn := connect(t, server.URL())
	for one[int](t, conn, "SELECT count(*) FROM pazzo.sessions") > 0 {
		time.Sleep(time.Millisecond)
	}
	y := create(t, s, hour)
	for { // the first contact may come after the first change
		y.ok(record.Set("a", "1"))
		select {
		case h := <-heard:
			if h == x.handle {
				t.Error("the sweep was told of")
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// told hears of changes.
type told struct{ changed chan record.Handle }

func (l told) Changed(h record.Handle) {
	select {
	case l.changed <- h:
	default:
	}
}
func (told) Lost()             {}
func (told) Current(time.Time) {}

// Nobody is told anything after stop, or after Close, and the connection ends.
func TestNotifyStops(t *testing.T) {
	server := telling(t)
	s := open(t, server.URL(), Options{})
	conn := connect(t, server.URL())
	listening := func() int { // how many connections do
		return one[int](t, conn, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify%'")
	}
	heard := make(chan record.Handle, 1)
	x := create(t, s, hour)
	for range 2 {
		first, second := s.Notify(told{heard}), s.Notify(told{make(chan record.Handle)})
		for len(heard) == 0 {
			x.ok(record.Set("a", "1"))
			time.Sleep(time.Millisecond)
		}
		if listening() != 1 {
			t.Errorf("%d connections for two listeners", listening())
		}
		second()
		first()
		<-heard
		for start := time.Now(); listening() > 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > longEnough {
				t.Fatal("a connection is left")
			}
		}
		x.ok(record.Set("a", "1"))
		if len(heard) != 0 {
			t.Error("told after stop")
		}
	}
	s.Notify(told{heard})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.Notify(told{heard})()
	if _, _, err := s.Record(t.Context(), x.handle); !errors.Is(err, record.ErrUntracked) {
		t.Errorf("after Close: %v", err)
	}
}
