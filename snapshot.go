package pazzo

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/pazzo-sessions/pazzo/record"
)

// snapshot is what a request in Snapshot mode has loaded. A field that the
// request has written since is read from the store again, so that the request
// sees its own writes.
type snapshot struct {
	fields  []record.Field // sorted by name
	written map[string]bool
}

func (p *snapshot) get(name string) (text string, found bool) {
	i, found := slices.BinarySearchFunc(p.fields, name, func(f record.Field, name string) int {
		return strings.Compare(f.Name, name)
	})
	if !found {
		return "", false
	}
	return p.fields[i].Text, true
}

// wrote has the snapshot forget a field, or all for an empty name, and a load
// that is under way be repeated.
func (s *Session) wrote(name string) {
	if s.manager.options.Reads != Snapshot {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	switch {
	case s.snapshot == nil:
	case name == "":
		s.snapshot = nil
	default:
		if s.snapshot.written == nil {
			s.snapshot.written = make(map[string]bool)
		}
		s.snapshot.written[name] = true
	}
}

func (s *Session) snapshotGet(ctx context.Context, name string) (text string, found bool, err error) {
	if err := record.CheckName(name, s.manager.options.Limits); err != nil {
		return "", false, err
	}
	live := false
	err = s.withSnapshot(ctx, func(p *snapshot) {
		live = p.written[name]
		text, found = p.get(name)
	})
	if live {
		return s.get(ctx, name, true)
	}
	return text, found, err
}

// snapshotAll loads again only the fields that the request has written.
func (s *Session) snapshotAll(ctx context.Context) (fields []record.Field, err error) {
	for {
		var writes uint64
		var written map[string]bool
		err := s.withSnapshot(ctx, func(p *snapshot) {
			fields, written, writes = p.fields, maps.Clone(p.written), s.writes
		})
		if err != nil || len(written) == 0 {
			return fields, err
		}
		now, _, err := s.load(ctx, false)
		if err != nil {
			return nil, err
		}
		fields = merge(fields, now, written)
		s.mu.Lock()
		still := s.snapshot != nil && s.writes == writes
		if still {
			s.snapshot = &snapshot{fields: fields}
		}
		s.mu.Unlock()
		if still {
			return fields, nil
		}
	}
}

// merge returns the fields of old, but those in written as they are in now.
func merge(old, now []record.Field, written map[string]bool) []record.Field {
	fields := slices.DeleteFunc(slices.Clone(old), func(f record.Field) bool { return written[f.Name] })
	for _, f := range now {
		if written[f.Name] {
			fields = append(fields, f)
		}
	}
	slices.SortFunc(fields, func(a, b record.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

// withSnapshot calls f, under s.mu, with the request's snapshot, which it loads
// if need be.
func (s *Session) withSnapshot(ctx context.Context, f func(*snapshot)) error {
	for {
		s.mu.Lock()
		writes := s.writes
		if s.snapshot != nil {
			f(s.snapshot)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		fields, _, err := s.load(ctx, false)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.writes == writes {
			s.snapshot = &snapshot{fields: fields}
		}
		s.mu.Unlock()
	}
}
