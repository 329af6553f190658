package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	neturl "net/url"
	"strings"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/memstore"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/stores"
)

// space is the keys of one prefix in one database, and the store that has them.
type space struct {
	spaceName
	store   record.Store
	cache   *nearcache.Cache // store, if it is one; it has a store of the others' kinds behind it
	index   hashIndex        // nil if there is a relay
	relay   relay            // nil unless the store's server runs the scripts itself
	tracker *tracker         // nil if the store cannot tell of changes
	failed  <-chan struct{}  // is closed when the store has failed for good; nil if it cannot
	// memory is the store if it is the one in memory, else nil.
	memory *memstore.Store
}

// spaceName tells spaces apart.
type spaceName struct {
	database int
	prefix   string
}

// hashIndex is a store that finds an index by the SHA-256 of its user, which is all
// that a client sends of it.
type hashIndex interface {
	ApplyIndexHash(ctx context.Context, user [sha256.Size]byte, s *record.IndexStep) (record.IndexReply, error)
}

// relay is a store whose server takes scripts' arguments and plain reads as they
// are.
type relay interface {
	Relay(ctx context.Context, script *protocol.Script, key string, args []string, writes bool) (string, error)
	RelayFields(ctx context.Context, key string, names []string) ([]record.Value, error)
	RelayHash(ctx context.Context, key string) (map[string]string, error)
}

// prefixed is a store that only one opens at a time, and that shares what it has open
// with others of other prefixes.
type prefixed interface {
	WithPrefix(prefix string) (record.Store, error)
}

// databases is how many a client can SELECT, as in Redis. Each is a space of its
// own.
const databases = 16

// spaces opens stores as they are needed, and closes them. In memory each space is a
// store of its own, so that nobody reaches a session by its handle alone.
type spaces struct {
	url    string
	memory bool

	mu     sync.Mutex
	byName map[spaceName]*space
	closed bool
}

var (
	errDatabase = errors.New("DB index is out of range")
	errClosing  = errors.New("the agent is closing")
)

func newSpaces(c *Config) *spaces {
	return &spaces{url: c.Store, memory: c.inMemory(), byName: map[spaceName]*space{}}
}

// openTimeout bounds the connecting to a store.
const openTimeout = 10 * time.Second

// get returns a space, which it opens if it is the first to ask. Only memory has
// other databases than 0: a server's is in the store's URL.
func (s *spaces) get(ctx context.Context, database int, prefix string) (*space, error) {
	if database < 0 || database >= databases || database > 0 && !s.memory {
		return nil, errDatabase
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := spaceName{database, prefix}
	if one := s.byName[name]; one != nil {
		return one, nil
	}
	if s.closed {
		return nil, errClosing
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := s.open(ctx, prefix)
	if err != nil {
		return nil, err
	}
	one, err := newSpace(name, store)
	if err != nil {
		store.Close()
		return nil, err
	}
	s.byName[name] = one
	return one, nil
}

// newSpace takes in what kind of store the space has.
func newSpace(name spaceName, store record.Store) (*space, error) {
	one := &space{spaceName: name, store: store}
	behind := store
	if cache, ok := store.(*nearcache.Cache); ok {
		one.cache, behind = cache, cache.Store
	}
	one.relay, _ = behind.(relay)
	one.index, _ = behind.(hashIndex)
	one.memory, _ = behind.(*memstore.Store)
	if store, ok := behind.(failing); ok {
		one.failed = store.Failed()
	}
	if source, ok := behind.(record.Notifier); ok {
		one.tracker = newTracker(name.prefix, source)
	}
	if one.relay == nil && one.index == nil {
		return nil, fmt.Errorf("%w store: an agent cannot use this kind", ErrConfig)
	}
	return one, nil
}

// open opens the store for a prefix. The caller holds the lock.
func (s *spaces) open(ctx context.Context, prefix string) (record.Store, error) {
	for _, one := range s.byName {
		if shared, ok := one.store.(prefixed); ok {
			return shared.WithPrefix(prefix)
		}
	}
	return stores.Open(ctx, withPrefix(s.url, prefix, s.memory))
}

// withPrefix adds the prefix to a store's URL, unless it is one in memory, which has
// no keys.
func withPrefix(url, prefix string, memory bool) string {
	if memory {
		return url
	}
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	return url + separator + "prefix=" + neturl.QueryEscape(prefix)
}

// all returns the open spaces.
func (s *spaces) all() (list []*space) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.byName {
		list = append(list, one)
	}
	return list
}

// failing is a store that may fail for good.
type failing interface{ Failed() <-chan struct{} }

// failed returns a channel that is closed when a store has failed for good, or nil if there
// is none that may. The stores of a directory fail together.
func (s *spaces) failed() <-chan struct{} {
	for _, one := range s.all() {
		if one.failed != nil {
			return one.failed
		}
	}
	return nil
}

// close closes all stores.
func (s *spaces) close() (err error) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, one := range s.all() {
		err = errors.Join(err, one.store.Close())
	}
	return err
}
