package pazzo

import (
	"context"
	"sync"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// maxQueueing bounds the wait in a queue. Queueing only spares conflicts; a
// transaction nested in another on the same field gets through after that.
const maxQueueing = 100 * time.Millisecond

// queue has this process's contenders for one field of one session wait for one
// another instead of colliding. The zero queue is ready.
type queue struct {
	mu    sync.Mutex
	lines map[place]*line
}

type place struct {
	handle record.Handle
	field  string
}

type line struct {
	head  chan struct{} // holds a value while somebody is at the head
	users int           // guarded by queue.mu
}

// enter waits for the head of the line and returns the function that leaves it.
// The wait ends early when ctx does, or after maxQueueing.
func (q *queue) enter(ctx context.Context, h record.Handle, field string) (leave func()) {
	at := place{h, field}
	q.mu.Lock()
	l := q.lines[at]
	if l == nil {
		if q.lines == nil {
			q.lines = make(map[place]*line)
		}
		l = &line{head: make(chan struct{}, 1)}
		q.lines[at] = l
	}
	l.users++
	q.mu.Unlock()
	first := l.wait(ctx)
	return func() {
		if first {
			<-l.head
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(q.lines, at)
		}
	}
}

func (l *line) wait(ctx context.Context) bool {
	select {
	case l.head <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(maxQueueing)
	defer timer.Stop()
	select {
	case l.head <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}
