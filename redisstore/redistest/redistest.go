// Package redistest runs the real server, as a single node, a Sentinel trio or
// a six-node Cluster, for tests and benchmarks of code that talks to Redis.
// A [Proxy] in front of it plays a bad network.
//
// Everything listens on 127.0.0.1 only, on ports that are chosen afresh, keeps
// nothing on disk beyond its own temporary directory, and ends with the test.
// On Linux it ends with the process as well, even if that is killed.
//
// The server is redis-server from PATH. The environment variable
// PAZZO_REDIS_SERVER names another program with the same command line, such as
// valkey-server. A missing server fails the test; it never skips it.
//
// The package speaks the protocol itself, so that it does not depend on the
// client under test.
package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Deadlines of a start. They are generous, because parallel test packages share
// the machine; a healthy start takes a tenth of them.
const (
	serverDeadline = 30 * time.Second
	groupDeadline  = 90 * time.Second
)

// Start runs one server and ends it when the test does. The args go to the
// server's command line after ours, so that they win: "--requirepass", "pw".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, serverDeadline, func(ctx context.Context, dir string) (*Server, error) {
		return Run(ctx, dir, args...)
	})
}

// StartTLS is [Start] for a server that accepts TLS only, with a certificate
// for 127.0.0.1 and localhost by an authority made for this server: see
// [Server.CAs] and [Server.CAFile].
func StartTLS(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, serverDeadline, func(ctx context.Context, dir string) (*Server, error) {
		return RunTLS(ctx, dir, args...)
	})
}

// StartCluster runs a Cluster of three primaries with a replica each and ends
// it when the test does. The args go to every node.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return start(t, groupDeadline, func(ctx context.Context, dir string) (*Cluster, error) {
		return RunCluster(ctx, dir, args...)
	})
}

// StartClusterTLS is [StartCluster] for nodes that accept TLS only, among
// themselves too. They share one authority: see [Cluster.CAFile].
func StartClusterTLS(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return start(t, groupDeadline, func(ctx context.Context, dir string) (*Cluster, error) {
		auth, err := newAuthority(dir)
		if err != nil {
			return nil, err
		}
		return runCluster(ctx, dir, auth, args)
	})
}

// StartSentinel runs a primary, two replicas and three Sentinels and ends them
// when the test does. The args go to the primary and the replicas.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	return start(t, groupDeadline, func(ctx context.Context, dir string) (*Sentinel, error) {
		return RunSentinel(ctx, dir, args...)
	})
}

// StartSentinelTLS is [StartSentinel] for servers and Sentinels that accept TLS
// only, among themselves too. They share one authority: see [Sentinel.CAFile].
func StartSentinelTLS(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	return start(t, groupDeadline, func(ctx context.Context, dir string) (*Sentinel, error) {
		auth, err := newAuthority(dir)
		if err != nil {
			return nil, err
		}
		return runSentinel(ctx, dir, auth, args)
	})
}

// StartProxy runs a [Proxy] in front of the address target (host:port) and ends
// it when the test does.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// killer is what the test's end kills.
type killer interface{ Kill() error }

func start[S killer](t testing.TB, limit time.Duration, run func(context.Context, string) (S, error)) S {
	t.Helper()
	dir := t.TempDir() // removed after the clean-up below: clean-ups run last to first
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := run(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Errorf("clean-up: %v", err)
		}
	})
	return s
}

// until calls ready until it returns nil. When ctx ends first, the error says
// what was waited for and what ready said last.
func until(ctx context.Context, what string, ready func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ready()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redistest: waiting for %s: %v: %w", what, last, ctx.Err())
		case <-tick.C:
		}
	}
}

// infoField returns the value of a "name:value" line as INFO and CLUSTER INFO
// have them, or "".
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
