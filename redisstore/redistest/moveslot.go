package redistest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// MoveSlot moves a slot and its keys to the primary of the shard while the
// cluster serves, as an operator's tool does it: clients see ASK, TRYAGAIN and
// then MOVED. It returns when all nodes that run agree on it. A slot that is there
// already stays. Moves of different slots may run at once. After an error the slot
// may be left half moved; MoveSlot to the same shard again goes on with it.
func (c *Cluster) MoveSlot(ctx context.Context, slot, shard int) error {
	m := &slotMove{slot: strconv.Itoa(slot)}
	defer m.close()
	if err := m.find(ctx, c, int64(slot), shard); err != nil {
		return err
	}
	if m.from == shard {
		return nil
	}
	m.aim(shard)
	err := m.transfer(ctx)
	if err == nil {
		err = m.handOver(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("redistest: move slot %d: %w", slot, err)
	}
	return nil
}

// OpenSlot begins to move a slot to the next shard and leaves it there: the keys
// that are in it stay, new ones go to the other shard by ASK. MoveSlot goes on with
// it. A slot that is open already stays so.
func (c *Cluster) OpenSlot(ctx context.Context, slot int) error {
	m := &slotMove{slot: strconv.Itoa(slot)}
	defer m.close()
	if err := m.find(ctx, c, int64(slot), 0); err != nil {
		return err
	}
	m.aim((m.from + 1) % shards)
	if err := m.open(ctx); err != nil {
		return fmt.Errorf("redistest: open slot %d: %w", slot, err)
	}
	return nil
}

// slotMove is one slot on its way, with a connection to each primary.
type slotMove struct {
	slot           string
	primaries      [shards]*conn
	servers        [shards]*Server
	ids            [shards]string
	from, to       int // shards
	target         *Server
	fromID, toID   string
	toHost, toPort string
	password       string
}

// find connects to the primaries and asks that of a shard whose the slot is.
func (m *slotMove) find(ctx context.Context, c *Cluster, slot int64, asked int) error {
	for i := range shards {
		node, err := c.Primary(ctx, i)
		if err != nil {
			return err
		}
		if m.primaries[i], err = node.dial(ctx); err != nil {
			return err
		}
		m.servers[i], m.ids[i] = node, c.ids[slices.Index(c.nodes, node)]
	}
	ranges, err := slotRanges(ctx, m.servers[asked])
	if err != nil {
		return err
	}
	m.from = -1
	for _, r := range ranges {
		if r.first <= slot && slot <= r.last {
			m.from = slices.Index(m.ids[:], r.ids[0])
		}
	}
	if m.from < 0 {
		return fmt.Errorf("redistest: slot %d belongs to no primary", slot)
	}
	return nil
}

// aim says where the slot goes.
func (m *slotMove) aim(shard int) {
	m.to, m.target = shard, m.servers[shard]
	m.fromID, m.toID = m.ids[m.from], m.ids[shard]
	m.toHost, m.toPort, _ = net.SplitHostPort(m.target.Addr())
	m.password = m.target.password
}

// open makes the source refer to the target for keys that it has not.
func (m *slotMove) open(ctx context.Context) error {
	if _, err := m.primaries[m.to].do(ctx, "CLUSTER", "SETSLOT", m.slot, "IMPORTING", m.fromID); err != nil {
		return err
	}
	_, err := m.primaries[m.from].do(ctx, "CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.toID)
	return err
}

func (m *slotMove) transfer(ctx context.Context) error {
	if err := m.open(ctx); err != nil {
		return err
	}
	from := m.primaries[m.from]
	for {
		reply, err := from.do(ctx, "CLUSTER", "GETKEYSINSLOT", m.slot, strconv.Itoa(moveBatch))
		if err != nil {
			return err
		}
		keys, _ := reply.([]any)
		if len(keys) == 0 {
			return nil
		}
		if err := m.migrate(ctx, from, keys); err != nil {
			return err
		}
	}
}

// handOver makes the slot the target's for all nodes. One slot at a time: a shard
// claims what it gains with an epoch above all that it knows, so it must know of
// the claims before.
func (m *slotMove) handOver(ctx context.Context, c *Cluster) error {
	c.claiming.Lock()
	defer c.claiming.Unlock()
	// The target first: until it owns the slot, the source still refers to it.
	order := []*conn{m.primaries[m.to], m.primaries[m.from]}
	for i, primary := range m.primaries {
		if i != m.from && i != m.to {
			order = append(order, primary)
		}
	}
	for _, primary := range order {
		if _, err := primary.do(ctx, "CLUSTER", "SETSLOT", m.slot, "NODE", m.toID); err != nil {
			return err
		}
	}
	claim, _, err := m.claim(ctx, m.target)
	if err != nil {
		return err
	}
	return until(ctx, "the nodes to agree", func() error {
		for i, node := range c.nodes {
			if !node.Running() {
				continue
			}
			epoch, owns, err := m.claim(ctx, node)
			if err != nil {
				return err
			}
			if !owns || epoch < claim {
				return fmt.Errorf("node %d does not know it yet", i)
			}
		}
		return nil
	})
}

// claim returns the target's epoch according to node, and whether the slot is the
// target's. The epoch matters too: with an old one, another shard's claim would
// prevail later.
func (m *slotMove) claim(ctx context.Context, node *Server) (epoch int64, owns bool, err error) {
	text, err := node.text(ctx, "CLUSTER", "NODES")
	if err != nil {
		return 0, false, err
	}
	slot, _ := strconv.Atoi(m.slot)
	for line := range strings.Lines(text) {
		// id addr flags primary ping pong epoch link slots…
		f := strings.Fields(line)
		if len(f) < 8 || f[0] != m.toID {
			continue
		}
		for _, r := range f[8:] { // 7, or 7-9; what is on its way has brackets
			low, high, isRange := strings.Cut(r, "-")
			if !isRange {
				high = low
			}
			first, err1 := strconv.Atoi(low)
			last, err2 := strconv.Atoi(high)
			owns = owns || err1 == nil && err2 == nil && first <= slot && slot <= last
		}
		epoch, err = strconv.ParseInt(f[6], 10, 64)
		return epoch, owns, err
	}
	return 0, false, fmt.Errorf("%s does not know the target", node.Addr())
}

// migrate moves keys without REPLACE: a key on both sides is an error to see,
// not to overwrite.
func (m *slotMove) migrate(ctx context.Context, from *conn, keys []any) error {
	args := []string{"MIGRATE", m.toHost, m.toPort, "", "0", strconv.Itoa(moveMillis)}
	if m.password != "" {
		args = append(args, "AUTH", m.password)
	}
	args = append(args, "KEYS")
	for _, k := range keys {
		key, _ := k.(string)
		args = append(args, key)
	}
	_, err := from.do(ctx, args...)
	return err
}

func (m *slotMove) close() {
	for _, c := range m.primaries {
		if c != nil {
			c.close()
		}
	}
}
