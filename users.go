package pazzo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

const (
	// pendingFor is how long, in ms, a listed login may take before it counts as
	// cut short.
	pendingFor = 60_000
	// entrySlack is how much longer, in ms, an entry is listed than its session
	// may live: the two are not written at the same time, nor by one clock.
	entrySlack = 10 * 60_000
	// maxRemains is how many sessions a login or a touch ends that somebody else
	// should have ended; all is for those who look at the whole list.
	maxRemains = 8
	all        = math.MaxInt
	// tidyingTime bounds what is done after a request's context has ended.
	tidyingTime = 5 * time.Second
)

// entryLife returns how long the entry of a session is listed that has at most
// left ms to live.
func entryLife(left int64) int64 { return min(left+entrySlack, record.MaxTimeout) }

// tidying returns a context for finishing what a request that was cancelled must
// not leave half done.
func tidying(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), tidyingTime)
}

// Sessions lists the live sessions of a user, the oldest login first. ErrLayout
// and ErrCorrupt are returned, with the others listed, when some cannot be read.
func (m *Manager) Sessions(ctx context.Context, user string) ([]Info, error) {
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.List})
	if err != nil {
		return nil, err
	}
	return m.survey(ctx, user, &reply, all)
}

// survey looks up the listed sessions, drops the dead entries, and finishes what
// others have left undone, at most as many sessions as that.
func (m *Manager) survey(ctx context.Context, user string, reply *record.IndexReply, most int) (infos []Info, err error) {
	var dead []record.Handle
	var unreadable []error
	for _, e := range reply.Entries {
		if _, over := verdict(reply, e); over {
			continue
		}
		info, status, err := m.lookUp(ctx, e.Handle)
		switch {
		case isUnreadable(err):
			unreadable = append(unreadable, fmt.Errorf("session %v: %w", e.Handle, err))
		case err != nil:
			return nil, err
		case info.User == user && status == record.OK:
			infos = append(infos, info)
		case m.isDead(ctx, e, info, status, reply.Now):
			dead = append(dead, e.Handle)
		}
	}
	m.unlist(ctx, user, dead...)
	m.finish(ctx, user, reply, most)
	return infos, errors.Join(unreadable...)
}

// isDead reports whether an entry's session is not the user's and never will be. A
// login that is pending may still become one: if it has made no session for long, a
// tombstone keeps it from doing so; if it is to change one that is there, the entry
// stays for as long as that session does.
func (m *Manager) isDead(ctx context.Context, e record.Entry, info Info, status record.Status, now int64) bool {
	switch {
	case status == record.Ended, info.User != "":
		return true
	case e.State == record.Active:
		return status == record.Absent
	case status != record.Absent || now-e.Added <= pendingFor:
		return false
	}
	tombstone := record.Batch{
		Conditions: []record.Condition{{Kind: record.RevisionIs, Revision: 0}}, // there is still no record
		Ops:        []record.Op{record.Destroy(record.Evicted, m.options.KeepTombstones.Milliseconds())},
	}
	reply, err := m.apply(ctx, "destroy", e.Handle, &tombstone)
	if err != nil {
		m.trouble(ctx, "cannot end a login that was cut short", e.Handle, err)
	}
	return err == nil && reply.Status != record.Conflict
}

// isUnreadable reports whether an error concerns one stored record only.
func isUnreadable(err error) bool {
	return errors.Is(err, ErrLayout) || errors.Is(err, ErrCorrupt)
}

// lookUp reads a session by its handle. Anything but record.OK means that there
// is none.
func (m *Manager) lookUp(ctx context.Context, h record.Handle) (Info, record.Status, error) {
	reply, err := m.apply(ctx, "read", h, &record.Batch{Ops: []record.Op{record.GetIdentity()}})
	if err != nil || reply.Status != record.OK {
		return Info{}, reply.Status, err
	}
	return newInfo(h, &reply), record.OK, nil
}

// Revoke destroys a session by its handle, and reports whether there was one.
// Whatever is in flight with it gets ErrGone.
func (m *Manager) Revoke(ctx context.Context, h Handle) (bool, error) {
	user, found, err := m.end(ctx, h, record.Revoked)
	if user != "" {
		m.unlist(ctx, user, h)
	}
	return found, err
}

// end destroys a session, whose user is returned. If ofUser is given, it must be
// that user's or nobody's.
func (m *Manager) end(ctx context.Context, h record.Handle, reason record.Reason, ofUser ...string) (user string, found bool, err error) {
	b := record.Batch{Ops: []record.Op{record.Destroy(reason, m.options.KeepTombstones.Milliseconds())}}
	for _, u := range ofUser {
		b.Conditions = append(b.Conditions, record.Condition{Kind: record.UserIsOrNone, Text: u})
	}
	reply, err := m.apply(ctx, "destroy", h, &b)
	if err != nil || reply.Status != record.OK || !reply.Values[0].Found {
		return "", false, err
	}
	user = reply.Values[0].Text
	m.happened(ctx, LifeCycle{Event: Destroyed, Handle: h, User: user, Reason: reason.String()})
	return user, true, nil
}

