package redisstore

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// TestMixedUpReplies runs calls of two sessions while every two replies are
// swapped: nobody may be shown the other's data. A held access matters most, since
// its secret is not judged: it is there for this.
func TestMixedUpReplies(t *testing.T) {
	server := redistest.Start(t)
	proxy := newSwapper(t, server.Addr())
	s := open(t, "redis://"+proxy.listener.Addr().String(), longEnough)
	sessions := []*session{create(t, s, record.Set("owner", "0")), create(t, s, record.Set("owner", "1"))}
	for _, test := range []struct {
		name string
		mode record.Mode
		op   record.Op
	}{
		{"read, open", record.Open, record.Get("owner")},
		{"read, held", record.Held, record.Get("owner")},
		{"all, open", record.Open, record.GetAll()},
		{"all, held", record.Held, record.GetAll()},
		{"script, open", record.Open, record.SetIfAbsent("owner", "9")},
		{"script, held", record.Held, record.SetIfAbsent("owner", "9")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls sync.WaitGroup
			var failed atomic.Int32
			before := proxy.swapped.Load()
			for range 20 {
				proxy.swap.Store(1)
				for i, x := range sessions {
					calls.Go(func() {
						b := x.batch(test.op)
						b.Access.Mode = test.mode
						reply, err := s.Apply(t.Context(), x.handle, b)
						if err != nil {
							failed.Add(1)
							return
						}
						owner := reply.Values[0].Text
						if len(reply.Fields) > 0 {
							owner = reply.Fields[0].Text
						}
						if reply.Status != record.OK || owner != strconv.Itoa(i) {
							t.Errorf("session %d got %s, %q", i, reply.Status, owner)
						}
					})
				}
				calls.Wait()
			}
			swapped := proxy.swapped.Load() - before
			t.Logf("%d pairs were swapped, and %d of 40 calls failed", swapped, failed.Load())
			if swapped == 0 {
				t.Error("nothing was swapped")
			}
		})
	}
}

// swapper is a proxy that swaps two replies, if two come at about the same time,
// whenever swap is set.
type swapper struct {
	listener net.Listener
	swap     atomic.Int32
	swapped  atomic.Int32 // pairs
}

func newSwapper(t *testing.T, target string) *swapper {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &swapper{listener: listener}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp4", target)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			tasks.Go(func() { io.Copy(server, client); server.Close() })
			tasks.Go(func() { p.down(client, server); client.Close(); server.Close() })
		}
	})
	t.Cleanup(func() { listener.Close(); tasks.Wait() })
	return p
}

func (p *swapper) down(client, server net.Conn) {
	frames := make(chan []byte)
	go func() {
		defer close(frames)
		in := bufio.NewReader(server)
		for {
			frame, err := readFrame(in, nil)
			if err != nil {
				return
			}
			frames <- frame
		}
	}()
	for frame := range frames {
		if p.swap.CompareAndSwap(1, 0) {
			select {
			case second := <-frames:
				client.Write(second)
				p.swapped.Add(1)
			case <-time.After(100 * time.Millisecond):
			}
		}
		client.Write(frame)
	}
}

// readFrame reads one RESP value, whole.
func readFrame(in *bufio.Reader, frame []byte) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	frame = append(frame, line...)
	n, _ := strconv.Atoi(string(line[1 : len(line)-2]))
	switch line[0] {
	case '$', '=', '!':
		if n < 0 {
			return frame, nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(in, text)
		return append(frame, text...), err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return frame, nil
	}
	for range n {
		if frame, err = readFrame(in, frame); err != nil {
			return nil, err
		}
	}
	return frame, nil
}
