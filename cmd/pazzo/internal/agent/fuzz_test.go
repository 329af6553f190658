package agent

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// FuzzConnection holds the agent to take whatever a client sends, and to end the
// connection in good order.
func FuzzConnection(f *testing.F) {
	k := token{record.NewHandle(), record.NewSecret()}
	create := evalsha(k, &record.Batch{Ops: []record.Op{record.Create(k.secret, lasting), record.Set("n", "1")}})
	f.Add([]byte(frame(create...) + frame("HGETALL", k.key()) + frame("HMGET", k.key(), "n", "\x00m")))
	step := protocol.StepArgs(protocol.TagOf("ann"), &record.IndexStep{Kind: record.Refresh, Handle: k.handle, Lifetime: 1000})
	f.Add([]byte(frame(append([]string{"EVALSHA", protocol.IndexScript.SHA, "1", protocol.IndexKey("pazzo:", "ann")}, step...)...)))
	f.Add([]byte("HELLO 3 SETNAME a\r\nCLIENT LIST\r\nINFO\r\nCOMMAND DOCS\r\nPAZZO.INFO\r\nSELECT 3\r\nRESET\r\nQUIT\r\n"))
	a, err := New(f.Context(), testConfig(f), quiet())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { a.Close() })
	f.Fuzz(func(t *testing.T, input []byte) {
		nc := &recording{Reader: bytes.NewReader(input)}
		newConn(a, nc).serve(context.Background())
		if !nc.closed {
			t.Error("the connection is open")
		}
	})
}

// recording is a connection on which everything has been sent.
type recording struct {
	*bytes.Reader
	closed bool
}

func (*recording) Write(p []byte) (int, error)      { return len(p), nil }
func (*recording) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (*recording) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (*recording) SetDeadline(time.Time) error      { return nil }
func (*recording) SetReadDeadline(time.Time) error  { return nil }
func (*recording) SetWriteDeadline(time.Time) error { return nil }

func (r *recording) Close() error {
	r.closed = true
	return nil
}
