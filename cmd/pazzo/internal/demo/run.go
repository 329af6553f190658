package demo

import (
	"context"
	"crypto/rand"
	"hash/fnv"
	"strconv"
	"sync"
	"time"
)

// run is one press of a button on the page: what its requests have in common.
type run struct {
	began  time.Time
	least  time.Duration // the shortest simulated work
	spread time.Duration // how much longer the longest is

	mu      sync.Mutex
	flying  int // requests in flight, as this server sees them
	peak    int
	wave    int // how many of the first requests start together
	arrived int
	line    chan struct{} // closed when the wave has arrived
	working int           // requests that have read their session
	busy    chan struct{} // closed when the wave has
}

func newRun(wave int, least, most time.Duration) *run {
	return &run{
		began:  time.Now(),
		least:  least,
		spread: most - least,
		wave:   wave,
		line:   make(chan struct{}),
		busy:   make(chan struct{}),
	}
}

const (
	maxTotal    = 2000 // requests in a storm
	raceWriters = 24   // requests in flight at a login or logout

	// A browser that cannot open enough connections must not wait for ever.
	patience = 5 * time.Second
	keepRuns = 64
)

// runs holds the latest runs. It is safe for concurrent use.
type runs struct {
	mu    sync.Mutex
	byID  map[string]*run
	order []string // the oldest first
}

// add begins a run whose first requests, a wave of them, start together. Each
// request is at work for a time between least and most.
func (s *runs) add(wave int, least, most time.Duration) (id string) {
	r := newRun(wave, least, most)
	id = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[string]*run)
	}
	s.byID[id] = r
	s.order = append(s.order, id)
	if len(s.order) > keepRuns {
		delete(s.byID, s.order[0])
		s.order = s.order[1:]
	}
	return id
}

func (s *runs) get(id string) (*run, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byID[id]
	return r, ok
}

// enter counts a request in and has it wait for the wave, if it is of it. The
// result counts it out.
func (r *run) enter(ctx context.Context) (leave func()) {
	r.mu.Lock()
	r.flying++
	r.peak = max(r.peak, r.flying)
	r.arrived++
	inWave := r.arrived <= r.wave
	if r.arrived == r.wave {
		close(r.line)
	}
	r.mu.Unlock()
	if inWave {
		wait(ctx, r.line)
	}
	return func() {
		r.mu.Lock()
		r.flying--
		r.mu.Unlock()
	}
}

// work is what a handler does between reading its session and writing to it. It
// takes a while that depends on the request's number alone.
func (r *run) work(number int) {
	r.mu.Lock()
	if r.working++; r.working == r.wave {
		close(r.busy)
	}
	r.mu.Unlock()
	h := fnv.New32a()
	h.Write([]byte(strconv.Itoa(number)))
	time.Sleep(r.least + time.Duration(h.Sum32()%1000)*r.spread/1000)
}

// underWay waits until the wave has read its session and been at work for a
// while.
func (r *run) underWay(ctx context.Context, lead time.Duration) {
	if r.wave > 0 {
		wait(ctx, r.busy)
		time.Sleep(lead)
	}
}

// flight returns how many requests are in flight, and the most there have been.
func (r *run) flight() (now, peak int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flying, r.peak
}

// clock returns the time since the run began, in ms.
func (r *run) clock() float64 { return float64(time.Since(r.began).Microseconds()) / 1000 }

func wait(ctx context.Context, c <-chan struct{}) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-ctx.Done():
	}
}
