package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
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
func (s *Store) run(ctx context.Context, sc *protocol.Script, key string, args []string, writes bool) (string, error) {
	ctx, done := s.bound(ctx)
	defer done()
	known, again := true, retry{writes: writes}
	for {
		client, err := s.acquire(ctx)
		if err != nil {
			return "", err
		}
		var cmd rueidis.Completed
		if known {
			cmd = client.B().Evalsha().Sha1(sc.SHA).Numkeys(1).Key(key).Arg(args...).Build()
		} else {
			cmd = client.B().Eval().Script(sc.Source).Numkeys(1).Key(key).Arg(args...).Build()
		}
		result := s.send(ctx, client, cmd, writes)
		client.users.Done()
		err = result.Error()
		if err == nil {
			answer, err := result.ToString()
			if err != nil {
				return "", s.replyError(fmt.Errorf("%w: %w", protocol.ErrReply, err), writes)
			}
			return answer, nil
		}
		v := judge(ctx, err)
		if v == noScript && known {
			known = false // EVAL makes it known to this node
			continue
		}
		if err := s.pause(ctx, &again, v, err, client); err != nil {
			return "", err
		}
	}
}

// send makes one attempt. While a client connects anew it keeps its callers waiting,
// whatever their context says. So once contact is lost, and until there is an answer
// again, an attempt gets a goroutine, which is left behind when ctx ends: for at most
// the time that connecting may take, the store's timeout.
func (s *Store) send(ctx context.Context, client *connection, cmd rueidis.Completed, writes bool) rueidis.RedisResult {
	if !s.lost.Load() {
		return s.exchange(ctx, client, cmd, writes)
	}
	answer := make(chan rueidis.RedisResult, 1)
	aside, cancel := context.WithCancel(context.Background()) // for ctx is reused after the call
	defer cancel()
	client.users.Add(1)
	go func() {
		defer client.users.Done()
		answer <- s.exchange(aside, client, cmd, writes)
	}()
	select {
	case result := <-answer:
		return result
	case <-ctx.Done():
		return rueidis.NewErrorResult(ctx.Err())
	}
}

// exchange sends a command, takes its answer, and notes whether there was one.
func (s *Store) exchange(ctx context.Context, client *connection, cmd rueidis.Completed, writes bool) (result rueidis.RedisResult) {
	if writes {
		result = client.Do(ctx, cmd)
	} else {
		result = s.ofPrimary(ctx, client, cmd)
	}
	if lost := result.NonRedisError() != nil; lost != s.lost.Load() {
		s.lost.Store(lost)
	}
	return result
}

// primaryCheck is how often reads make sure that they talk to a primary. A server
// that has been demoted under its name goes on answering them.
const primaryCheck = time.Second

// ofPrimary sends a read and, if that is due, a write of nothing before it, which
// a replica refuses: its refusal is then the result. A Cluster needs none of it,
// since its replicas answer nothing by themselves.
func (s *Store) ofPrimary(ctx context.Context, client *connection, read rueidis.Completed) rueidis.RedisResult {
	sent := time.Since(s.opened)
	if !s.option.ForceSingleClient && s.option.Sentinel.MasterSet == "" || int64(sent) < s.primaryUntil.Load() {
		return client.Do(ctx, read)
	}
	results := client.DoMulti(ctx, client.B().Del().Key(s.prefix+"none").Build(), read)
	err := results[0].Error()
	var refusal *rueidis.RedisError
	if errors.As(err, &refusal) && judgeReply(refusal.Error()) == readOnly {
		return results[0]
	}
	if err == nil || refusal != nil { // for want of replicas, say, but of a primary
		s.primaryUntil.Store(int64(sent + primaryCheck))
	}
	return results[1]
}

// query asks what changes nothing. It is repeated once if contact was lost.
func (s *Store) query(ctx context.Context, build command) (rueidis.RedisResult, error) {
	ctx, done := s.bound(ctx)
	defer done()
	cut, again := false, retry{}
	for {
		client, err := s.acquire(ctx)
		if err != nil {
			return rueidis.RedisResult{}, err
		}
		result := s.send(ctx, client, build(client), false)
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
		if err := s.pause(ctx, &again, v, err, client); err != nil {
			return rueidis.RedisResult{}, err
		}
	}
}

// retry says when the next attempt of a call may begin.
type retry struct {
	writes bool
	wait   time.Duration
	last   time.Time // none begins later
}

// next returns how long to wait for the next attempt. None begins in the last quarter of
// the time that was left at the first refusal: it might get no answer in time, and make
// an unknown outcome of a certain refusal.
func (r *retry) next(ctx context.Context) (wait time.Duration, ok bool) {
	if r.wait == 0 {
		r.wait = firstWait
		deadline, _ := ctx.Deadline()
		r.last = deadline.Add(-time.Until(deadline) / 4)
	}
	wait = r.wait/2 + rand.N(r.wait)
	r.wait = min(2*r.wait, lastWait)
	return wait, time.Now().Add(wait).Before(r.last)
}

// pause waits before another attempt, or returns the error if there must be none.
func (s *Store) pause(ctx context.Context, r *retry, v verdict, err error, client *connection) error {
	switch v {
	case readOnly:
		s.primaryUntil.Store(0)
		s.replace(client)
	case retryable, noScript:
	default:
		return fail(v, err, r.writes)
	}
	wait, ok := r.next(ctx)
	if !ok {
		return fail(refused, err, r.writes)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fail(refused, errors.Join(err, ctx.Err()), r.writes)
	}
}
