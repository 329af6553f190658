package redisstore_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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
	s.used.Store(redisstore.DefaultPrefix + "{" + h.String() + "}")
	return s.Store.Apply(ctx, h, b)
}

func (s tracked) ApplyIndex(ctx context.Context, user string, step *record.IndexStep) (record.IndexReply, error) {
	s.used.Store(fmt.Sprintf("%su:%x", redisstore.DefaultPrefix, sha256.Sum256([]byte(user))))
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
