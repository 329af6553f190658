package redistest

import "github.com/pazzo-sessions/pazzo/internal/proxy"

// Direction is a direction of a [Proxy]'s traffic. Directions add up: Up|Down.
type Direction = proxy.Direction

// The directions.
const (
	Up   = proxy.Up   // from the client to the server
	Down = proxy.Down // from the server to the client
)

// Proxy forwards TCP connections to an address and does harm on demand. Its methods may be
// called from any goroutine; what they change applies to the connections there are and to
// later ones. It serves any protocol.
type Proxy struct{ *proxy.Proxy }

// NewProxy listens on a free loopback port in front of the address target (host:port). The
// caller ends it with Close.
func NewProxy(target string) (*Proxy, error) {
	p, err := proxy.New(target)
	if err != nil {
		return nil, err
	}
	return &Proxy{p}, nil
}

// URL returns the store URL of a single server behind the proxy, for database 0.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }
