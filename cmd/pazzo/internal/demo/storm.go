package demo

import (
	"net/http"
	"strconv"
	"time"
)

// beginStorm empties both carts and begins a run.
func (a *app) beginStorm(w http.ResponseWriter, r *http.Request) {
	atOnce, err := strconv.Atoi(r.FormValue("atOnce"))
	if err != nil || atOnce < 1 || atOnce > maxAtOnce {
		http.Error(w, "atOnce must be from 1 to "+strconv.Itoa(maxAtOnce), http.StatusBadRequest)
		return
	}
	if err := emptyCart(r.Context()); err != nil {
		fail(w, err)
		return
	}
	old := a.classic.load(r)
	clear(old.data.Cart)
	if err := old.save(w); err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, begun{a.runs.add(atOnce, 5*time.Millisecond, 20*time.Millisecond)})
}

// acknowledged is what a request of the storm tells the page: the counts that its
// item has reached, and the requests in flight.
type acknowledged struct {
	Pazzo   int64 `json:"pazzo"`
	Classic int64 `json:"classic"`
	Now     int   `json:"now"`
	Peak    int   `json:"peak"`
}

// storm puts one item into both carts. Both sessions are read at its start; then it
// works for a while; then Pazzo adds one, and the classic session is changed and
// saved.
func (a *app) storm(w http.ResponseWriter, r *http.Request, run *run) {
	item := r.PathValue("item")
	old := a.classic.load(r)
	if err := a.counters.get(r, item); err != nil {
		fail(w, err)
		return
	}

	run.work(number(r))

	n, err := a.counters.add(r, item)
	if err != nil {
		fail(w, err)
		return
	}
	old.data.Cart[item]++
	if err := old.save(w); err != nil {
		fail(w, err)
		return
	}
	now, peak := run.flight()
	writeJSON(w, http.StatusOK, acknowledged{n, old.data.Cart[item], now, peak})
}

// stormResult reads both sessions again.
func (a *app) stormResult(w http.ResponseWriter, r *http.Request) {
	run, ok := a.runs.get(r.PathValue("run"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	kept, err := readCart(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	_, peak := run.flight()
	writeJSON(w, http.StatusOK, map[string]any{
		"peak":    peak,
		"pazzo":   kept,
		"classic": a.classic.load(r).data.Cart,
	})
}
