package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/internal/child"
	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/pgstore"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

// nearProcess is a process of its own with a near cache, which can be stopped whole, its
// clocks and timers as well as its connections. It is this test program.
type nearProcess struct {
	record.Store // nil: there is Apply only
	*child.Process
	calls *rpc.Client
}

// What makes this program such a process: the URL of its store, and where it listens.
const (
	nearStoreVariable  = "PAZZO_TEST_NEAR_STORE"
	nearSocketVariable = "PAZZO_TEST_NEAR_SOCKET"
)

// startNearProcess runs this test once more, which is to call serveNear first.
func startNearProcess(t *testing.T, url string) *nearProcess {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "near.sock")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), nearStoreVariable+"="+url, nearSocketVariable+"="+socket)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const ready = "the near cache is ready"
	p, err := child.Start(ctx, cmd, ready)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill() // which ends a stopped one, too
		if log := p.Log(); strings.TrimSpace(log) != ready {
			t.Errorf("the process has printed:\n%s", log)
		}
	})
	calls, err := rpc.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { calls.Close() })
	return &nearProcess{Process: p, calls: calls}
}

// serveNear is what such a process does, until it is killed. It returns at once in any other.
func serveNear(t *testing.T, stale time.Duration) {
	url, socket := os.Getenv(nearStoreVariable), os.Getenv(nearSocketVariable)
	if url == "" {
		return
	}
	store, err := openNear(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.New(store, &nearcache.Options{MaxStale: stale})
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Near", nearService{cache}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("the near cache is ready")
	server.Accept(l)
}

func openNear(ctx context.Context, url string) (record.Store, error) {
	if strings.HasPrefix(url, "postgres:") {
		return pgstore.Open(ctx, url, nil)
	}
	return redisstore.Open(ctx, url, nil)
}

// nearService is the cache as net/rpc calls it.
type nearService struct{ cache *nearcache.Cache }

// NearCall and NearAnswer are what goes over the socket.
type NearCall struct {
	Handle record.Handle
	Batch  record.Batch
}

type NearAnswer struct {
	Reply       record.Reply
	Error       string // empty: none
	Unavailable bool   // it is record.ErrUnavailable
	Unknown     bool   // it is record.ErrOutcomeUnknown
}

func (n nearService) Apply(c NearCall, a *NearAnswer) error {
	reply, err := n.cache.Apply(context.Background(), c.Handle, &c.Batch)
	a.Reply = reply
	if err != nil {
		a.Error, a.Unavailable, a.Unknown = err.Error(), errors.Is(err, record.ErrUnavailable), errors.Is(err, record.ErrOutcomeUnknown)
	}
	return nil
}

func (n nearService) Hits(_ struct{}, hits *uint64) error {
	*hits = n.cache.Stats().Hits
	return nil
}

// Apply has the process apply b by its cache.
func (p *nearProcess) Apply(_ context.Context, h record.Handle, b *record.Batch) (record.Reply, error) {
	var a NearAnswer
	switch err := p.calls.Call("Near.Apply", NearCall{h, *b}, &a); {
	case err != nil:
		return record.Reply{}, err
	case a.Unavailable:
		return record.Reply{}, fmt.Errorf("%w: %s", record.ErrUnavailable, a.Error)
	case a.Unknown:
		return record.Reply{}, fmt.Errorf("%w: %s", record.ErrOutcomeUnknown, a.Error)
	case a.Error != "":
		return record.Reply{}, errors.New(a.Error)
	}
	return a.Reply, nil
}

func (p *nearProcess) hits(t *testing.T) (hits uint64) {
	if err := p.calls.Call("Near.Hits", struct{}{}, &hits); err != nil {
		t.Error(err)
	}
	return hits
}

func (p *nearProcess) signal(t *testing.T, s syscall.Signal) {
	if err := p.Signal(s); err != nil {
		t.Error(err)
	}
}
