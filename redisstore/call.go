package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
)

// The wait between attempts that a server refused, without jitter.
const (
	firstWait = 5 * time.Millisecond
	lastWait  = 50 * time.Millisecond
)

// errClosed is wrapped when a store is used after Close.
var errClosed = fmt.Errorf("redisstore: %w: the store is closed", record.ErrUnavailable)

// command builds one attempt; rueidis recycles a command once it is answered.
type command func(rueidis.Client) rueidis.Completed

// run calls a script and returns its answer. It repeats the call only after a
// reply that proves that it was not executed.
func (s *Store) run(ctx context.Context, sc *script, key string, args []string, writes bool) (string, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	known := true
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		client, err := s.acquire(ctx)
		if err != nil {
			return "", err
		}
		var cmd rueidis.Completed
		if known {
			cmd = client.B().Evalsha().Sha1(sc.sha).Numkeys(1).Key(key).Arg(args...).Build()
		} else {
			cmd = client.B().Eval().Script(sc.source).Numkeys(1).Key(key).Arg(args...).Build()
		}
		result := client.Do(ctx, cmd)
		client.users.Done()
		err = result.Error()
		if err == nil {
			answer, err := result.ToString()
			if err != nil {
				return "", s.replyError(fmt.Errorf("%w: %w", errReply, err), writes)
			}
			return answer, nil
		}
		v := judge(ctx, err)
		if v == noScript && known {
			known = false // EVAL makes it known to this node
			continue
		}
		if err := s.pause(ctx, v, err, client, wait, writes); err != nil {
			return "", err
		}
	}
}

// query asks what changes nothing. It is repeated once if contact was lost.
func (s *Store) query(ctx context.Context, build command) (rueidis.RedisResult, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	cut := false
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		client, err := s.acquire(ctx)
		if err != nil {
			return rueidis.RedisResult{}, err
		}
		result := client.Do(ctx, build(client))
		client.users.Done()
		err = result.Error()
		if err == nil {
			return result, nil
		}
		v := judge(ctx, err)
		if v == unknown && !cut && ctx.Err() == nil {
			cut = true
			continue
		}
		if err := s.pause(ctx, v, err, client, wait, false); err != nil {
			return rueidis.RedisResult{}, err
		}
	}
}

// pause waits before another attempt, or returns the error if there must be none.
func (s *Store) pause(ctx context.Context, v verdict, err error, client *connection, wait time.Duration, writes bool) error {
	switch v {
	case readOnly:
		s.replace(client)
	case retryable, noScript:
	default:
		return fail(v, err, writes)
	}
	timer := time.NewTimer(wait/2 + rand.N(wait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fail(refused, errors.Join(err, ctx.Err()), writes)
	}
}

// bound applies the store's timeout to ctx.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Done() == nil {
		return s.shared.get(s.timeout), func() {}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= s.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// sharedTimeout gives calls that come within a short time one context, because a
// timer for each would cost as much as a good part of the call.
type sharedTimeout struct {
	current atomic.Pointer[timeoutContext]
}

type timeoutContext struct {
	context.Context
	cancel context.CancelFunc
	fresh  time.Time // until when it is given out
}

// get returns a context that ends after 7/8 to the whole of timeout.
func (t *sharedTimeout) get(timeout time.Duration) context.Context {
	now := time.Now()
	c := t.current.Load()
	if c == nil || now.After(c.fresh) {
		c = &timeoutContext{fresh: now.Add(timeout / 8)}
		c.Context, c.cancel = context.WithTimeout(context.Background(), timeout)
		t.current.Store(c) // others go on with the one before it, which its timer ends
	}
	return c.Context
}

// close ends the timer of the context given out last.
func (t *sharedTimeout) close() {
	if c := t.current.Load(); c != nil {
		c.cancel()
	}
}
