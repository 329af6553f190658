package redisstore_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
	"github.com/pazzo-sessions/pazzo/storetest"
)

// patience bounds a call while slots move and other tests run beside it.
const patience = 10 * time.Second

// TestConformanceOnCluster runs the suite while the slots of the keys in use
// move, so that its calls meet MOVED and ASK.
func TestConformanceOnCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	used := new(atomic.Value)
	stop := keepMoving(t, cluster, used)
	t.Cleanup(func() { t.Logf("%d times the slot of a used key moved, or was there", stop()) })
	storetest.Run(t, func(t *testing.T) record.Store {
		return tracked{openStore(t, cluster.URL()), used}
	}, nil)
}

func TestConformanceOnSentinel(t *testing.T) {
	url := redistest.StartSentinel(t).URL()
	storetest.Run(t, func(t *testing.T) record.Store { return openStore(t, url) }, nil)
}

// tracked notes the key that was used last.
type tracked struct {
	*redisstore.Store
	used *atomic.Value
}

func (s tracked) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	s.used.Store(protocol.SessionKey(redisstore.DefaultPrefix, h))
	return s.Store.Apply(ctx, h, b)
}

func (s tracked) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	s.used.Store(protocol.IndexKey(redisstore.DefaultPrefix, user))
	return s.Store.ApplyIndex(ctx, user, step)
}

// keepMoving moves the slots of used keys from shard to shard, to and fro, until
// stop, which returns how many moves there were.
func keepMoving(t *testing.T, cluster *redistest.Cluster, used *atomic.Value) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	count := make(chan int)
	go func() {
		moves := 0
		defer func() { count <- moves }()
		for ctx.Err() == nil {
			key, _ := used.Load().(string)
			if key == "" {
				time.Sleep(time.Millisecond)
				continue
			}
			slot, err := cluster.Slot(ctx, key)
			if err == nil {
				err = cluster.MoveSlot(ctx, slot, moves%3)
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("after %d moves: %v", moves, err)
				return
			}
			moves++
		}
	}()
	return func() int {
		cancel()
		return <-count
	}
}

// TestConformanceWhileSlotsMigrate runs the suite on keys whose slots stay half moved:
// the source refuses a script's command whose key is gone by then, and keeps what
// the script wrote before.
func TestConformanceWhileSlotsMigrate(t *testing.T) {
	cluster := redistest.StartCluster(t)
	opened := new(sync.Map)
	storetest.Run(t, func(t *testing.T) record.Store {
		return migrating{openStore(t, cluster.URL()), t, cluster, opened}
	}, nil)
}

// migrating opens the slot of each key once the key is there.
type migrating struct {
	*redisstore.Store
	t       *testing.T
	cluster *redistest.Cluster
	opened  *sync.Map // by key
}

func (s migrating) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	reply, err := s.Store.Apply(ctx, h, b)
	s.open(protocol.SessionKey(redisstore.DefaultPrefix, h))
	return reply, err
}

func (s migrating) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	reply, err := s.Store.ApplyIndex(ctx, user, step)
	s.open(protocol.IndexKey(redisstore.DefaultPrefix, user))
	return reply, err
}

func (s migrating) open(key string) {
	if _, before := s.opened.LoadOrStore(key, nil); before {
		return
	}
	ctx := s.t.Context()
	slot, err := s.cluster.Slot(ctx, key)
	if err == nil {
		err = s.cluster.OpenSlot(ctx, slot)
	}
	if err != nil && ctx.Err() == nil {
		s.t.Errorf("open the slot of %q: %v", key, err)
	}
}

// TestOverIsReplacedWhileItsSlotMigrates shows that a record and an index that are
// over, but that Redis still holds, make room without being gone in between.
func TestOverIsReplacedWhileItsSlotMigrates(t *testing.T) {
	ctx, cluster := t.Context(), redistest.StartCluster(t)
	store := migrating{openStore(t, cluster.URL()), t, cluster, new(sync.Map)}
	shard := func(key string) *redistest.Server {
		slot, err := cluster.Slot(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		node, err := cluster.Primary(ctx, slot*3/16384)
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	do := func(key string, args ...string) string {
		reply, err := shard(key).Do(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := reply.(string)
		return text
	}

	h := record.NewHandle()
	create := &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), record.Expiry{Idle: 60_000, Absolute: 60_000})}}
	if reply, err := store.Apply(ctx, h, create); err != nil || reply.Status != record.OK {
		t.Fatal(reply.Status, err)
	}
	const deadline = 1 + 1 + 4 + 4 + 16 + 6 // where it stands in the meta data
	key := protocol.SessionKey(redisstore.DefaultPrefix, h)
	meta := do(key, "HGET", key, "\x00m")
	do(key, "HSET", key, "\x00m", meta[:deadline]+"\x00\x00\x00\x00\x00\x01"+meta[deadline+6:])
	if reply, err := store.Apply(ctx, h, create); err != nil || reply.Status != record.OK {
		t.Errorf("Create over a record that is over: %v, %v", reply.Status, err)
	}

	enlist := &record.IndexStep{Kind: record.Enlist, Handle: h, Max: 3, Lifetime: 60_000}
	if reply, err := store.ApplyIndex(ctx, "ann", enlist); err != nil || reply.Status != record.IndexOK {
		t.Fatal(reply.Status, err)
	}
	key = protocol.IndexKey(redisstore.DefaultPrefix, "ann")
	do(key, "HSET", key, string(h[:]), "\x01"+"\x00\x00\x00\x00\x00\x01"+"\x00\x00\x00\x00\x00\x02")
	if reply, err := store.ApplyIndex(ctx, "ann", enlist); err != nil || reply.Status != record.IndexOK {
		t.Errorf("Enlist over an entry that is over: %v, %v", reply.Status, err)
	}
	listed, err := store.ApplyIndex(ctx, "ann", &record.IndexStep{Kind: record.List})
	if err != nil || len(listed.Entries) != 1 {
		t.Errorf("then the index lists %v, %v", listed.Entries, err)
	}
}
