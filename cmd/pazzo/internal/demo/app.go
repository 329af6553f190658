package demo

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/pazzo-sessions/pazzo"
)

// items are the session's counters: a shopping cart.
var items = []string{"apples", "bread", "cheese", "dates", "eggs", "figs", "grapes", "honey"}

// app is what the web apps do. They share no more than programs on one domain would:
// the store, and the secret key of their Managers.
type app struct {
	sessions *pazzo.Manager
	classic  *classicStore
	runs     *runs
	counters counters
}

// handlers returns what the page's port serves, and what the other ports serve.
func handlers(store pazzo.Store, secret string, s *site) (page, apps http.Handler, err error) {
	var both [2]*app
	classic, runs := &classicStore{}, &runs{}
	for i := range both {
		sessions, err := pazzo.New(store, &pazzo.Options{SecretKeys: []string{secret}})
		if err != nil {
			return nil, nil, err
		}
		both[i] = &app{sessions: sessions, classic: classic, runs: runs, counters: own{}}
	}
	mux := http.NewServeMux()
	mux.Handle("/mux/", http.StripPrefix("/mux", both[0].onMux()))
	mux.Handle("/chi/", http.StripPrefix("/chi", both[1].onChi()))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxAtOnce}}
	for _, peer := range s.peers {
		one := *both[0]
		one.counters = through{peer, client}
		mux.Handle("/"+peer.Name+"/", http.StripPrefix("/"+peer.Name, one.onMux()))
	}
	apps = s.guard(mux)

	all := http.NewServeMux()
	all.Handle("/mux/", mux)
	all.Handle("/chi/", mux)
	all.Handle("GET /events", both[0].sessions.Handler(http.HandlerFunc(events)))
	all.Handle("/", both[0].sessions.Handler(s.pageHandler()))
	return s.guard(all), apps, nil
}

func (a *app) onMux() http.Handler {
	mux := http.NewServeMux()
	for _, route := range a.routes() {
		mux.HandleFunc(route.method+" "+route.path, route.handler)
	}
	return a.sessions.Handler(mux)
}

func (a *app) onChi() http.Handler {
	router := chi.NewRouter()
	router.Use(a.sessions.Handler)
	for _, route := range a.routes() {
		router.MethodFunc(route.method, route.path, route.handler)
	}
	return router
}

type route struct {
	method, path string
	handler      http.HandlerFunc
}

func (a *app) routes() []route {
	return []route{
		{"POST", "/storm", a.beginStorm},
		{"POST", "/storm/{item}", a.inRun(a.storm)},
		{"GET", "/storm/{run}", a.stormResult},
		{"POST", "/race", a.beginRace},

		{"POST", "/pazzo/fresh", a.pazzoFresh},
		{"POST", "/pazzo/add/{item}", a.inRun(a.pazzoAdd)},
		{"POST", "/pazzo/login", a.event(a.pazzoLogin)},
		{"POST", "/pazzo/logout", a.event(a.pazzoLogout)},
		{"GET", "/pazzo/state", a.pazzoState},

		{"POST", "/classic/fresh", a.classicFresh},
		{"POST", "/classic/add/{item}", a.inRun(a.classicAdd)},
		{"POST", "/classic/login", a.event(a.classicLogin)},
		{"POST", "/classic/logout", a.event(a.classicLogout)},
		{"GET", "/classic/state", a.classicState},
	}
}

// inRun counts the request in and has it start with the run's wave, before anything
// asks for its session.
func (a *app) inRun(next func(http.ResponseWriter, *http.Request, *run)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, ok := a.runOf(r)
		if !ok || !slices.Contains(items, r.PathValue("item")) {
			http.NotFound(w, r)
			return
		}
		defer run.enter(r.Context())()
		next(w, r, run)
	}
}

// runOf returns the run that the request belongs to. One without is on its own.
func (a *app) runOf(r *http.Request) (*run, bool) {
	id := r.FormValue("run")
	if id == "" {
		return newRun(0, 0, 0), true
	}
	return a.runs.get(id)
}

// happening is what a login or logout tells the page.
type happening struct {
	At float64 `json:"at"` // ms since the run began
}

// lead is how long the requests in a race are at work before the login or logout.
const lead = 60 * time.Millisecond

// event has a login or logout happen when the run's other requests have read their
// sessions and are at work.
func (a *app) event(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, ok := a.runOf(r)
		if !ok {
			http.NotFound(w, r)
			return
		}
		run.underWay(r.Context(), lead)
		if err := do(w, r); err != nil {
			fail(w, err)
			return
		}
		writeJSON(w, http.StatusOK, happening{run.clock()})
	}
}

// begun names a run.
type begun struct {
	Run string `json:"run"`
}

// beginRace begins a run whose requests take long enough for something to happen
// meanwhile.
func (a *app) beginRace(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, begun{a.runs.add(raceWriters, 30*time.Millisecond, 180*time.Millisecond)})
}

// written is what a request in a race tells the page.
type written struct {
	Value int64   `json:"value"` // of the counter, as acknowledged
	From  float64 `json:"from"`  // when the session was read, ms since the run began
	To    float64 `json:"to"`    // when it was written
	Error string  `json:"error,omitempty"`
}

func number(r *http.Request) int {
	n, _ := strconv.Atoi(r.FormValue("i")) // 0 is as good as any
	return n
}

// cart is what a session holds of the items.
type cart map[string]int64

// state is who is logged in, and the cart.
type state struct {
	Live bool   `json:"live"`
	User string `json:"user"`
	Cart cart   `json:"cart"`
}

// emptyCart sets all counters to 0, in one write.
func emptyCart(ctx context.Context) error {
	return pazzo.Atomically(ctx, func(ctx context.Context) error {
		for _, item := range items {
			if err := pazzo.Counter(item).Set(ctx, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func readCart(ctx context.Context) (cart, error) {
	fields, err := pazzo.FromContext(ctx).All(ctx)
	if err != nil {
		return nil, err
	}
	c := make(cart)
	for name, text := range fields {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && slices.Contains(items, name) {
			c[name] = n
		}
	}
	return c, nil
}

// fail answers with the status that suits the error.
func fail(w http.ResponseWriter, err error) {
	writeJSON(w, pazzo.StatusCode(err), written{Error: plain(err)})
}

// plain says what an error means.
func plain(err error) string {
	switch {
	case errors.Is(err, pazzo.ErrGone):
		return "ended"
	case errors.Is(err, pazzo.ErrSuperseded):
		return "superseded"
	}
	return err.Error()
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(text) // the browser may be gone
}
