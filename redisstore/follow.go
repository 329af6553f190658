package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
)

// The times of following the changes.
const (
	// heartbeat is how often each primary is asked for a sign of life.
	heartbeat = 250 * time.Millisecond
	// firstRefollow and lastRefollow bound the wait before contact is sought again.
	firstRefollow = 50 * time.Millisecond
	lastRefollow  = 5 * time.Second
)

// following is the following of the changes on all primaries.
type following struct {
	listeners record.Listeners // that need to hear of all changes
	keepers   record.Listeners // record.Keepers
	telling   sync.Mutex       // Lost and Current are told one at a time

	mu   sync.Mutex
	end  context.CancelFunc // or nil while nobody listens
	done chan struct{}

	current sync.RWMutex // guards nodes against an end while one is being taken
	nodes   *nodes       // or nil while contact is not complete

	refused, narrowed sync.Once // that is logged
}

// nodes are the primaries, each with a connection on which it tells of changes.
type nodes struct {
	list  []*node
	slots []slots // of a Cluster; else the one node has all
}

// node is a primary.
type node struct {
	address string         // in a Cluster
	client  rueidis.Client // which has the one connection
	wire    rueidis.DedicatedClient
	gone    <-chan error // closed when the connection is
	beat    string       // the key of the heartbeat, which there never is
	reading *gathering
	optIn   bool // it tells of what was read on this connection on request, else of all
	users   sync.WaitGroup
}

// primary returns the node that has a key, or nil. The caller calls users.Done after use.
func (f *following) primary(key string) *node {
	f.current.RLock()
	defer f.current.RUnlock()
	if f.nodes == nil {
		return nil
	}
	n := f.nodes.of(key)
	if n != nil {
		n.users.Add(1)
	}
	return n
}

func (f *following) publish(n *nodes) {
	f.current.Lock()
	defer f.current.Unlock()
	f.nodes = n
}

func (f *following) lost() {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.keepers.Lost()
	f.listeners.Lost()
}

func (f *following) tellCurrent(n *nodes, at time.Time) {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.keepers.Current(at)
	if !n.optIn() {
		f.listeners.Current(at)
	}
}

func (f *following) changed(h record.Handle) {
	f.keepers.Changed(h)
	f.listeners.Changed(h)
}

// follow begins to follow the changes. s.following.mu is held.
func (s *Store) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	f := &s.following
	f.end, f.done = cancel, make(chan struct{})
	done := f.done
	go func() {
		defer close(done)
		for wait := firstRefollow; ctx.Err() == nil; wait = min(2*wait, lastRefollow) {
			if s.followOnce(ctx) {
				wait = firstRefollow
			}
			select {
			case <-time.After(wait/2 + rand.N(wait)):
			case <-ctx.Done():
			}
		}
	}()
}

// unfollow ends that. s.following.mu is held.
func (s *Store) unfollow() {
	f := &s.following
	if f.end == nil {
		return
	}
	f.end()
	<-f.done
	f.end = nil
}

// followOnce follows the changes until contact with a primary is lost, or the primaries
// are others. It reports whether there was contact.
func (s *Store) followOnce(ctx context.Context) bool {
	n, err := s.contact(ctx)
	defer n.close()
	s.explain(n, err)
	if err != nil {
		return false
	}
	s.following.publish(n)
	err = s.keepContact(ctx, n)
	s.following.publish(nil)
	s.following.lost()
	return !errors.Is(err, errNoHeartbeat)
}

// errNoHeartbeat is returned when there was never a sign of life.
var errNoHeartbeat = errors.New("redisstore: no heartbeat")

// keepContact asks for signs of life. A server sends what it has to tell behind the
// answers of the same turn of its loop, so an answer only proves that all has been told
// that happened before the request to which the answer before it belongs.
func (s *Store) keepContact(ctx context.Context, n *nodes) error {
	var before time.Time
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for beats := 0; ; beats++ {
		sent := time.Now()
		if err := s.askAll(ctx, n); err != nil {
			if before.IsZero() {
				return fmt.Errorf("%w: %w", errNoHeartbeat, err)
			}
			return err
		}
		if !before.IsZero() {
			s.following.tellCurrent(n, before)
		}
		before = sent
		if beats == 0 {
			continue // at once, to begin
		}
		select {
		case <-ticker.C:
		case <-n.anyGone():
			return errGone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errGone is returned when a connection is closed.
var errGone = errors.New("redisstore: a connection on which changes are told of has ended")

// askAll asks every primary for a sign of life, at once.
func (s *Store) askAll(ctx context.Context, n *nodes) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	failed := make(chan error, len(n.list)+1)
	for _, each := range n.list {
		go func() { failed <- each.alive(ctx) }()
	}
	go func() { failed <- s.sameSlots(ctx, n) }()
	var errs []error
	for range cap(failed) {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// alive asks for a sign of life by a write of nothing, which a replica refuses, and a
// primary that has lost its Cluster or its replicas.
func (n *node) alive(ctx context.Context) error {
	return n.wire.Do(ctx, n.client.B().Del().Key(n.beat).Build()).Error()
}

// contact connects to all primaries. It returns those to which it did, with an error if
// they are not all.
func (s *Store) contact(ctx context.Context) (*nodes, error) {
	n := &nodes{}
	if s.isCluster() {
		return n, s.contactCluster(ctx, n)
	}
	return n, s.contactNode(ctx, n, s.option, s.prefix+"none")
}

// contactNode connects to one primary and has it tell of changes.
func (s *Store) contactNode(ctx context.Context, n *nodes, option rueidis.ClientOption, beat string) error {
	reading := newGathering()
	dial := option.DialCtxFn
	option.DialCtxFn = func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, dialer, config)
		if err != nil {
			return nil, err
		}
		return reading.over(conn), nil
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return err
	}
	wire, _ := client.Dedicate() // closed in the end, never given back
	each := &node{client: client, wire: wire, beat: beat, reading: reading}
	n.list = append(n.list, each)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	each.gone = wire.SetOnInvalidations(func(keys []rueidis.RedisMessage) {
		reading.told.Add(int64(len(keys)))
		s.changed(keys)
	})
	return s.track(ctx, each)
}

// anyGone returns a channel from which can be read when a connection has ended. There is
// one for most; with several, the heartbeat notices.
func (n *nodes) anyGone() <-chan error {
	if len(n.list) == 1 {
		return n.list[0].gone
	}
	return nil
}

func (n *nodes) close() {
	for _, each := range n.list {
		each.wire.Close()
		each.users.Wait()
		each.client.Close()
	}
}
