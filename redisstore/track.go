package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/rueidis"
)

// errRefused is wrapped when a server cannot tell of changes.
var errRefused = errors.New("redisstore: the server does not tell of changes")

// track has a primary tell of changes on the node's connection: of those of all sessions,
// or, where that is refused, of those of the sessions that are read there. What a server
// can do is tried and not concluded from its version, which says nothing of a proxy.
func (s *Store) track(ctx context.Context, n *node) error {
	if err := n.isRESP3(ctx); err != nil {
		return err
	}
	all := n.client.B().Arbitrary("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", s.prefix+"{").Build()
	err := n.wire.Do(ctx, all).Error()
	if _, refused := rueidis.IsRedisErr(err); !refused {
		return err
	}
	n.optIn = true
	for _, answer := range n.wire.DoMulti(ctx, n.client.B().ClientTracking().On().Optin().Build(), n.cachingYes()) {
		if err := answer.Error(); err != nil {
			return orRefused(err)
		}
	}
	return nil
}

// isRESP3 returns an error if the connection has not become one of RESP3: a server that
// knows RESP2 only may accept all the rest, and never tell anything.
func (n *node) isRESP3(ctx context.Context) error {
	hello, err := n.wire.Do(ctx, n.client.B().Arbitrary("HELLO").Build()).ToMessage()
	if err != nil {
		return orRefused(err)
	}
	if !hello.IsMap() {
		return fmt.Errorf("%w: it speaks RESP2", errRefused)
	}
	return nil
}

// cachingYes has the server tell of changes of what the next command reads, once.
func (n *node) cachingYes() rueidis.Completed { return n.client.B().ClientCaching().Yes().Build() }

// orRefused tells a server's refusal from a failure to ask it.
func orRefused(err error) error {
	if _, ok := rueidis.IsRedisErr(err); ok {
		return fmt.Errorf("%w: %w", errRefused, unquoted{err})
	}
	return err
}

// optIn reports whether a server tells only of what is read.
func (n *nodes) optIn() bool {
	return slices.ContainsFunc(n.list, func(each *node) bool { return each.optIn })
}

// explain logs, once each, what a server refuses, for a near cache that keeps nothing looks
// like one that works.
func (s *Store) explain(n *nodes, err error) {
	f := &s.following
	switch {
	case errors.Is(err, errRefused):
		f.refused.Do(func() { s.log.Warn("redisstore: a near cache can keep nothing", "error", err) })
	case err == nil && n.optIn():
		f.narrowed.Do(func() {
			s.log.Info("redisstore: the server refuses to tell of all sessions' changes; it is asked for those of each one that is read")
		})
	}
}
