package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// slots is a range of a Cluster's hash slots and the address of its primary.
type slots struct {
	first, last int64
	address     string
}

// errMoved is returned when a Cluster's primaries are others than they were.
var errMoved = errors.New("redisstore: the Cluster's slots have moved")

func (s *Store) isCluster() bool {
	return !s.option.ForceSingleClient && s.option.Sentinel.MasterSet == ""
}

// contactCluster connects to all primaries of a Cluster.
func (s *Store) contactCluster(ctx context.Context, n *nodes) (err error) {
	if n.slots, err = s.slots(ctx); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, r := range n.slots {
		if seen[r.address] {
			continue
		}
		seen[r.address] = true
		option := s.option
		option.InitAddress, option.ForceSingleClient = []string{r.address}, true
		if err := s.contactNode(ctx, n, option, s.beatOf(r)); err != nil {
			return err
		}
		n.list[len(n.list)-1].address = r.address
	}
	return nil
}

// beatOf returns a key for the heartbeat of the primary that has a range of slots.
func (s *Store) beatOf(r slots) string {
	for i := 0; ; i++ {
		if tag := strconv.Itoa(i); r.has(slotOf(tag)) {
			return s.prefix + "none{" + tag + "}"
		}
	}
}

func (r slots) has(slot int64) bool { return r.first <= slot && slot <= r.last }

// of returns the node that has a key, or nil.
func (n *nodes) of(key string) *node {
	if n.slots == nil {
		return n.list[0]
	}
	_, tag, _ := strings.Cut(key, "{")
	slot := slotOf(strings.TrimSuffix(tag, "}"))
	for _, r := range n.slots {
		if r.has(slot) {
			for _, each := range n.list {
				if each.address == r.address {
					return each
				}
			}
		}
	}
	return nil
}

// sameSlots returns errMoved if the Cluster's primaries are others than those of n.
func (s *Store) sameSlots(ctx context.Context, n *nodes) error {
	if n.slots == nil {
		return nil
	}
	now, err := s.slots(ctx)
	if err == nil && !slices.Equal(now, n.slots) {
		return errMoved
	}
	return err
}

// slots asks a Cluster which primary has which slots.
func (s *Store) slots(ctx context.Context) ([]slots, error) {
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Arbitrary("CLUSTER", "SLOTS").ReadOnly()
	})
	if err != nil {
		return nil, err
	}
	ranges, err := result.ToArray()
	if err != nil {
		return nil, err
	}
	var list []slots
	for i := range ranges {
		r, err := slotsOf(&ranges[i])
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b slots) int { return int(a.first - b.first) })
	return list, nil
}

// slotsOf reads: first, last, primary, replica…, of which each is host, port, ….
func slotsOf(m *rueidis.RedisMessage) (r slots, err error) {
	parts, err := m.ToArray()
	if err != nil || len(parts) < 3 {
		return r, fmt.Errorf("redisstore: no answer to CLUSTER SLOTS: %w", err)
	}
	first, err1 := parts[0].AsInt64()
	last, err2 := parts[1].AsInt64()
	primary, err3 := parts[2].ToArray()
	if err := errors.Join(err1, err2, err3); err != nil || len(primary) < 2 {
		return r, fmt.Errorf("redisstore: no answer to CLUSTER SLOTS: %w", err)
	}
	host, err1 := primary[0].ToString()
	port, err2 := primary[1].AsInt64()
	if err := errors.Join(err1, err2); err != nil {
		return r, err
	}
	return slots{first, last, net.JoinHostPort(host, strconv.FormatInt(port, 10))}, nil
}

// slotOf returns the hash slot of a tag: CRC16 (XMODEM), of which 14 bits count (Redis
// Cluster specification, "Key distribution model").
func slotOf(tag string) int64 {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int64(crc % 16384)
}
