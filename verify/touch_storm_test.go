package verify

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// changeCount counts the changes that a store tells of.
type changeCount struct{ changes atomic.Int64 }

func (c *changeCount) Changed(record.Handle) { c.changes.Add(1) }
func (c *changeCount) Lost()                 {}
func (c *changeCount) Current(time.Time)     {}

// Requests that only read are activity, which is recorded at most once per tenth of the idle
// timeout, however many there are and through however many agents: else each of them would take
// the session away from every near cache.
func TestTouchStorm(t *testing.T) {
	server := redistest.Start(t)
	const idle, lasts, rate = 3 * time.Second, 6 * time.Second, 1000
	options := &pazzo.Options{
		SecretKeys: []string{"a key of 32 bytes or more, for tests"},
		Timeouts:   pazzo.Timeouts{Idle: idle, Absolute: time.Hour},
	}
	var managers []*pazzo.Manager
	for range 3 {
		m, err := pazzo.New(openAgent(t, startAgent(t, "-store", server.URL()+"?nearcache=1")), options)
		if err != nil {
			t.Fatal(err)
		}
		managers = append(managers, m)
	}
	first, err := managers[0].Acquire("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := counted.Add(pazzo.NewContext(t.Context(), first), 7); err != nil {
		t.Fatal(err)
	}
	direct, err := redisstore.Open(t.Context(), server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })
	listener := &changeCount{}
	stop := direct.Notify(listener)

	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var requests atomic.Int64
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			ticker := time.NewTicker(12 * time.Second / rate)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
				s, err := managers[i%3].Acquire(first.Token())
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := counted.Get(pazzo.NewContext(t.Context(), s)); n != 7 || err != nil {
					t.Errorf("%d, %v", n, err)
					return
				}
				requests.Add(1)
			}
		})
	}
	group.Wait()
	stop()
	// A session lives on for as long as somebody reads, though that is twice its idle timeout.
	got, most := listener.changes.Load(), int64(10*lasts/idle)+2
	t.Logf("%d requests, %d changes", requests.Load(), got)
	if got > most || got < most/4 {
		t.Errorf("%d changes were told of in %d requests; at most %d are due", got, requests.Load(), most)
	}
	if requests.Load() < rate*int64(lasts/time.Second)/10 {
		t.Errorf("only %d requests were made", requests.Load())
	}
}
