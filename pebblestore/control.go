package pebblestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// control answers on a socket in the directory, so that another process can take a
// backup of an open store. Whoever may write to the socket may read the files
// anyway. A client sends "checkpoint\n" and is answered "ok NAME\n", the checkpoint's
// name in the directory, or "error TEXT\n"; the checkpoint is there for as long as
// the connection.
type control struct {
	en       *engine
	listener net.Listener
	folder   *os.File // keeps the path good
	mu       sync.Mutex
	conns    map[net.Conn]bool
	closed   bool
	serving  sync.WaitGroup
}

const (
	controlRequest = "checkpoint\n"
	// controlTimeout bounds the making of a checkpoint.
	controlTimeout = time.Minute
	// maxSocketPath is how long the path of a socket may be, in bytes, on every
	// system.
	maxSocketPath = 100
)

// errNotServed says that nobody listens at a directory's socket.
var errNotServed = errors.New("nobody serves the directory")

// socketPath returns a path by which the socket of a directory can be used, and what
// must be kept open for that.
func socketPath(dir string) (string, *os.File, error) {
	path := filepath.Join(dir, controlSocket)
	if len(path) <= maxSocketPath {
		return path, nil, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path of the directory is longer than %d bytes", maxSocketPath-len(controlSocket)-1)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), controlSocket), folder, nil
}

// listen starts the control of a directory on the real file system. Its lock is held,
// so a socket that is there was left by a crash.
func (en *engine) listen() (*control, error) {
	if en.fs != vfs.Default {
		return nil, nil
	}
	path, folder, err := socketPath(en.dir)
	if err != nil {
		return nil, err
	}
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		folder.Close()
		return nil, err
	}
	c := &control{en: en, listener: l, folder: folder, conns: map[net.Conn]bool{}}
	c.serving.Go(c.serve)
	return c, nil
}

func (c *control) serve() {
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // too many open files, or the like
			continue
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			conn.Close()
			return
		}
		c.conns[conn] = true
		c.serving.Go(func() {
			c.answer(conn)
			conn.Close()
			c.mu.Lock()
			delete(c.conns, conn)
			c.mu.Unlock()
		})
		c.mu.Unlock()
	}
}

func (c *control) answer(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(controlTimeout))
	in := bufio.NewReaderSize(conn, 64)
	if line, err := in.ReadString('\n'); err != nil || line != controlRequest {
		return
	}
	name, err := c.en.checkpoint()
	if err != nil {
		fmt.Fprintf(conn, "error %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	conn.SetDeadline(time.Time{}) // the copy takes as long as it takes
	if _, err := fmt.Fprintf(conn, "ok %s\n", name); err == nil {
		in.ReadByte() // until the client is gone, or the store closes
	}
	if err := c.en.fs.RemoveAll(c.en.fs.PathJoin(c.en.dir, name)); err != nil {
		c.en.opts.Logger.Error("pebblestore: a checkpoint was not removed", "directory", c.en.dir, "error", err)
	}
}

// close ends it, and the backups under way.
func (c *control) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.listener.Close()
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.serving.Wait()
	c.folder.Close()
}

// served is a checkpoint of an open store, for as long as it is not closed.
type served struct {
	name string
	conn net.Conn
}

func (s *served) close() { s.conn.Close() }

// askCheckpoint asks who has the directory for a checkpoint.
func askCheckpoint(ctx context.Context, dir string) (*served, error) {
	path, folder, err := socketPath(dir)
	if err != nil {
		return nil, errNotServed
	}
	defer folder.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, errNotServed
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	conn.SetDeadline(time.Now().Add(2 * controlTimeout))
	line := ""
	if _, err = conn.Write([]byte(controlRequest)); err == nil {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "ok ")
	if err == nil && ok && strings.HasPrefix(name, checkpoints) && filepath.Base(name) == name {
		return &served{name, conn}, nil
	}
	conn.Close()
	if err == nil {
		err = errors.New(strings.TrimSuffix(line, "\n"))
	}
	return nil, fmt.Errorf("pebblestore: the process that has %s gives no backup: %w", dir, err)
}
