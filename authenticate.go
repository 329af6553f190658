package pazzo

import (
	"context"
	"errors"

	"github.com/pazzo-sessions/pazzo/record"
)

// maxLogins is how often Authenticate starts over when the session changes hands
// under it.
const maxLogins = 8

// Authenticate logs user in. Call it when the app has verified who it is, a second
// time as well: the session gets a new token, the older ones end at once, and its
// timeouts begin anew. Its fields stay, unless another user was logged in: then
// the session is destroyed and an empty one made.
//
// A request whose own session is gone, or was superseded by another login, gets a
// new session.
//
// ErrBlocked is returned when the user is blocked, ErrTooManySessions when the cap
// refuses another session, ErrMayEvict when a cap is set and the store may evict,
// ErrGone when the login was revoked or evicted while it was under way,
// ErrResponseStarted when the cookie can no longer be set, and ErrTooLarge when
// the name is over record.MaxUser (1 KiB).
func (s *Session) Authenticate(ctx context.Context, user string) error {
	if err := s.mayRenew(ctx); err != nil {
		return err
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	for range maxLogins {
		again, err := s.logIn(ctx, user)
		if !again {
			return err
		}
	}
	return ErrConflict
}

// logIn tries to log user in. It is to be tried again when another request has
// changed the session between two steps. The order of the steps is that of
// record.Index.
func (s *Session) logIn(ctx context.Context, user string) (again bool, err error) {
	m := s.manager
	handle, fresh, err := s.loginHandle(ctx, user)
	if err != nil {
		return false, err
	}
	list, again, err := m.enlist(ctx, user, handle)
	if err != nil || again {
		return again, err
	}
	reply, err := s.authenticate(ctx, user, handle, fresh)
	if errors.Is(err, ErrOutcomeUnknown) { // it may be the user's now: leave it listed
		return false, err
	}
	if err != nil {
		m.unlist(ctx, user, handle)
		return false, err
	}
	if reply.Status != record.OK {
		m.unlist(ctx, user, handle)
		return s.lostLogin(ctx, handle, fresh, &reply)
	}
	if err := m.confirm(ctx, user, handle); err != nil {
		return false, err
	}
	if fresh {
		s.begin(handle, &reply)
		m.happened(ctx, LifeCycle{Event: Created, Handle: handle})
	} else {
		s.notice(&reply)
		s.renewed(&reply)
	}
	m.happened(ctx, LifeCycle{Event: Authenticated, Handle: handle, User: user})
	m.finish(ctx, user, list)
	return false, nil
}

// loginHandle returns the session that user is to be logged in to: the request's
// own, or a fresh one if it has none or another user's, which is destroyed.
func (s *Session) loginHandle(ctx context.Context, user string) (h record.Handle, fresh bool, err error) {
	c := newCall(record.GetIdentity())
	defer c.release()
	reply, err := s.doAlone(ctx, &c.batch)
	if err != nil {
		return h, false, err
	}
	if owner := reply.Identity.User; owner != "" && owner != user {
		if err := s.destroy(ctx, record.Replaced); err != nil && !isRefusal(err) {
			return h, false, err
		}
	}
	if handle, _, isLive := s.held(); isLive {
		return handle, false, nil
	}
	return record.NewHandle(), true, nil
}

// isRefusal reports whether an error says that the session is no longer the
// request's.
func isRefusal(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, ErrSuperseded)
}

// authenticate applies the login to the record.
func (s *Session) authenticate(ctx context.Context, user string, h record.Handle, fresh bool) (record.Reply, error) {
	login := record.Authenticate(user, record.NewSecret(), s.manager.expiry.Absolute)
	c := newCall(login)
	defer c.release()
	if fresh {
		c.batch.Ops = append(c.batch.Ops[:0], record.Create(record.NewSecret(), s.manager.expiry), login)
	} else {
		_, c.batch.Access, _ = s.held()
	}
	return s.manager.apply(ctx, "renew", h, &c.batch)
}

// lostLogin says what follows when the record did not take the login.
func (s *Session) lostLogin(ctx context.Context, h record.Handle, fresh bool, reply *record.Reply) (again bool, err error) {
	if fresh { // its pending entry was revoked
		return false, ErrGone
	}
	if reply.Status == record.OtherUser {
		return true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse(ctx, h, reply)
	if reply.Status == record.Ended && (reply.Reason == record.Revoked || reply.Reason == record.Evicted) {
		return false, ErrGone
	}
	return true, nil
}

// enlist adds the session to the user's list, within the cap. It is to be tried
// again with another session when this one was over the cap already.
func (m *Manager) enlist(ctx context.Context, user string, h record.Handle) (list *record.IndexReply, again bool, err error) {
	if m.options.MaxPerUser < record.MaxSessions {
		if err := m.mustList(ctx); err != nil {
			return nil, false, err
		}
	}
	step := record.IndexStep{
		Kind:     record.Enlist,
		Handle:   h,
		Max:      m.options.MaxPerUser,
		Evict:    m.options.WhenFull == EvictOldest,
		Lifetime: m.expiry.Absolute,
	}
	reply, err := m.applyIndex(ctx, user, &step)
	if err == nil && reply.Status == record.IndexUnverified {
		if _, err = m.survey(ctx, user, &reply); err == nil {
			step.Verified = true
			reply, err = m.applyIndex(ctx, user, &step)
		}
	}
	if err != nil {
		return nil, false, err
	}
	switch reply.Status {
	case record.IndexBlocked:
		return nil, false, ErrBlocked
	case record.IndexFull:
		return nil, false, ErrTooManySessions
	case record.IndexDoomed:
		m.finish(ctx, user, &reply)
		return nil, true, nil
	}
	return &reply, false, nil
}

// confirm makes the entry of a login that the record has taken final. If that is
// not possible the session is destroyed: nobody may stay logged in unlisted.
func (m *Manager) confirm(ctx context.Context, user string, h record.Handle) error {
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Confirm, Handle: h})
	reason := record.Evicted
	switch {
	case err != nil:
	case reply.Status == record.IndexOK:
		return nil
	case reply.Status == record.IndexBlocked:
		reason, err = record.Revoked, ErrBlocked
	default:
		err = ErrGone
	}
	if _, _, problem := m.end(ctx, h, reason, user); problem != nil {
		m.trouble(ctx, "cannot end a session whose login failed", h, problem)
	} else {
		m.unlist(ctx, user, h)
	}
	return err
}
