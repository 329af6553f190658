package scscompat

import (
	"context"
	"errors"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

// Commit returns the session's token and the time at which it will have expired, and
// makes the session if there is none. Of a failure of Put and the other methods that
// return none it returns the first. LoadAndSave does all this by itself.
func (s *SessionManager) Commit(ctx context.Context) (string, time.Time, error) {
	d, err := s.find(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return "", time.Time{}, d.failure
	}
	token, info, found, err := d.visit.Current(ctx)
	if err == nil && !found {
		if err = d.visit.SetExpiry(ctx, pazzo.Expiry{}); err == nil {
			token, info, _, err = d.visit.Current(ctx)
		}
	}
	if err != nil {
		return "", time.Time{}, err
	}
	return token, expiry(info), nil
}

// expiry returns when a session ends if nothing more happens.
func expiry(info pazzo.Info) time.Time {
	if idle := time.Now().Add(info.Idle); idle.Before(info.Deadline) {
		return idle.UTC()
	}
	return info.Deadline.UTC()
}

// Destroy ends the session: requests in flight do not bring it back. What the
// request writes afterwards goes into a new one. pazzo.ErrSuperseded is returned when
// another request has renewed the token.
func (s *SessionManager) Destroy(ctx context.Context) error {
	d, err := s.find(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.visit.Destroy(ctx)
	if err != nil && !errors.Is(err, pazzo.ErrGone) {
		return err
	}
	// If it has ended already, the browser may have a new cookie by now.
	d.foreignEnd = err != nil
	d.status = Destroyed
	clear(d.values)
	return nil
}

// RenewToken gives the session a new token, ends the older ones at once, and has its
// lifetime begin anew. Call it at each change of privilege, such as a login. To have
// Pazzo know the user as well, call Authenticate of pazzo.FromContext(Context(ctx))
// instead. pazzo.ErrSuperseded is returned when another request has renewed it first.
func (s *SessionManager) RenewToken(ctx context.Context) error {
	d, err := s.find(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.visit.Renew(ctx); err != nil {
		return err
	}
	if err := d.visit.SetExpiry(ctx, pazzo.Expiry{}); err != nil {
		return err
	}
	d.status = Modified
	return nil
}

// MergeSession writes the fields of another session into this one, in one step, has
// it last as long as the longer of the two, and destroys the other. Without such a
// session, or if it is the same, it does nothing.
func (s *SessionManager) MergeSession(ctx context.Context, token string) error {
	d, err := s.find(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	other := s.sessions.Begin(ctx, nil, token)
	_, theirs, found, err := other.Current(ctx)
	if err != nil || !found {
		return err
	}
	_, ours, exists, err := d.visit.Current(ctx)
	if err != nil || exists && ours.Handle == theirs.Handle {
		return err
	}
	values, err := other.Merge(ctx, d.visit)
	if err != nil {
		return err
	}
	for key, value := range texts(values) {
		d.values[key] = value
	}
	d.status = Modified
	if exists && theirs.Deadline.After(ours.Deadline) || !exists && theirs.Deadline.After(d.loaded.Add(s.Lifetime)) {
		return s.setDeadline(ctx, d, theirs.Deadline)
	}
	return nil
}

// Deadline returns the session's absolute end; an idle timeout may end it before. It
// asks the store; a failure is returned by Commit. A session that is yet to be made
// would end a Lifetime after Load.
func (s *SessionManager) Deadline(ctx context.Context) time.Time {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	_, info, found, err := d.visit.Current(ctx)
	if err != nil && d.failure == nil {
		d.failure = err
	}
	if !found {
		return d.loaded.Add(s.Lifetime).UTC()
	}
	return info.Deadline.UTC()
}

// SetDeadline sets the session's absolute end: from a second to 10 years from now. A
// failure is returned by Commit.
func (s *SessionManager) SetDeadline(ctx context.Context, expire time.Time) {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(s.setDeadline(ctx, d, expire))
}

func (s *SessionManager) setDeadline(ctx context.Context, d *data, expire time.Time) error {
	left := time.Until(expire)
	e := pazzo.Expiry{Timeouts: pazzo.Timeouts{Absolute: left, Idle: left}}
	if s.IdleTimeout > 0 {
		e.Idle = min(s.IdleTimeout, left)
	}
	return d.visit.SetExpiry(ctx, e)
}

// Token returns the session's token: "" if there is no session yet. It asks the
// store; a failure is returned by Commit.
func (s *SessionManager) Token(ctx context.Context) string {
	d := s.data(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	token, _, _, err := d.visit.Current(ctx)
	if err != nil && d.failure == nil {
		d.failure = err
	}
	return token
}
