package redisstore

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatComesDenselyGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering()
		due := func(told int64, want bool) {
			t.Helper()
			time.Sleep(gatherWindow)
			g.told.Add(told)
			if got := g.due(); got != want {
				t.Errorf("due: %t after %d changes", got, told)
			}
		}
		due(0, false)
		due(gatherFrom-1, false)
		due(gatherFrom, true)
		if !g.due() {
			t.Error("not due still")
		}
		done := g.wait()
		if g.due() {
			t.Error("due while somebody waits")
		}
		done()
		<-g.asked
		if !g.due() {
			t.Error("not due when nobody waits any more")
		}
		start := time.Now()
		g.rest()
		if took := time.Since(start); took != gatherPause {
			t.Errorf("a rest of %s", took)
		}
		time.AfterFunc(time.Millisecond, func() { g.wait() })
		start = time.Now()
		g.rest()
		if took := time.Since(start); took != time.Millisecond {
			t.Errorf("a rest of %s, though somebody waits after 1 ms", took)
		}
		due(0, false)
	})
}
