package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Agent is the daemon. Make it with New, then Serve. It is for one Serve.
type Agent struct {
	log      *slog.Logger
	began    time.Time
	commands map[string]*command
	spaces   *spaces
	slow     bool // commands of a connection wait for the store together
	current  atomic.Pointer[settings]

	snapshots    snapshots
	commandCount atomic.Int64
	rejected     seldom // connections, for want of room
	refused      seldom // names and passwords
	failures     seldom // of the store
	lastID       atomic.Int64

	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining bool
	serving  sync.WaitGroup // connections
}

// settings are what a reload replaces.
type settings struct {
	Config
	users *users
	tls   *certificates // nil: plain TCP
}

// New checks the settings and the files that they name, opens the store, and loads
// the snapshot if there is one. An invalid setting is ErrConfig, a snapshot that
// cannot be used ErrSnapshot, a store that cannot be reached record.ErrUnavailable.
// Close, or Serve, releases it.
func New(ctx context.Context, c Config, log *slog.Logger) (*Agent, error) {
	s, err := load(&c)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		log:      log,
		began:    time.Now(),
		commands: newCommands(),
		spaces:   newSpaces(&c),
		slow:     !c.inMemory(),
		conns:    map[*conn]struct{}{},
	}
	a.current.Store(s)
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// load makes settings of c, or says what is wrong with them.
func load(c *Config) (*settings, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	users, err := loadUsers(c)
	if err != nil {
		return nil, err
	}
	certificates, err := loadCertificates(c)
	if err != nil {
		return nil, err
	}
	return &settings{Config: *c, users: users, tls: certificates}, nil
}

// open opens the store for every prefix, so that a wrong URL shows at once.
func (a *Agent) open(ctx context.Context) error {
	for _, prefix := range a.settings().users.prefixes() {
		if _, err := a.spaces.get(ctx, 0, prefix); err != nil {
			return err
		}
	}
	if path := a.settings().Snapshot; path != "" {
		return a.loadSnapshot(ctx, path)
	}
	return nil
}

func (a *Agent) settings() *settings { return a.current.Load() }

// now is for answers that the store's clock cannot give.
func (a *Agent) now() int64 { return time.Now().UnixMilli() }

// Reload replaces users, certificates, limits and timeouts. When c is invalid,
// nothing changes. It returns the names of settings that differ and take effect at
// the next start only. Connections of users that are gone, or have another password
// or prefix, are closed.
func (a *Agent) Reload(ctx context.Context, c Config) (later []string, err error) {
	old := a.settings()
	for _, s := range []struct {
		name     string
		was, now *string
	}{
		{"store", &old.Store, &c.Store},
		{"prefix", &old.Prefix, &c.Prefix},
		{"socket", &old.Socket, &c.Socket},
		{"listen", &old.Listen, &c.Listen},
		{"snapshot", &old.Snapshot, &c.Snapshot},
	} {
		if *s.was != *s.now {
			later = append(later, s.name)
			*s.now = *s.was
		}
	}
	if c.SocketMode != old.SocketMode {
		later, c.SocketMode = append(later, "socket-mode"), old.SocketMode
	}
	if c.SnapshotInterval != old.SnapshotInterval {
		later, c.SnapshotInterval = append(later, "snapshot-interval"), old.SnapshotInterval
	}
	if (c.TLSCert == "") != (old.TLSCert == "") {
		return nil, invalid("tls-cert", "TLS can be switched on and off at a start only")
	}
	s, err := load(&c)
	if err != nil {
		return nil, err
	}
	for _, prefix := range s.users.prefixes() {
		if _, err := a.spaces.get(ctx, 0, prefix); err != nil {
			return nil, err
		}
	}
	a.current.Store(s)
	a.each(func(c *conn) {
		if one := c.user.Load(); one != nil && !s.users.still(one) {
			c.nc.Close()
		}
	})
	return later, nil
}

// Serve accepts connections until ctx ends, or the store has failed for good, which is an
// error: only another process may open what is on the disk. Then it stops accepting,
// lets what was read be done, for as long as the drain timeout says, writes the last
// snapshot and closes the store. It closes the listeners.
func (a *Agent) Serve(ctx context.Context, listeners []net.Listener) error {
	working, stop := context.WithCancel(context.Background()) // outlives ctx by the drain
	defer stop()
	ctx, end := context.WithCancel(ctx)
	defer end()
	var background sync.WaitGroup
	if a.settings().Snapshot != "" && a.settings().SnapshotInterval > 0 {
		background.Go(func() { a.snapshotUntil(ctx) })
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		background.Go(func() { failed <- a.accept(ctx, working, l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		end()
	case <-a.spaces.failed(): // closing it says why
		a.log.Error("the store has failed for good, so the agent ends")
		end()
	}
	for _, l := range listeners {
		l.Close()
	}
	background.Wait()
	a.drain(stop)
	if a.settings().Snapshot != "" {
		err = errors.Join(err, a.writeSnapshot())
	}
	return errors.Join(err, a.Close())
}

// drain lets connections end, and cuts them off after the timeout.
func (a *Agent) drain(stop func()) {
	a.mu.Lock()
	a.draining = true
	n := len(a.conns)
	a.mu.Unlock()
	if n > 0 {
		a.log.Info("draining", "connections", n)
	}
	a.each((*conn).drain)
	ended := make(chan struct{})
	go func() {
		a.serving.Wait()
		close(ended)
	}()
	timer := time.NewTimer(a.settings().DrainTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return
	case <-timer.C:
	}
	a.log.Warn("cutting off connections that have not ended", "connections", a.connected())
	stop()
	a.each(func(c *conn) { c.nc.Close() })
	<-ended
}

// Close closes the store. Serve does so by itself.
func (a *Agent) Close() error { return a.spaces.close() }

// The waits after an error of accepting, such as too many open files.
const firstAcceptWait, lastAcceptWait = 5 * time.Millisecond, time.Second

// accept serves the connections of a listener until it is closed or ctx ends.
func (a *Agent) accept(ctx, working context.Context, l net.Listener) error {
	wait := firstAcceptWait
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = firstAcceptWait
			a.start(working, nc)
			continue
		case errors.Is(err, net.ErrClosed):
			return nil
		}
		a.log.Error("accepting failed", "listener", l.Addr().String(), "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastAcceptWait)
	}
}

// start serves a connection, if there is room for it.
func (a *Agent) start(working context.Context, nc net.Conn) {
	a.mu.Lock()
	most := a.settings().MaxConnections
	if a.draining || len(a.conns) >= most {
		a.mu.Unlock()
		a.rejected.log(a.log, slog.LevelWarn, "connection refused", "max-connections", most)
		refuseConnection(nc)
		return
	}
	c := newConn(a, nc)
	a.conns[c] = struct{}{}
	a.serving.Add(1)
	a.mu.Unlock()
	go func() {
		defer a.serving.Done()
		defer a.forget(c)
		c.serve(working)
	}()
}

func (a *Agent) forget(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

// each calls f for each connection. f must not wait.
func (a *Agent) each(f func(*conn)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		f(c)
	}
}

func (a *Agent) connected() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

// seldom logs what happens again and again, not more often than once a second.
type seldom struct {
	count  atomic.Int64
	logged atomic.Int64 // when, in s since 1970
}

func (s *seldom) log(log *slog.Logger, level slog.Level, text string, args ...any) {
	n := s.count.Add(1)
	now := time.Now().Unix()
	if last := s.logged.Load(); last != now && s.logged.CompareAndSwap(last, now) {
		log.Log(context.Background(), level, text, append(args, "times", n)...)
	}
}
