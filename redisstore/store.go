package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// The defaults of Options.
const (
	DefaultPrefix  = "pazzo:"
	DefaultTimeout = time.Second
)

// Options configure a Store. The URL's parameters override them. A nil *Options
// and a zero member mean the defaults.
type Options struct {
	// Prefix begins every key. It ends in ":" and has no braces. Default "pazzo:".
	Prefix string
	// Timeout bounds every call, attempts and waits included. A shorter deadline
	// of the call's context holds as well. Default 1 s, from 1 ms.
	Timeout time.Duration
	// TLS is the configuration for rediss:// and the like; nil verifies the server
	// by the system's roots.
	TLS *tls.Config
	// Logger is told once when the server refuses what Notify needs. No token, name or value
	// is in it. Default slog.Default().
	Logger *slog.Logger
}

// Store is a record.Store in Redis or Valkey. Make it with Open.
type Store struct {
	holder
	prefix  string
	timeout time.Duration
	shared  sharedTimeout
	offset  atomic.Int64 // the server's clock minus ours, ms
	lost    atomic.Bool  // the last attempt that ended had no answer

	following following
	log       *slog.Logger

	opened       time.Time
	primaryUntil atomic.Int64 // until when, from opened, a read need not check, ns
}

var _ record.Store = (*Store)(nil)

// Open connects to the server, or servers, that url names, and makes sure that
// one answers. The forms are:
//
//	redis://[user:password@]host[:port][/db]
//	redis+sentinel://[user:password@]host[:port],…/name[/db]
//	redis+cluster://[user:password@]host[:port],…
//	pazzo://[user:password@]host[:port][/db]      an agent
//	unix://[user:password@]/path                  an agent's Unix socket, or Redis'
//
// and rediss, rediss+sentinel, rediss+cluster, pazzos for the same over TLS. A user
// without a name is the default one: “:password@”. Parameters:
//
//	prefix             Options.Prefix
//	timeout            Options.Timeout, such as 500ms
//	ca                 a file with the certificates, in PEM, to verify the server by
//	sentinel_user      user and password for the Sentinels themselves,
//	sentinel_password  if they have any
//
// An invalid url gives an error that names what is wrong and what is allowed, but
// never a password; an unreachable server gives record.ErrUnavailable.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	c, err := parse(url, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{
		prefix:  c.prefix,
		timeout: c.timeout,
		opened:  time.Now(),
		log:     slog.Default(),
		holder:  holder{option: c.client, stop: make(chan struct{})},
	}
	if opts != nil && opts.Logger != nil {
		s.log = opts.Logger
	}
	s.option.DialCtxFn = s.dial
	client, err := rueidis.NewClient(s.option)
	if err != nil {
		s.close()
		return nil, fail(refused, err, false)
	}
	s.current = &connection{Client: client}
	if err := s.greet(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// greet loads the scripts, where that is allowed, and learns the server's clock.
func (s *Store) greet(ctx context.Context) error {
	bounded, done := s.bound(ctx)
	defer done()
	for _, node := range s.current.Nodes() {
		for _, sc := range []*protocol.Script{&protocol.ApplyScript, &protocol.IndexScript} {
			// A failure does not matter: EVAL follows when a call needs it.
			node.Do(bounded, node.B().ScriptLoad().Script(sc.Source).Build())
		}
	}
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed { return c.B().Time().Build() })
	if err != nil {
		return err
	}
	parts, err := result.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return fmt.Errorf("redisstore: %w: no answer to TIME", record.ErrUnavailable)
	}
	s.learn(parts[0]*1000 + parts[1]/1000)
	return nil
}

// Apply applies b to the session named h; see record.Store.
func (s *Store) Apply(ctx context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	key := protocol.SessionKey(s.prefix, h)
	reads := b.ReadOnly()
	if reads && b.Access.Mode != record.Admin {
		if reply, done, err := s.read(ctx, key, b); done || err != nil {
			return reply, err
		}
	}
	var buffer [16]string
	answer, err := s.run(ctx, &protocol.ApplyScript, key, protocol.AppendBatch(buffer[:0], h, b), !reads)
	if err != nil {
		return record.Reply{}, err
	}
	reply, err := protocol.ParseReply(answer, h, b)
	if err != nil {
		return record.Reply{}, s.replyError(err, !reads)
	}
	s.learn(reply.Now)
	return reply, nil
}

// replyError wraps a failure to understand an answer. What the call did is
// unknown then, and the connection is not to be trusted.
func (s *Store) replyError(err error, writes bool) error {
	if errors.Is(err, record.ErrLayout) || errors.Is(err, record.ErrCorrupt) {
		return fmt.Errorf("redisstore: %w", err)
	}
	s.distrust()
	return fail(unknown, err, writes)
}

// Traits asks the server for its eviction policy; any but noeviction may drop
// sessions and indexes, and so may one that we are not told of.
func (s *Store) Traits(ctx context.Context) (record.Traits, error) {
	policy, err := s.evictionPolicy(ctx)
	if err != nil {
		return record.Traits{}, err
	}
	return record.Traits{Name: "redis", MayEvict: policy != "noeviction"}, nil
}

// evictionPolicy returns maxmemory-policy, or "" if we may not know.
func (s *Store) evictionPolicy(ctx context.Context) (string, error) {
	result, err := s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().ConfigGet().Parameter("maxmemory-policy").Build()
	})
	if err == nil {
		values, err := result.AsStrMap()
		if policy := values["maxmemory-policy"]; err == nil && policy != "" {
			return policy, nil
		}
	}
	result, err = s.query(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Info().Section("memory").Build()
	})
	var reply *rueidis.RedisError
	if errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOPERM") {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info, err := result.ToString()
	if err != nil {
		return "", nil
	}
	_, rest, _ := strings.Cut(info, "maxmemory_policy:")
	policy, _, _ := strings.Cut(rest, "\r\n")
	return policy, nil
}

// Close waits for the calls under way and disconnects.
func (s *Store) Close() error {
	s.following.mu.Lock()
	s.unfollow()
	s.following.mu.Unlock()
	s.close()
	s.shared.close()
	return nil
}

// clockTolerance is how far off, in ms, our idea of the server's clock may be.
const clockTolerance = 20

// learn notes the server's clock, ms since 1970.
func (s *Store) learn(now int64) {
	offset := now - time.Now().UnixMilli()
	if d := offset - s.offset.Load(); d > clockTolerance || d < -clockTolerance {
		s.offset.Store(offset)
	}
}

// now estimates the server's clock.
func (s *Store) now() int64 { return time.Now().UnixMilli() + s.offset.Load() }