// RevokeAll destroys all sessions of a user but those named, as for “log out
// everywhere else” (OWASP ASVS 5.0, 7.4.3), logins under way included. It returns
// how many it ended. If some could not be ended, the others have been, and the
// error says why; call it again.
//
// ErrMayEvict is returned when the store may have lost the user's list, unless
// Options.BestEffortUsers is set. A login that starts later is not hindered: see
// Block.
func (m *Manager) RevokeAll(ctx context.Context, user string, except ...Handle) (int, error) {
	if err := m.mustList(ctx); err != nil {
		return 0, err
	}
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.List})
	if err != nil {
		return 0, err
	}
	return m.revokeListed(ctx, user, &reply, except)
}

func (m *Manager) revokeListed(ctx context.Context, user string, reply *record.IndexReply, except []Handle) (n int, err error) {
	var errs []error
	var over []record.Handle
	for _, e := range reply.Entries {
		if slices.Contains(except, e.Handle) {
			continue
		}
		_, found, err := m.end(ctx, e.Handle, record.Revoked, user)
		if err != nil {
			errs = append(errs, fmt.Errorf("session %v: %w", e.Handle, err))
			continue
		}
		over = append(over, e.Handle)
		if found {
			n++
		}
	}
	m.unlist(ctx, user, over...)
	return n, errors.Join(errs...)
}

// Block ends all sessions of a user and refuses logins (ErrBlocked) for the
// duration, or the absolute timeout if that is longer (0: that), until Unblock:
// for an account that has been disabled (OWASP ASVS 5.0, 7.4.2). A login under
// way is refused too. For a block that lasts for good, have the app refuse the
// login itself; this one outlives every session that might be in flight.
//
// Errors are those of RevokeAll; the block itself is in force unless
// ErrUnavailable or ErrMayEvict is returned before anything was ended.
func (m *Manager) Block(ctx context.Context, user string, d time.Duration) error {
	if err := m.mustList(ctx); err != nil {
		return err
	}
	d = max(d, m.options.Timeouts.Absolute)
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Block, Duration: d.Milliseconds()})
	if err != nil {
		return err
	}
	_, err = m.revokeListed(ctx, user, &reply, nil)
	return err
}

// Unblock permits logins of the user again. Sessions that a Block which failed has
// left are ended first.
func (m *Manager) Unblock(ctx context.Context, user string) error {
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.List})
	if err != nil {
		return err
	}
	m.finish(ctx, user, &reply, all)
	_, err = m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Unblock})
	return err
}

// mustList returns ErrMayEvict when the store may lose a user's list and that has
// not been accepted.
func (m *Manager) mustList(ctx context.Context) error {
	if m.options.BestEffortUsers {
		return nil
	}
	traits, err := m.store.Traits(ctx)
	if err != nil {
		return err
	}
	if traits.MayEvict {
		return fmt.Errorf("%w: %s (for Redis, set maxmemory-policy noeviction; or set Options.BestEffortUsers)", ErrMayEvict, traits.Name)
	}
	return nil
}

// unlist drops handles from a user's index. Trouble is logged: a dead entry is
// dropped whenever the list is next looked at.
func (m *Manager) unlist(ctx context.Context, user string, handles ...record.Handle) {
	if len(handles) == 0 {
		return
	}
	ctx, cancel := tidying(ctx)
	defer cancel()
	if _, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Unlist, Handles: handles}); err != nil {
		m.trouble(ctx, "cannot unlist a session", handles[0], err)
	}
}

// verdict says whether an entry's session is to be ended, and why.
func verdict(reply *record.IndexReply, e record.Entry) (reason record.Reason, over bool) {
	if reply.BlockedUntil != 0 {
		return record.Revoked, true
	}
	return record.Evicted, e.State == record.Doomed
}

// finish destroys and unlists the doomed entries of a reply, and all of a blocked
// user, whoever left them: at most as many as that, the oldest first. Trouble is
// logged: the next look at the list tries again.
func (m *Manager) finish(ctx context.Context, user string, reply *record.IndexReply, most int) {
	ctx, cancel := tidying(ctx)
	defer cancel()
	var ended []record.Handle
	for _, e := range reply.Entries {
		reason, over := verdict(reply, e)
		if !over {
			continue
		}
		if most--; most < 0 {
			break
		}
		if _, _, err := m.end(ctx, e.Handle, reason, user); err != nil {
			m.trouble(ctx, "cannot end a session of a blocked user or over the cap", e.Handle, err)
			continue
		}
		ended = append(ended, e.Handle)
	}
	m.unlist(ctx, user, ended...)
}

// refresh lists a session that has been touched, and ends it if it is no longer
// to be.
func (m *Manager) refresh(ctx context.Context, user string, h record.Handle, meta *record.Meta, now int64) {
	m.list(ctx, user, h, meta.Deadline-now)
}

// list lists a session of the user that has left ms to live. Trouble is logged:
// the next touch tries again.
func (m *Manager) list(ctx context.Context, user string, h record.Handle, left int64) {
	lifetime := entryLife(max(m.expiry.Absolute, left))
	reply, err := m.applyIndex(ctx, user, &record.IndexStep{Kind: record.Refresh, Handle: h, Lifetime: lifetime})
	if err != nil {
		m.trouble(ctx, "cannot list a session", h, err)
		return
	}
	if reply.Status != record.IndexOK { // it may not be in the reply
		own := record.IndexReply{BlockedUntil: reply.BlockedUntil, Entries: []record.Entry{{Handle: h, State: record.Doomed}}}
		m.finish(ctx, user, &own, 1)
	}
	if reply.BlockedUntil != 0 {
		m.finish(ctx, user, &reply, all)
		return
	}
	m.finish(ctx, user, &reply, maxRemains)
}
