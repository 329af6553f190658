package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sentinelName  = "mymaster"
	sentinelCount = 3
	replicaCount  = 2
	// The Sentinels take a primary for dead after this many ms. The first figure
	// suits a busy machine, on which nothing may fail over by itself; the second
	// is in force from KillPrimary to the end of WaitFailover.
	downAfter, downAfterKill = 10_000, 500
)

// Sentinel is a primary with two replicas under the watch of three Sentinels,
// of which two decide. Its methods may be called from any goroutine.
type Sentinel struct {
	servers   []*Server // the first primary, then its replicas
	sentinels []*Server
	auth      *authority // nil without TLS
}

// RunSentinel starts the six processes, keeps their files in dir, and returns
// when the Sentinels know each other and the replicas, and these are in step.
// The args go to the primary and the replicas; with "--requirepass", also give
// "--masterauth" the same password. ctx bounds the start only; the caller ends
// it with [Sentinel.Kill].
func RunSentinel(ctx context.Context, dir string, args ...string) (*Sentinel, error) {
	return runSentinel(ctx, dir, nil, args)
}

func runSentinel(ctx context.Context, dir string, auth *authority, args []string) (*Sentinel, error) {
	s := &Sentinel{auth: auth}
	if err := s.run(ctx, dir, args); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

func (s *Sentinel) run(ctx context.Context, dir string, args []string) error {
	args = slices.Concat([]string{"--repl-diskless-sync-delay", "0"}, args)
	if s.auth != nil {
		args = append([]string{"--tls-replication", "yes"}, args...)
	}
	sub, err := subdir(dir, "server", 0)
	if err != nil {
		return err
	}
	primary, err := runServer(ctx, sub, s.auth, args)
	if err != nil {
		return err
	}
	s.servers = []*Server{primary}
	host, port, _ := net.SplitHostPort(primary.Addr())
	replicas, err := runAll(replicaCount, func(i int) (*Server, error) {
		sub, err := subdir(dir, "server", i+1)
		if err != nil {
			return nil, err
		}
		return runServer(ctx, sub, s.auth, slices.Concat(args, []string{"--replicaof", host, port}))
	})
	if err != nil {
		return err
	}
	s.servers = append(s.servers, replicas...)
	// A Sentinel asks for the replicas when it connects and then every ten
	// seconds: so they come first.
	if err := s.waitReplicas(ctx, primary.Addr()); err != nil {
		return err
	}
	s.sentinels, err = runAll(sentinelCount, func(i int) (*Server, error) {
		sub, err := subdir(dir, "sentinel", i)
		if err != nil {
			return nil, err
		}
		return runOneSentinel(ctx, sub, primary)
	})
	if err != nil {
		return err
	}
	return s.WaitHealthy(ctx)
}

func runOneSentinel(ctx context.Context, dir string, primary *Server) (*Server, error) {
	host, port, _ := net.SplitHostPort(primary.Addr())
	s := &Server{dir: dir, ready: sentinelReady, auth: primary.auth}
	err := s.run(ctx, func(own int) ([]string, error) {
		var b strings.Builder
		fmt.Fprintf(&b, "bind 127.0.0.1\ndir %q\n", dir)
		if a := primary.auth; a == nil {
			fmt.Fprintf(&b, "port %d\n", own)
		} else {
			fmt.Fprintf(&b, "port 0\ntls-port %d\ntls-replication yes\ntls-auth-clients no\n", own)
			fmt.Fprintf(&b, "tls-cert-file %q\ntls-key-file %q\ntls-ca-cert-file %q\n", a.certFile, a.keyFile, a.caFile)
		}
		fmt.Fprintf(&b, "sentinel monitor %s %s %s 2\n", sentinelName, host, port)
		fmt.Fprintf(&b, "sentinel down-after-milliseconds %s %d\n", sentinelName, downAfter)
		fmt.Fprintf(&b, "sentinel failover-timeout %s 2000\n", sentinelName)
		fmt.Fprintf(&b, "sentinel parallel-syncs %s %d\n", sentinelName, replicaCount)
		if primary.password != "" {
			fmt.Fprintf(&b, "sentinel auth-pass %s %q\n", sentinelName, primary.password)
		}
		conf := filepath.Join(dir, "sentinel.conf")
		if err := os.WriteFile(conf, []byte(b.String()), 0o600); err != nil {
			return nil, fmt.Errorf("redistest: %w", err)
		}
		return []string{conf, "--sentinel"}, nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// waitReplicas returns when the server at the address primary is the only
// primary and the others are in step.
func (s *Sentinel) waitReplicas(ctx context.Context, primary string) error {
	return until(ctx, "the replicas", func() error {
		for _, server := range s.servers {
			role, err := server.role(ctx)
			if err != nil {
				return err
			}
			if (role == "master") != (server.Addr() == primary) {
				return fmt.Errorf("%s is a %s", server.Addr(), role)
			}
			if err := inStep(ctx, server); err != nil {
				return fmt.Errorf("%s: %w", server.Addr(), err)
			}
		}
		return nil
	})
}

// WaitHealthy returns when every process runs, the Sentinels know each other,
// agree on the primary, which is up, and the replicas are in step.
func (s *Sentinel) WaitHealthy(ctx context.Context) error {
	err := until(ctx, "the sentinels", func() error {
		var first string
		for i, sentinel := range s.sentinels {
			state, err := sentinelState(ctx, sentinel)
			if err != nil {
				return fmt.Errorf("sentinel %d: %w", i, err)
			}
			got := fmt.Sprintf("%s: %s with %s replicas and %s other sentinels", net.JoinHostPort(state["ip"], state["port"]),
				state["flags"], state["num-slaves"], state["num-other-sentinels"])
			want := fmt.Sprintf(": master with %d replicas and %d other sentinels", replicaCount, sentinelCount-1)
			if first == "" {
				first = got
			}
			if got != first || !strings.HasSuffix(got, want) {
				return fmt.Errorf("sentinel %d sees %s", i, got)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	primary, err := s.PrimaryAddr(ctx)
	if err != nil {
		return err
	}
	return s.waitReplicas(ctx, primary)
}

// sentinelState returns what the Sentinel says of the primary.
func sentinelState(ctx context.Context, sentinel *Server) (map[string]string, error) {
	reply, err := sentinel.Do(ctx, "SENTINEL", "MASTER", sentinelName)
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	state := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		state[name], _ = list[i+1].(string)
	}
	return state, nil
}

// Addrs returns the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string {
	addrs := make([]string, len(s.sentinels))
	for i, sentinel := range s.sentinels {
		addrs[i] = sentinel.Addr()
	}
	return addrs
}

// URL returns the store URL, redis+sentinel://h1:p,h2:p,h3:p/mymaster/0, or
// rediss+sentinel:// with TLS. It has the servers' password in it if the arguments
// had --requirepass.
func (s *Sentinel) URL() string {
	user := ""
	if u, err := url.Parse(s.servers[0].URL()); err == nil && u.User != nil {
		user = u.User.String() + "@"
	}
	return s.servers[0].scheme() + "+sentinel://" + user + strings.Join(s.Addrs(), ",") + "/" + sentinelName + "/0"
}

// CAFile returns the path of the authority's certificate in PEM, or "" without
// TLS.
func (s *Sentinel) CAFile() string { return s.servers[0].CAFile() }

// Servers returns the first primary and its replicas, whatever they are now.
func (s *Sentinel) Servers() []*Server { return append([]*Server(nil), s.servers...) }

// Sentinels returns the Sentinels themselves.
func (s *Sentinel) Sentinels() []*Server { return append([]*Server(nil), s.sentinels...) }

// Kill ends all processes at once.
func (s *Sentinel) Kill() error {
	return errors.Join(killAll(s.sentinels), killAll(s.servers))
}

// PrimaryAddr returns the address of the primary according to the first
// Sentinel that runs.
func (s *Sentinel) PrimaryAddr(ctx context.Context) (string, error) {
	for _, sentinel := range s.sentinels {
		if !sentinel.Running() {
			continue
		}
		return primaryAddr(ctx, sentinel)
	}
	return "", errors.New("redistest: no sentinel runs")
}

func primaryAddr(ctx context.Context, sentinel *Server) (string, error) {
	reply, err := sentinel.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelName)
	if err != nil {
		return "", err
	}
	list, _ := reply.([]any)
	if len(list) != 2 {
		return "", errors.New("redistest: the sentinel knows no primary")
	}
	host, _ := list[0].(string)
	port, _ := list[1].(string)
	return net.JoinHostPort(host, port), nil
}

// Primary returns the server that is the primary according to the Sentinels.
func (s *Sentinel) Primary(ctx context.Context) (*Server, error) {
	addr, err := s.PrimaryAddr(ctx)
	if err != nil {
		return nil, err
	}
	for _, server := range s.servers {
		if server.Addr() == addr {
			return server, nil
		}
	}
	return nil, fmt.Errorf("redistest: the primary %s is none of ours", addr)
}

// Failover has the Sentinels promote a replica while the primary lives, and
// returns when they all agree on the new one. The old primary turns into a
// replica about ten seconds later: [Sentinel.WaitHealthy] waits for that.
func (s *Sentinel) Failover(ctx context.Context) error {
	old, err := s.Primary(ctx)
	if err != nil {
		return err
	}
	err = until(ctx, "the failover to begin", func() error {
		_, err := s.sentinels[0].Do(ctx, "SENTINEL", "FAILOVER", sentinelName)
		return err // NOGOODSLAVE and INPROG pass
	})
	if err != nil {
		return err
	}
	_, err = s.WaitFailover(ctx, old.Addr())
	return err
}

// KillPrimary kills the primary and returns it: its Restart brings it back, and
// the Sentinels turn it into a replica. See [Sentinel.WaitFailover].
func (s *Sentinel) KillPrimary(ctx context.Context) (*Server, error) {
	primary, err := s.Primary(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.setDownAfter(ctx, downAfterKill); err != nil {
		return nil, err
	}
	return primary, primary.Kill()
}

// setDownAfter tells the Sentinels that run after how many ms a silent primary is
// dead.
func (s *Sentinel) setDownAfter(ctx context.Context, ms int) error {
	for _, sentinel := range s.sentinels {
		if !sentinel.Running() {
			continue
		}
		if _, err := sentinel.Do(ctx, "SENTINEL", "SET", sentinelName, "down-after-milliseconds", strconv.Itoa(ms)); err != nil {
			return err
		}
	}
	return nil
}

// WaitFailover returns when a server other than the one at the address old is
// the primary and all running Sentinels agree on it. The time is that of the
// promotion as seen from here, from which a client's recovery is counted.
func (s *Sentinel) WaitFailover(ctx context.Context, old string) (promoted time.Time, err error) {
	seen := make(map[string]time.Time) // address → first seen as a primary
	err = until(ctx, "a failover", func() error {
		for _, server := range s.servers {
			addr := server.Addr()
			if addr == old || !server.Running() || !seen[addr].IsZero() {
				continue
			}
			if role, err := server.role(ctx); err == nil && role == "master" {
				seen[addr] = time.Now()
			}
		}
		addr, err := s.agreed(ctx)
		if err != nil {
			return err
		}
		promoted = seen[addr]
		if promoted.IsZero() {
			return errors.New("the sentinels still have " + addr)
		}
		return nil
	})
	if err != nil {
		return promoted, err
	}
	return promoted, s.setDownAfter(ctx, downAfter)
}

// agreed returns the address that all running Sentinels have for the primary.
func (s *Sentinel) agreed(ctx context.Context) (string, error) {
	var first string
	for i, sentinel := range s.sentinels {
		if !sentinel.Running() {
			continue
		}
		addr, err := primaryAddr(ctx, sentinel)
		if err != nil {
			return "", err
		}
		if first == "" {
			first = addr
		}
		if addr != first {
			return "", fmt.Errorf("redistest: sentinel %d has %s, another %s", i, addr, first)
		}
	}
	return first, nil
}
