package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Listen opens what the settings say: the Unix socket, TCP, or both. Sockets that
// systemd has opened take their place; see Inherited.
func (a *Agent) Listen(inherited []net.Listener) (listeners []net.Listener, err error) {
	s := a.settings()
	if len(inherited) > 0 {
		for _, l := range inherited {
			if l.Addr().Network() == "tcp" && s.tls != nil {
				l = a.secure(l)
			}
			listeners = append(listeners, l)
		}
		return listeners, nil
	}
	if s.Socket != "" {
		l, err := listenSocket(s.Socket, s.SocketMode)
		if err != nil {
			return nil, invalid("socket", err.Error())
		}
		listeners = append(listeners, l)
	}
	if s.Listen != "" {
		l, err := net.Listen("tcp", s.Listen)
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return nil, invalid("listen", err.Error())
		}
		if s.tls != nil {
			l = a.secure(l)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// socketListener is a Unix socket that goes with its listener, unless another has
// taken its place.
type socketListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
	lock *os.File
}

// listenSocket opens a Unix socket. One that nobody serves any more is replaced;
// anything else at that path is left alone. The lock beside it keeps two agents that
// start at once from replacing each other's.
func listenSocket(path string, mode fs.FileMode) (*socketListener, error) {
	if path == DefaultSocket {
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l, err := replaceSocket(path, mode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	l.lock = lock
	return l, nil
}

// replaceSocket opens the socket under another name, gives it its permissions, and
// only then moves it to its place.
func replaceSocket(path string, mode fs.FileMode) (*socketListener, error) {
	if err := unused(path); err != nil {
		return nil, err
	}
	temporary := path + "." + strconv.Itoa(os.Getpid())
	os.Remove(temporary) // a process of that number may have crashed
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made, err := settle(temporary, path, mode)
	if err != nil {
		l.Close()
		os.Remove(temporary)
		return nil, err
	}
	return &socketListener{UnixListener: l, path: path, made: made}, nil
}

func settle(temporary, path string, mode fs.FileMode) (fs.FileInfo, error) {
	if err := os.Chmod(temporary, mode); err != nil {
		return nil, err
	}
	made, err := os.Lstat(temporary)
	if err != nil {
		return nil, err
	}
	return made, os.Rename(temporary, path)
}

// dialTimeout bounds the question whether somebody serves a socket.
const dialTimeout = time.Second

// unused returns an error unless nothing is at a path but a socket that nobody
// serves.
func unused(path string) error {
	found, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there, and is no socket: it is left alone", path)
	}
	nc, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		nc.Close()
		return fmt.Errorf("%s is served by another process", path)
	}
	if !isRefused(err) {
		return fmt.Errorf("%s is there, and it cannot be told whether it is served: %w", path, err)
	}
	return nil
}

// Addr returns the place of the socket, not the one that it was moved from.
func (l *socketListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close removes the socket.
func (l *socketListener) Close() error {
	err := l.UnixListener.Close()
	if err != nil {
		return err
	}
	defer l.lock.Close()
	if found, err := os.Lstat(l.path); err == nil && os.SameFile(found, l.made) {
		return os.Remove(l.path)
	}
	return nil
}
