// Package demo serves a page that shows, in the reader's own browser, what
// concurrent requests do to a session: to one of Pazzo's, and to one that is
// loaded whole when a request starts and saved whole when it ends.
//
// The page's requests go to two apps, one on net/http and one on chi, which share
// the sessions as two apps on one domain do. Nothing on the page is made up: what
// was acknowledged is what the browser was told, and what was kept is what the
// session holds afterwards.
package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// Server is a demo that listens.
type Server struct {
	page    net.Listener
	more    []net.Listener
	taken   string
	store   string // its name
	servers [2]*http.Server
	stop    context.CancelFunc // ends the streams
}

// Listen sets a demo up over store, which stays the caller's. addr must be on the
// loopback; if its port is taken, the next free one is used. The peers take part in
// the storm.
func Listen(addr string, store pazzo.Store, secret string, peers ...Peer) (*Server, error) {
	page, err := listen(addr)
	if err != nil {
		return nil, err
	}
	more, err := listenMore(page, extraPorts)
	if err != nil {
		page.Close()
		return nil, err
	}
	s, err := newServer(addr, page, more, store, secret, peers)
	if err != nil {
		closeAll(append(more, page))
		return nil, err
	}
	return s, nil
}

func newServer(addr string, page net.Listener, more []net.Listener, store pazzo.Store, secret string, peers []Peer) (*Server, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{page: page, more: more, stop: stop}
	if _, port, _ := net.SplitHostPort(addr); port != "0" && port != strconv.Itoa(portOf(page)) {
		s.taken = addr
	}
	if traits, err := store.Traits(ctx); err == nil {
		s.store = traits.Name
	}
	pages, apps, err := handlers(store, secret, newSite(page, more, peers))
	if err != nil {
		stop()
		return nil, err
	}
	for i, h := range []http.Handler{pages, apps} {
		s.servers[i] = &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		}
	}
	return s, nil
}

// URL is where the page is.
func (s *Server) URL() string { return "http://" + s.page.Addr().String() }

// Taken returns the address that was asked for if it was taken, otherwise "".
func (s *Server) Taken() string { return s.taken }

// StoreName says where the sessions are.
func (s *Server) StoreName() string {
	if s.store == "memory" {
		return "in the memory of this process"
	}
	return "in the store (" + s.store + ")"
}

// Serve serves until ctx is done, and returns when every request has ended.
func (s *Server) Serve(ctx context.Context) error {
	defer s.stop()
	failed := make(chan error, 1+len(s.more))
	var serving sync.WaitGroup
	serve := func(server *http.Server, l net.Listener) {
		serving.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	serve(s.servers[0], s.page)
	for _, l := range s.more {
		serve(s.servers[1], l)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stop()
	err = errors.Join(err, s.shutDown())
	serving.Wait()
	return err
}

// shutDown lets requests under way end, for a moment.
func (s *Server) shutDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, server := range s.servers {
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}
	return nil
}
