package verify

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest/broken"
)

// The histories: small ones, so that each is decided quickly.
const (
	clients  = 16
	callsPer = 5
	decide   = time.Minute // the longest that one may take
)

// histories returns how many to make for a store.
func histories() int {
	if nightly {
		return 500
	}
	return 30
}

func TestLinearizableMemory(t *testing.T) {
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	shop{stores: []record.Store{store}}.check(t)
}

func TestLinearizablePebble(t *testing.T) {
	shop{stores: []record.Store{openPebble(t)}}.check(t)
}

// TestLinearizableUnknown has calls that fail before or after they are executed.
func TestLinearizableUnknown(t *testing.T) {
	store := memstore.New(nil)
	t.Cleanup(func() { store.Close() })
	shop{stores: []record.Store{lossy{store}}, faulty: true}.check(t)
}

// TestLinearizableRedis has two stores on one server, as two processes have.
func TestLinearizableRedis(t *testing.T) {
	url := redistest.Start(t).URL()
	var stores []record.Store
	for range 2 {
		store, err := redisstore.Open(context.Background(), url, &redisstore.Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		stores = append(stores, store)
	}
	shop{stores: stores}.check(t)
}

// TestBrokenIsNotLinearizable tests the tester.
func TestBrokenIsNotLinearizable(t *testing.T) {
	for _, fault := range []broken.Fault{broken.LostUpdate, broken.LateSave, broken.Resurrection, broken.StaleRead,
		broken.TwoWinners, broken.TornBatch, broken.TornRead, broken.NoTombstone} {
		t.Run(fault.String(), func(t *testing.T) {
			for n := range 200 {
				history := shop{stores: []record.Store{broken.New(fault)}}.history(t, uint64(n))
				if porcupine.CheckOperationsTimeout(sessionModel, history, decide) == porcupine.Illegal {
					t.Logf("history %d is illegal", n)
					return
				}
			}
			t.Errorf("no history of a store with this fault is illegal")
		})
	}
	t.Run("sound", func(t *testing.T) { shop{stores: []record.Store{broken.New(broken.None)}}.check(t) })
}

// shop is what the clients of a history use.
type shop struct {
	stores []record.Store // of the same data
	faulty bool           // calls may fail

	clients int           // 0: clients
	stale   time.Duration // how long before its call a read may have been done
	pause   time.Duration // the longest between a client's calls; 0: 100 µs
	reads   int           // percent of the calls of the first store's clients that only read
}

// check makes histories of one session each and checks them.
func (s shop) check(t *testing.T) {
	t.Helper()
	start := rand.Uint64N(1 << 32)
	t.Logf("%d histories of %d clients, from seed %d", histories(), clients, start)
	for n := range histories() {
		seed := start + uint64(n)
		history := s.history(t, seed)
		result, info := porcupine.CheckOperationsVerbose(sessionModel, history, decide)
		if result != porcupine.Ok {
			t.Errorf("seed %d: the history is %s, drawn in %s", seed, result, drawn(t, seed, info))
		}
	}
}

// drawn writes a history as a page, in PAZZO_ARTIFACTS or a temporary directory
// that is left there.
func drawn(t *testing.T, seed uint64, info porcupine.LinearizationInfo) string {
	dir := os.Getenv("PAZZO_ARTIFACTS")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "pazzo-history-"); err != nil {
			t.Fatal(err)
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fmt.Sprintf("history-%d.html", seed))
	if err := porcupine.VisualizePath(sessionModel, info, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// history has clients use one session at the same time. The seed decides what
// they ask, not how it interleaves.
func (s shop) history(t *testing.T, seed uint64) []porcupine.Operation {
	t.Helper()
	h := record.NewHandle()
	base := time.Now()
	mortal := seed%2 == 0
	many := cmp.Or(s.clients, clients)
	perClient := make([][]porcupine.Operation, many)
	errs := make([]error, many)
	var group sync.WaitGroup
	begin := make(chan struct{})
	pause := s.pause
	if pause == 0 {
		pause = 100 * time.Microsecond
	}
	for i := range many {
		c := &client{id: i, store: s.stores[i%len(s.stores)], h: h, base: base, mortal: mortal, faulty: s.faulty,
			random: rand.New(rand.NewPCG(seed, uint64(i)))}
		if i == 0 && seed%4 != 0 { // else Create races with the rest
			c.call(&record.Batch{Ops: []record.Op{c.create()}})
		}
		group.Go(func() {
			<-begin
			for range callsPer {
				time.Sleep(rand.N(pause)) // mixes the clients' calls
				if b := c.next(); i%len(s.stores) == 0 && c.random.IntN(100) < s.reads {
					c.call(&record.Batch{Ops: []record.Op{record.GetAll()}})
				} else {
					c.call(b)
				}
			}
			perClient[i], errs[i] = c.calls, c.err
		})
	}
	close(begin)
	group.Wait()
	var history []porcupine.Operation
	for i := range many {
		if errs[i] != nil {
			t.Error(errs[i])
		}
		history = append(history, perClient[i]...)
	}
	end := int64(time.Since(base)) + 1
	for i := range history {
		if history[i].Output.(outcome).unknown {
			history[i].Return = end
		}
		if history[i].Input.(*record.Batch).ReadOnly() {
			history[i].Call -= int64(s.stale)
		}
	}
	return history
}

// client is one of those who use a session. It keeps what it saw last, for
// conditions.
type client struct {
	id       int
	store    record.Store
	h        record.Handle
	base     time.Time
	mortal   bool // the session may be destroyed
	faulty   bool // calls may fail
	random   *rand.Rand
	seen     record.Value // of the field a
	revision uint64
	calls    []porcupine.Operation
	err      error
}

func (c *client) call(b *record.Batch) {
	if err := b.Check(); err != nil {
		c.err = err
		return
	}
	called := int64(time.Since(c.base))
	reply, err := c.store.Apply(context.Background(), c.h, b)
	returned := int64(time.Since(c.base))
	if err != nil && !c.faulty {
		c.err = fmt.Errorf("after %v: %w", time.Duration(returned-called), err)
		return
	}
	out, executed, err := know(reply, err)
	if err != nil {
		c.err = err
	}
	if !executed {
		return
	}
	c.calls = append(c.calls, porcupine.Operation{ClientId: c.id, Input: b, Call: called, Output: out, Return: returned})
	if reply.Revision > 0 {
		c.revision = reply.Revision
	}
	if len(reply.Values) > 0 && b.Ops[0].Kind == record.OpGet && b.Ops[0].Name == "a" {
		c.seen = reply.Values[0]
	}
}

func (c *client) create() record.Op {
	return record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000})
}

