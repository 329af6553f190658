package pazzo

import (
	"context"
	"errors"
	"slices"

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
	login := record.Batch{Ops: []record.Op{record.Authenticate(user, record.Secret{}, 0)}}
	if err := login.Check(); err != nil {
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
	handle, fresh, replaces, err := s.loginHandle(ctx, user)
	if err != nil {
		return false, err
	}
	list, again, err := m.enlist(ctx, user, handle)
	if err != nil || again {
		return again, err
	}
	if replaces {
		if err := s.destroy(ctx, record.Replaced); err != nil && !isRefusal(err) {
			m.unlist(ctx, user, handle)
			return false, err
		}
	}
	reply, err := s.authenticate(ctx, user, handle, fresh)
	if err != nil {
		// It may be the user's now, and a session that was there before may be by
		// another request's login: then it stays listed.
		if fresh && !errors.Is(err, ErrOutcomeUnknown) {
			m.unlist(ctx, user, handle)
		}
		return false, err
	}
	if reply.Status != record.OK {
		return s.lostLogin(ctx, user, handle, fresh, &reply)
	}
	if err := m.confirm(ctx, user, handle, &reply); err != nil {
		return false, err
	}
	if fresh {
		s.begin(handle, &reply)
		m.happened(ctx, LifeCycle{Event: Created, Handle: handle})
	} else {
		s.renewed(&reply)
	}
	m.happened(ctx, LifeCycle{Event: Authenticated, Handle: handle, User: user})
	m.finish(ctx, user, list, all)
	return false, nil
}

// loginHandle returns the session that user is to be logged in to: the request's
// own, or a fresh one if it has none or another user's, which that replaces.
func (s *Session) loginHandle(ctx context.Context, user string) (h record.Handle, fresh, replaces bool, err error) {
	c := newCall(record.GetIdentity())
	defer c.release()
	if err := s.doAlone(ctx, c); err != nil {
		return h, false, false, err
	}
	handle, _, isLive := s.held()
	owner := c.reply.Identity.User
	replaces = isLive && owner != "" && owner != user
	if isLive && !replaces {
		return handle, false, false, nil
	}
	return record.NewHandle(), true, replaces, nil
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

// lostLogin says what follows when the record did not take the login. Its entry
// goes only if the record can never become the user's: a token that was superseded
// may have been so by the same user's login.
func (s *Session) lostLogin(ctx context.Context, user string, h record.Handle, fresh bool, reply *record.Reply) (again bool, err error) {
	if fresh || reply.Status == record.OtherUser || reply.Status == record.Ended {
		s.manager.unlist(ctx, user, h)
	}
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
		Lifetime: entryLife(m.expiry.Absolute),
	}
	reply, err := m.applyIndex(ctx, user, &step)
	if err == nil && reply.Status == record.IndexUnverified {
		before := reply
		// A session that this version cannot read counts as live.
		if _, err = m.survey(ctx, user, &before, maxRemains); err == nil || isUnreadable(err) {
			step.Verified = true
			reply, err = m.applyIndex(ctx, user, &step)
			reply.Entries = newlyDoomed(&before, &reply)
		}
	} else if err == nil && reply.Status == record.IndexOK {
		reply.Entries = reply.Entries[:min(len(reply.Entries), maxRemains)]
	}
	if err != nil {
		return nil, false, err
	}
	switch reply.Status {
	case record.IndexBlocked:
		m.finish(ctx, user, &reply, all)
		return nil, false, ErrBlocked
	case record.IndexFull:
		return nil, false, ErrTooManySessions
	case record.IndexDoomed:
		reply.Entries = []record.Entry{{Handle: h, State: record.Doomed}}
		m.finish(ctx, user, &reply, 1)
		return nil, true, nil
	}
	return &reply, false, nil
}

// newlyDoomed returns the entries that were doomed between two replies: of a login
// over the cap, those that it has to end itself. Whoever doomed the others is
// probably at it, and many logins at once must not all end them all.
func newlyDoomed(before, after *record.IndexReply) []record.Entry {
	was := make(map[record.Handle]bool)
	for _, e := range before.Entries {
		was[e.Handle] = e.State == record.Doomed
	}
	return slices.DeleteFunc(after.Entries, func(e record.Entry) bool { return was[e.Handle] })
}

// confirm makes the entry of a login that the record has taken final. If that is
// not possible the session is destroyed: nobody may stay logged in unlisted.
func (m *Manager) confirm(ctx context.Context, user string, h record.Handle, login *record.Reply) error {
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Confirm, Handle: h})
	if left := login.Meta.Deadline - login.Now; err == nil && reply.Status == record.IndexOK && left > m.expiry.Absolute {
		// SetExpiry gave the session a longer life than the entry has.
		reply, err = m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: entryLife(left)})
	}
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
	ctx, cancel := tidying(ctx)
	defer cancel()
	if _, _, problem := m.end(ctx, h, reason, user); problem != nil {
		m.trouble(ctx, "cannot end a session whose login failed", h, problem)
	} else {
		m.unlist(ctx, user, h)
	}
	return err
}
