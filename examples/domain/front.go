package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
)

//go:embed web
var web embed.FS

// front is the domain: the page, and the apps below their names. A browser opens 6
// connections to one port, and cookies ignore ports, so it listens on several.
type front struct {
	mux       *http.ServeMux
	apps      []app
	transport *http.Transport // to the apps

	page  string // the port of the page
	ports []int  // those that take the storm

	inFlight, peak atomic.Int64
	cookies        atomic.Int64 // Set-Cookie headers that went through
}

func newFront(apps []app) *front {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256 // as many as a browser opens
	f := &front{mux: http.NewServeMux(), apps: apps, transport: transport}
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the folder is embedded
	}
	f.mux.Handle("GET /", http.FileServerFS(files))
	f.mux.HandleFunc("GET /-/about", f.about)
	f.mux.HandleFunc("POST /-/reset", f.reset)
	for _, a := range apps {
		f.mux.Handle("GET /"+a.Name+"/", f.counted(http.StripPrefix("/"+a.Name, &httputil.ReverseProxy{
			Transport: transport,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(a.target)
				r.SetXForwarded()
			},
			ModifyResponse: func(r *http.Response) error {
				f.cookies.Add(int64(len(r.Header["Set-Cookie"])))
				return nil
			},
		})))
	}
	return f
}

func (f *front) listensOn(listeners []net.Listener) {
	f.page = strconv.Itoa(listeners[0].Addr().(*net.TCPAddr).Port)
	for _, l := range listeners[1:] {
		f.ports = append(f.ports, l.Addr().(*net.TCPAddr).Port)
	}
}

// ServeHTTP lets the page's own requests through. Another site's page can send some
// to the loopback too: it is told by its Origin, and by the name that it has given
// to the loopback.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if host != "127.0.0.1" && host != "localhost" {
		http.Error(w, "this domain is called 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
		return
	}
	h, home := w.Header(), "http://"+net.JoinHostPort(host, f.page)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
	if from := r.Header.Get("Origin"); from != "" {
		if from != home {
			http.Error(w, "this is for the domain's own page", http.StatusForbidden)
			return
		}
		h.Set("Access-Control-Allow-Origin", from)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if r.URL.Path == "/" {
		h.Set("Content-Security-Policy", f.policy(host))
	}
	f.mux.ServeHTTP(w, r)
}

// policy lets the page talk to our ports, and to nobody else.
func (f *front) policy(host string) string {
	var b strings.Builder
	b.WriteString("default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; " +
		"form-action 'none'; frame-ancestors 'none'; connect-src 'self'")
	for _, port := range f.ports {
		fmt.Fprintf(&b, " http://%s:%d", host, port)
	}
	return b.String()
}

// counted measures how many requests are with the apps at once.
func (f *front) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := f.inFlight.Add(1)
		defer f.inFlight.Add(-1)
		for peak := f.peak.Load(); now > peak && !f.peak.CompareAndSwap(peak, now); peak = f.peak.Load() {
		}
		next.ServeHTTP(w, r)
	})
}

// about tells the page what there is.
func (f *front) about(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(map[string]any{
		"apps": f.apps, "ports": f.ports, "peak": f.peak.Load(), "cookies": f.cookies.Load(),
	})
}

// reset begins to measure anew.
func (f *front) reset(http.ResponseWriter, *http.Request) {
	f.peak.Store(f.inFlight.Load())
	f.cookies.Store(0)
}