// next makes the next batch. Every text is written once only, so that a read
// tells which write it saw.
func (c *client) next() *record.Batch {
	text := fmt.Sprintf(`"%d.%d"`, c.id, len(c.calls))
	b := &record.Batch{}
	switch n := c.random.IntN(100); {
	case n < 12:
		b.Ops = []record.Op{record.Get("a")}
	case n < 18:
		b.Ops = []record.Op{record.Get("a"), record.Get("b"), record.Get("n")}
	case n < 26:
		b.Ops = []record.Op{record.GetAll()}
	case n < 36:
		b.Ops = []record.Op{record.Set("a", text)}
	case n < 50:
		b.Ops = []record.Op{record.Add("n", 1+c.random.Int64N(9))}
	case n < 56:
		b.Ops = []record.Op{record.Pop("a")}
	case n < 63:
		b.Ops = []record.Op{record.Append("list", text)}
	case n < 67:
		b.Ops = []record.Op{record.Drain("list")}
	case n < 72:
		b.Ops = []record.Op{record.SetIfAbsent("a", text)}
	case n < 80: // compare and set
		b.Conditions = []record.Condition{{Kind: record.FieldAbsent, Name: "a"}}
		if c.seen.Found {
			b.Conditions[0] = record.Condition{Kind: record.FieldIs, Name: "a", Text: c.seen.Text}
		}
		b.Ops = []record.Op{record.Set("a", text)}
	case n < 83:
		b.Conditions = []record.Condition{{Kind: record.RevisionIs, Revision: c.revision}}
		b.Ops = []record.Op{record.Add("n", 1)}
	case n < 90:
		b.Ops = []record.Op{record.Set("a", text), record.Set("b", text), record.Add("n", 1)}
	case n < 93: // refused when a is no list, and then in whole
		b.Ops = []record.Op{record.Set("b", text), record.Add("n", 1), record.Append("a", text)}
	case n < 97:
		b.Ops = []record.Op{c.create(), record.Set("a", text)}
	case c.mortal:
		b.Ops = []record.Op{record.Destroy(record.Logout, 3_600_000)}
	default:
		b.Ops = []record.Op{record.Get("n")}
	}
	return b
}

// lossy is a store whose calls fail now and then, as over a bad network.
type lossy struct{ record.Store }

func (l lossy) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	chance := rand.IntN(20)
	if chance == 0 {
		return record.Reply{}, record.ErrUnavailable
	}
	reply, err := l.Store.Apply(ctx, h, b)
	if chance == 1 && !b.ReadOnly() {
		return record.Reply{}, record.ErrOutcomeUnknown
	}
	return reply, err
}
