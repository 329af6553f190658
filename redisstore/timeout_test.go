package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"
)

func isOver(ctx context.Context, within time.Duration) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(within):
		return false
	}
}

func TestBound(t *testing.T) {
	s := &Store{timeout: time.Minute}
	defer s.shared.close()

	caller, cancel := context.WithCancel(t.Context())
	ctx, done := s.bound(caller)
	if ctx.Err() != nil || isOver(ctx, 0) {
		t.Fatal("it has ended before it began")
	}
	cancel()
	if !errors.Is(ctx.Err(), context.Canceled) || !isOver(ctx, time.Minute) {
		t.Errorf("the caller's has ended: %v", ctx.Err())
	}
	done()

	if ctx, done := s.bound(caller); !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("begun although the caller's had ended")
	} else {
		done()
	}

	near, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if ctx, _ := s.bound(near); ctx != near {
		t.Error("a nearer deadline does not stand by itself")
	}
}

// What ends one call ends no other that has the same context after it.
func TestBoundIsUsedAgain(t *testing.T) {
	s := &Store{timeout: time.Minute}
	defer s.shared.close()
	for range 1000 {
		caller, cancel := context.WithCancel(t.Context())
		_, done := s.bound(caller)
		done()
		next, stop := context.WithCancel(t.Context())
		ctx, done := s.bound(next)
		cancel()
		if ctx.Err() != nil || isOver(ctx, 0) {
			t.Fatal("the end of an earlier call's context ended this one")
		}
		done()
		stop()
	}
}

func TestBoundTimesOut(t *testing.T) {
	s := &Store{timeout: 80 * time.Millisecond}
	defer s.shared.close()
	caller, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 { // the contexts of a timeout that is over serve no more
		for _, parent := range []context.Context{context.Background(), caller} {
			start := time.Now()
			ctx, done := s.bound(parent)
			if !isOver(ctx, time.Minute) || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("ended by %v", ctx.Err())
			}
			if took := time.Since(start); took < 70*time.Millisecond {
				t.Errorf("a timeout of %v took %v", s.timeout, took)
			}
			done()
		}
	}
}

// lateContext has a deadline that its timer has not noticed yet.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Microsecond), true }

// TestOwnDeadlineIsNoProof shows that a call which its own deadline ended counts as
// sent, also in the moment before its context has ended.
func TestOwnDeadlineIsNoProof(t *testing.T) {
	if v := judge(lateContext{context.Background()}, context.DeadlineExceeded); v != unknown {
		t.Errorf("verdict %d", v)
	}
	if v := judge(context.Background(), context.DeadlineExceeded); v != retryable {
		t.Errorf("somebody else's deadline: verdict %d", v)
	}
}
