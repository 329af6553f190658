package child

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// Ports are those that a kind of server listens on. They lie below the range from which
// Linux picks ports for outgoing connections, so that only another test can take a free
// one, also while its server restarts.
type Ports struct {
	First, Count int
	Beside       int // if not 0, the server takes the port that lies so far above, too
}

// attempts is how many ports are tried.
const attempts = 50

// Start calls run with one port after another until one is really free, and returns that.
func (p Ports) Start(run func(port int) (*Process, error)) (started *Process, port int, err error) {
	for range attempts {
		port = p.free()
		if started, err = run(port); err == nil {
			return started, port, nil
		}
		if !isTaken(err) {
			break
		}
	}
	return nil, 0, err
}

// free returns a port that is free at the moment.
func (p Ports) free() int {
	for {
		port := p.First + rand.IntN(p.Count)
		if isFree(port) && isFree(port+p.Beside) {
			return port
		}
	}
}

// Address returns 127.0.0.1:port.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func isFree(port int) bool {
	l, err := net.Listen("tcp4", Address(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// isTaken reports whether another process won the race for the port.
func isTaken(err error) bool {
	var ended *EndedError
	return errors.As(err, &ended) && (strings.Contains(ended.Log, "Address already in use") ||
		strings.Contains(ended.Log, "Failed listening on port"))
}
