package redistest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestClusterMoveSlot(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := StartCluster(t)
	if n := len(c.Addrs()); n != 6 {
		t.Fatalf("%d nodes", n)
	}
	if want := "redis+cluster://" + c.Nodes()[0].Addr() + ","; !strings.HasPrefix(c.URL(), want) {
		t.Errorf("URL is %s", c.URL())
	}
	slot, err := c.Slot(ctx, "{tag}")
	must(t, err)
	home := ownerOf(t, ctx, c, slot)
	from, err := c.Primary(ctx, home)
	must(t, err)
	const keys = 250 // more than two batches
	for i := range keys {
		wantReply(t, ctx, from, "OK", "SET", fmt.Sprintf("{tag}%d", i), fmt.Sprint(i), "PX", "600000")
	}
	for _, shard := range []int{(home + 1) % shards, (home + 1) % shards, (home + 2) % shards, home} {
		must(t, c.MoveSlot(ctx, slot, shard))
		if got := ownerOf(t, ctx, c, slot); got != shard {
			t.Fatalf("the slot is at shard %d, want %d", got, shard)
		}
		to, err := c.Primary(ctx, shard)
		must(t, err)
		for i := range keys {
			wantReply(t, ctx, to, fmt.Sprint(i), "GET", fmt.Sprintf("{tag}%d", i))
		}
		wantReply(t, ctx, to, fmt.Sprint(keys), "CLUSTER", "COUNTKEYSINSLOT", fmt.Sprint(slot))
		if ttl, err := to.Do(ctx, "PTTL", "{tag}0"); err != nil || ttl.(int64) <= 0 {
			t.Errorf("PTTL: %v, %v", ttl, err)
		}
	}

	// To and fro, several at once.
	const moved, rounds = 16, 4
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range moved {
			wg.Go(func() {
				if err := c.MoveSlot(ctx, i, (i+round)%shards); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	must(t, c.WaitHealthy(ctx))
	for i := range moved {
		if got, want := ownerOf(t, ctx, c, i), (i+rounds-1)%shards; got != want {
			t.Errorf("slot %d is at shard %d, want %d", i, got, want)
		}
	}
}

// ownerOf returns the shard that all primaries say has the slot.
func ownerOf(t *testing.T, ctx context.Context, c *Cluster, slot int) int {
	t.Helper()
	owner := -1
	for i := range shards {
		node, err := c.Primary(ctx, i)
		must(t, err)
		ranges, err := slotRanges(ctx, node)
		must(t, err)
		for _, r := range ranges {
			if r.first > int64(slot) || int64(slot) > r.last {
				continue
			}
			for n, id := range c.ids {
				if id != r.ids[0] {
					continue
				}
				if owner >= 0 && owner != n%shards {
					t.Fatalf("slot %d: shard %d and shard %d", slot, owner, n%shards)
				}
				owner = n % shards
			}
		}
	}
	return owner
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := StartCluster(t)
	before, err := c.Primary(ctx, 1)
	must(t, err)
	must(t, c.Failover(ctx, 1))
	now, err := c.Primary(ctx, 1)
	must(t, err)
	if now == before {
		t.Fatal("Failover swapped nothing")
	}
	must(t, c.WaitHealthy(ctx))

	killed, err := c.KillPrimary(ctx, 1)
	must(t, err)
	if killed != now {
		t.Error("KillPrimary killed another node")
	}
	promoted, err := c.WaitFailover(ctx, 1)
	must(t, err)
	if promoted.IsZero() {
		t.Error("no time of promotion")
	}
	if now, err = c.Primary(ctx, 1); err != nil || now != before {
		t.Errorf("the primary is %v, %v", now, err)
	}
	must(t, killed.Restart(ctx))
	must(t, c.WaitHealthy(ctx))
	// A slot moves to a shard whose primary changed, too.
	must(t, c.MoveSlot(ctx, 0, 1))
	if got := ownerOf(t, ctx, c, 0); got != 1 {
		t.Errorf("slot 0 is at shard %d", got)
	}
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := StartSentinel(t)
	if want := "redis+sentinel://" + strings.Join(s.Addrs(), ",") + "/mymaster/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}
	first, err := s.Primary(ctx)
	must(t, err)
	wantReply(t, ctx, first, "OK", "SET", "k", "v")
	wantReply(t, ctx, first, "2", "WAIT", "2", "10000")

	must(t, s.Failover(ctx))
	second, err := s.Primary(ctx)
	must(t, err)
	if second == first {
		t.Fatal("Failover changed nothing")
	}
	wantReply(t, ctx, second, "v", "GET", "k")
	must(t, s.WaitHealthy(ctx))

	killed, err := s.KillPrimary(ctx)
	must(t, err)
	if killed != second {
		t.Error("KillPrimary killed another server")
	}
	if _, err := s.WaitFailover(ctx, killed.Addr()); err != nil {
		t.Fatal(err)
	}
	third, err := s.Primary(ctx)
	must(t, err)
	if third == second {
		t.Fatal("no other primary")
	}
	wantReply(t, ctx, third, "v", "GET", "k")
	must(t, killed.Restart(ctx))
	must(t, s.WaitHealthy(ctx))
}

func TestSentinelWithPassword(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := StartSentinel(t, "--requirepass", "pw", "--masterauth", "pw")
	if !strings.HasPrefix(s.URL(), "redis+sentinel://:pw@127.0.0.1:") {
		t.Errorf("URL is %s", s.URL())
	}
	must(t, s.Failover(ctx))
}
