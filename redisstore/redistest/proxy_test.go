package redistest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// through connects to the proxy.
func through(t *testing.T, ctx context.Context, p *Proxy) *conn {
	t.Helper()
	c, err := dial(ctx, p.Addr(), nil)
	must(t, err)
	t.Cleanup(c.close)
	return c
}

func ping(t *testing.T, ctx context.Context, c *conn) {
	t.Helper()
	if reply, err := c.do(ctx, "PING"); err != nil || reply != "PONG" {
		t.Fatalf("PING: %v, %v", reply, err)
	}
}

// noAnswer checks that a new connection fails, at once or when it is used.
func noAnswer(t *testing.T, ctx context.Context, p *Proxy) {
	t.Helper()
	c, err := dial(ctx, p.Addr(), nil)
	if err != nil {
		return
	}
	defer c.close()
	if _, err := c.do(ctx, "PING"); err == nil {
		t.Error("a new connection is served")
	}
}

func TestProxyCutAndRefuse(t *testing.T) {
	ctx := testContext(t)
	p := StartProxy(t, Start(t).Addr())
	a, b := through(t, ctx, p), through(t, ctx, p)
	ping(t, ctx, a)
	ping(t, ctx, b)
	if n := p.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	p.Cut()
	for _, c := range []*conn{a, b} {
		if _, err := c.do(ctx, "PING"); err == nil {
			t.Error("a cut connection answers")
		}
	}
	ping(t, ctx, through(t, ctx, p))
	p.Refuse(true)
	noAnswer(t, ctx, p)
	p.Refuse(false)
	ping(t, ctx, through(t, ctx, p))
}

func TestProxyBlackHole(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	p := StartProxy(t, s.Addr())
	for _, test := range []struct {
		hole     Direction
		executed string
	}{{Up, "0"}, {Down, "1"}, {Up | Down, "0"}} {
		t.Run(fmt.Sprint(test.hole), func(t *testing.T) {
			key := t.Name()
			c := through(t, ctx, p)
			ping(t, ctx, c)
			p.BlackHole(test.hole)
			replied := make(chan error, 1)
			go func() {
				_, err := c.do(ctx, "SET", key, "1")
				replied <- err
			}()
			select {
			case err := <-replied:
				t.Errorf("a reply through a black hole, %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			wantReply(t, ctx, s, test.executed, "EXISTS", key)
			p.Heal()
			must(t, <-replied)
			wantReply(t, ctx, s, "1", "EXISTS", key)
			ping(t, ctx, c)
		})
	}
}

func TestProxyDelay(t *testing.T) {
	ctx := testContext(t)
	p := StartProxy(t, Start(t).Addr())
	c := through(t, ctx, p)
	p.Delay(30*time.Millisecond, 40*time.Millisecond)
	start := time.Now()
	ping(t, ctx, c)
	if took := time.Since(start); took < 70*time.Millisecond {
		t.Errorf("took %v", took)
	}
	p.Delay(0, 0)
	ping(t, ctx, c)
}

func TestProxyCutReply(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	p := StartProxy(t, s.Addr())
	a, b := through(t, ctx, p), through(t, ctx, p)
	ping(t, ctx, a)
	cut := p.CutReply("INCR")
	ping(t, ctx, a)
	ping(t, ctx, b)
	if reply, err := a.do(ctx, "INCR", "n"); err == nil {
		t.Errorf("a reply: %v", reply)
	}
	<-cut
	wantReply(t, ctx, s, "1", "GET", "n") // executed, once
	if reply, err := b.do(ctx, "INCR", "n"); err != nil || reply != int64(2) {
		t.Errorf("another connection: %v, %v", reply, err)
	}

	// The request comes in two pieces, and behind one that is answered earlier.
	cut = p.CutReply("INCR")
	_, err := b.nc.Write([]byte("*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n*2\r\n$4\r\nIN"))
	must(t, err)
	time.Sleep(20 * time.Millisecond)
	_, err = b.nc.Write([]byte("CR\r\n$1\r\nn\r\n"))
	must(t, err)
	<-cut
	wantReply(t, ctx, s, "3", "GET", "n")

	// The connection ends before there is a reply.
	c := through(t, ctx, p)
	cut = p.CutReply("")
	must(t, s.Pause())
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.do(short, "PING"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	p.Cut()
	<-cut
}

func TestProxyCloseEndsABlackHole(t *testing.T) {
	ctx := testContext(t)
	p, err := NewProxy(Start(t).Addr())
	must(t, err)
	c := through(t, ctx, p)
	ping(t, ctx, c)
	p.BlackHole(Up | Down)
	go c.do(ctx, "PING")
	time.Sleep(20 * time.Millisecond)
	p.Close()
	p.Close()
	if n := p.Connections(); n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}

func TestProxyWithoutATarget(t *testing.T) {
	ctx := testContext(t)
	s := Start(t)
	p := StartProxy(t, s.Addr())
	must(t, s.Kill())
	noAnswer(t, ctx, p)
	must(t, s.Restart(ctx))
	ping(t, ctx, through(t, ctx, p))
}
