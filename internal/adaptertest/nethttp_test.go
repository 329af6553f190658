package adaptertest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"go.uber.org/goleak"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/internal/adaptertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNetHTTP(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, m *pazzo.Manager) string {
		mux := http.NewServeMux()
		routes(func(path string, h http.HandlerFunc) { mux.HandleFunc("GET "+path, h) })
		return start(t, recovers(m.Handler(mux)))
	})
}

func TestChi(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, m *pazzo.Manager) string {
		router := chi.NewRouter()
		router.Use(recovers, m.Handler)
		routes(func(path string, h http.HandlerFunc) { router.Get(path, h) })
		return start(t, router)
	})
}

func start(t *testing.T, app http.Handler) (url string) {
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	return server.URL
}

// recovers answers a panic.
func recovers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// routes registers handlers, which use no more than net/http.
func routes(get func(path string, h http.HandlerFunc)) {
	get("/inc", func(w http.ResponseWriter, r *http.Request) {
		n, err := pazzo.Counter(r.FormValue("k")).Add(r.Context(), 1)
		answer(w, n, err)
	})
	get("/get", func(w http.ResponseWriter, r *http.Request) {
		n, err := pazzo.Counter(r.FormValue("k")).Get(r.Context())
		answer(w, n, err)
	})
	get("/login", func(w http.ResponseWriter, r *http.Request) {
		user := r.FormValue("user")
		answer(w, user, pazzo.FromContext(r.Context()).Authenticate(r.Context(), user))
	})
	get("/logout", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "", pazzo.FromContext(r.Context()).Destroy(r.Context()))
	})
	get("/stream", visited(func(w http.ResponseWriter, r *http.Request) {
		adaptertest.Stream(r.Context(), func(line string) {
			io.WriteString(w, line)
			w.(http.Flusher).Flush()
		})
	}))
	get("/events", visited(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		adaptertest.Events(r.Context(), func(n int64) {
			fmt.Fprintf(w, "data: %d\n\n", n)
			w.(http.Flusher).Flush()
		})
	}))
	get("/socket", visited(socket))
	get("/panic", visited(func(http.ResponseWriter, *http.Request) { panic(http.ErrNotSupported) }))
	get("/error", visited(func(w http.ResponseWriter, _ *http.Request) { answer(w, nil, http.ErrNotSupported) }))
}

func socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		_, field, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), websocket.MessageText, []byte(adaptertest.Answer(r.Context(), string(field)))); err != nil {
			return
		}
	}
}

func visited(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := adaptertest.Visit(r.Context()); err != nil {
			answer(w, nil, err)
			return
		}
		h(w, r)
	}
}

func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		w.WriteHeader(pazzo.StatusCode(err))
		return
	}
	fmt.Fprint(w, value)
}
