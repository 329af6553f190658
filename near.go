package pazzo

import (
	"sync/atomic"

	"github.com/pazzo-sessions/pazzo/nearcache"
	"github.com/pazzo-sessions/pazzo/record"
)

// view is the near cache's view of a session, as the request has found it last.
type view struct {
	last atomic.Pointer[nearcache.View]
}

// near returns a good view of the session if there is a near cache, it has a copy, and
// nothing else is to be done; else nil.
func (s *Session) near() *nearcache.View {
	if s.manager.near == nil || s.manager.options.Reads == Snapshot {
		return nil
	}
	if v := s.view.last.Load(); v != nil && v.Good() {
		return v // whoever has a view has noted that the response depends on the session
	}
	h, access, isLive := s.held()
	if !isLive {
		return s.openNear()
	}
	v := s.manager.near.View(h, access)
	s.view.last.Store(v)
	if v == nil || !v.Good() {
		return nil
	}
	return v
}

// openNear opens the session by the near cache, if the request's first token is plainly good
// and asks for nothing else to be done.
func (s *Session) openNear() *nearcache.View {
	s.opening.Lock()
	defer s.opening.Unlock()
	if len(s.candidates) == 0 || s.candidates[0].old || s.manager.options.RotateEvery > 0 {
		return nil
	}
	t := s.candidates[0].token
	v := s.manager.near.View(t.handle, record.Access{Mode: record.Open, Generation: t.generation, Secret: t.secret})
	if v == nil || !v.Good() || v.Revision() < s.candidates[0].revision {
		return nil
	}
	s.mu.Lock()
	s.state, s.current = live, t
	s.mu.Unlock()
	s.candidates = nil
	s.response.accessed.Store(true)
	s.view.last.Store(v)
	return v
}

// readNear reads a field by the near cache, if that is possible. Its text is read by parse,
// and if T is a type whose values nobody can change, only once for all requests.
func readNear[T any](s *Session, name string, parse func(name, text string) (T, error)) (value T, found, ok bool, err error) {
	v := s.near()
	if v == nil {
		return value, false, false, nil
	}
	i := v.Find(name)
	if i < 0 {
		return value, false, record.CheckName(name, s.manager.options.Limits) == nil, nil
	}
	if read, ok := v.Value(i).(kept[T]); ok {
		return read.value, true, true, nil
	}
	if value, err = parse(name, v.Text(i)); err != nil {
		return value, false, true, err
	}
	if isImmutable(value) {
		v.Keep(i, kept[T]{value})
	}
	return value, true, true, nil
}

// kept is what a field's text was read as, by who reads such fields as a T.
type kept[T any] struct{ value T }

// isImmutable reports whether a value can be shared between requests.
func isImmutable(value any) bool {
	switch value.(type) {
	case bool, string, integer, int, int64, int32, int16, int8, uint, uint64, uint32, uint16, uint8, float64, float32:
		return true
	}
	return false
}
