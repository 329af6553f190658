package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	shards     = 3
	slots      = 16384
	moveBatch  = 100  // keys per MIGRATE
	moveMillis = 5000 // one MIGRATE's time limit
)

// Cluster is a running Redis Cluster of three shards. A shard is a primary and
// its replica, numbered from 0; which of the two is the primary changes with a
// failover. Its methods may be called from any goroutine.
type Cluster struct {
	nodes []*Server // node i and node i+shards are shard i
	ids   []string

	claiming sync.Mutex // held while a slot changes its owner
}

// RunCluster starts a Cluster that keeps its files in dir, and returns when all
// nodes agree on it and every replica is in step. The args go to every node; with
// "--requirepass", also give "--masterauth" the same password. ctx bounds the start
// only; the caller ends the Cluster with [Cluster.Kill].
func RunCluster(ctx context.Context, dir string, args ...string) (*Cluster, error) {
	return runCluster(ctx, dir, nil, args)
}

func runCluster(ctx context.Context, dir string, auth *authority, args []string) (*Cluster, error) {
	if auth != nil {
		args = append([]string{"--tls-cluster", "yes", "--tls-replication", "yes"}, args...)
	}
	args = append([]string{
		"--cluster-enabled", "yes",
		"--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", "1000",
		"--cluster-allow-replica-migration", "no", // shards keep their nodes
		"--repl-diskless-sync-delay", "0",
		// CLUSTER SLOTS lists a replica only when it has received something,
		// and in an empty database that is this ping.
		"--repl-ping-replica-period", "1",
	}, args...)
	nodes, err := runAll(2*shards, func(i int) (*Server, error) {
		sub, err := subdir(dir, "node", i)
		if err != nil {
			return nil, err
		}
		return runServer(ctx, sub, auth, args)
	})
	if err != nil {
		return nil, err
	}
	c := &Cluster{nodes: nodes}
	if err := c.form(ctx); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

// runAll starts n servers at once, or none.
func runAll(n int, run func(i int) (*Server, error)) ([]*Server, error) {
	servers := make([]*Server, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { servers[i], errs[i] = run(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		killAll(servers)
		return nil, err
	}
	return servers, nil
}

func killAll(servers []*Server) error {
	errs := make([]error, len(servers))
	for i, s := range servers {
		if s != nil {
			errs[i] = s.Kill()
		}
	}
	return errors.Join(errs...)
}

func subdir(dir, name string, i int) (string, error) {
	sub := filepath.Join(dir, name+strconv.Itoa(i))
	if err := os.Mkdir(sub, 0o700); err != nil {
		return "", fmt.Errorf("redistest: %w", err)
	}
	return sub, nil
}

// form makes one Cluster of nodes that do not know each other yet.
func (c *Cluster) form(ctx context.Context) error {
	for i, node := range c.nodes {
		id, err := node.text(ctx, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		c.ids = append(c.ids, id)
		if _, err := node.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i >= shards {
			continue
		}
		first, last := i*slots/shards, (i+1)*slots/shards-1
		if _, err := node.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
	}
	for i, node := range c.nodes { // every pair at once is quicker than gossip
		for _, other := range c.nodes[i+1:] {
			host, port, _ := net.SplitHostPort(other.Addr())
			if _, err := node.Do(ctx, "CLUSTER", "MEET", host, port); err != nil {
				return err
			}
		}
	}
	for i, replica := range c.nodes[shards:] {
		err := until(ctx, "a replica to know its primary", func() error {
			_, err := replica.Do(ctx, "CLUSTER", "REPLICATE", c.ids[i])
			return err
		})
		if err != nil {
			return err
		}
	}
	return c.WaitHealthy(ctx)
}

// WaitHealthy returns when every node runs, all agree on which primary serves
// which slots, each with its replica, and every replica is in step.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	return until(ctx, "a healthy cluster", func() error {
		var first string
		for i, node := range c.nodes {
			view, err := healthy(ctx, node)
			if err != nil {
				return fmt.Errorf("node %d: %w", i, err)
			}
			if first == "" {
				first = view
			}
			if view != first {
				return fmt.Errorf("node %d sees other primaries than node 0", i)
			}
		}
		return nil
	})
}

// healthy returns who serves what according to node, if that is complete and
// node is in step itself.
func healthy(ctx context.Context, node *Server) (view string, err error) {
	if err := stateOK(ctx, node); err != nil {
		return "", err
	}
	ranges, err := slotRanges(ctx, node)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range ranges {
		if len(r.ids) != 2 {
			return "", fmt.Errorf("slots %d to %d have %d nodes", r.first, r.last, len(r.ids))
		}
		fmt.Fprintln(&b, r.first, r.last, r.ids[0])
	}
	return b.String(), inStep(ctx, node)
}

func stateOK(ctx context.Context, node *Server) error {
	info, err := node.text(ctx, "CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if state := infoField(info, "cluster_state"); state != "ok" {
		return fmt.Errorf("cluster_state is %q", state)
	}
	return nil
}

// inStep returns nil for a primary, and for a replica with a link to its
// primary.
func inStep(ctx context.Context, node *Server) error {
	info, err := node.text(ctx, "INFO", "replication")
	if err != nil {
		return err
	}
	if infoField(info, "role") == "slave" && infoField(info, "master_link_status") != "up" {
		return errors.New("the replica is not in step")
	}
	return nil
}

// slotRange is an entry of CLUSTER SLOTS: the primary's id comes first.
type slotRange struct {
	first, last int64
	ids         []string
}

func slotRanges(ctx context.Context, node *Server) ([]slotRange, error) {
	reply, err := node.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return nil, err
	}
	var ranges []slotRange
	entries, _ := reply.([]any)
	for _, e := range entries {
		entry, _ := e.([]any)
		if len(entry) < 3 {
			return nil, errors.New("redistest: unknown reply to CLUSTER SLOTS")
		}
		var r slotRange
		r.first, _ = entry[0].(int64)
		r.last, _ = entry[1].(int64)
		for _, n := range entry[2:] {
			if n, _ := n.([]any); len(n) >= 3 {
				id, _ := n[2].(string)
				r.ids = append(r.ids, id)
			}
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// URL returns the store URL, redis+cluster://h1:p,h2:p,…, or rediss+cluster:// with
// TLS.
func (c *Cluster) URL() string {
	return c.nodes[0].scheme() + "+cluster://" + strings.Join(c.Addrs(), ",")
}

// CAFile returns the path of the authority's certificate in PEM, or "" without
// TLS.
func (c *Cluster) CAFile() string { return c.nodes[0].CAFile() }

// Nodes returns all nodes: numbers i and i+3 make shard i.
func (c *Cluster) Nodes() []*Server { return append([]*Server(nil), c.nodes...) }

// Kill ends all nodes at once.
func (c *Cluster) Kill() error { return killAll(c.nodes) }

// Primary returns the node that is the primary of the shard at the moment.
func (c *Cluster) Primary(ctx context.Context, shard int) (*Server, error) {
	return c.member(ctx, shard, "master")
}

// member returns the running node of the shard that has the role.
func (c *Cluster) member(ctx context.Context, shard int, role string) (*Server, error) {
	for _, node := range []*Server{c.nodes[shard], c.nodes[shard+shards]} {
		if !node.Running() {
			continue
		}
		r, err := node.role(ctx)
		if err != nil {
			return nil, err
		}
		if r == role {
			return node, nil
		}
	}
	return nil, fmt.Errorf("redistest: shard %d has no %s", shard, role)
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(ctx context.Context, key string) (int, error) {
	reply, err := c.nodes[0].Do(ctx, "CLUSTER", "KEYSLOT", key)
	slot, _ := reply.(int64)
	return int(slot), err
}

// KillPrimary kills the primary of the shard and returns it: its Restart brings
// it back as a replica. See [Cluster.WaitFailover].
func (c *Cluster) KillPrimary(ctx context.Context, shard int) (*Server, error) {
	node, err := c.Primary(ctx, shard)
	if err != nil {
		return nil, err
	}
	return node, node.Kill()
}

// WaitFailover returns when the shard has a primary and all running nodes say
// that the cluster works. The time is that of the promotion as seen from here,
// from which a client's recovery is counted.
func (c *Cluster) WaitFailover(ctx context.Context, shard int) (promoted time.Time, err error) {
	err = until(ctx, "a promotion", func() error {
		_, err := c.Primary(ctx, shard)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	promoted = time.Now()
	return promoted, until(ctx, "the cluster to work", func() error {
		for _, node := range c.nodes {
			if !node.Running() {
				continue
			}
			if err := stateOK(ctx, node); err != nil {
				return err
			}
		}
		return nil
	})
}

// Failover swaps the primary and the replica of the shard in good order, with
// no data lost, and returns when the old primary is the replica.
func (c *Cluster) Failover(ctx context.Context, shard int) error {
	replica, err := c.member(ctx, shard, "slave")
	if err != nil {
		return err
	}
	if _, err := replica.Do(ctx, "CLUSTER", "FAILOVER"); err != nil {
		return err
	}
	return until(ctx, "the swap", func() error {
		now, err := c.Primary(ctx, shard)
		if err != nil {
			return err
		}
		if now != replica {
			return errors.New("not promoted yet")
		}
		_, err = c.member(ctx, shard, "slave")
		return err
	})
}
