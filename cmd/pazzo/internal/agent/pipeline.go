package agent

import (
	"context"
	"sync"
)

// pipeline lets several commands of a connection wait for a slow store at the same
// time. Replies go out in the order of the commands, and commands on the same
// session or index are done in their order. The reader adds tasks; one goroutine
// sends their replies.
type pipeline struct {
	ctx     context.Context
	conn    *conn
	queue   chan *task // in the order of the replies
	running sync.WaitGroup
	ended   chan struct{} // the sender has
	// tails has, for each lane, what is closed when its last task is done. Some lanes
	// share one, which costs little: commands then wait without need.
	tails [64]chan struct{}
}

// alone is from which size on, in bytes, a command waits until those before it are
// done: so a connection holds few large ones at a time.
const alone = 64 << 10

func startPipeline(ctx context.Context, c *conn) *pipeline {
	p := &pipeline{ctx: ctx, conn: c, queue: make(chan *task, c.agent.settings().MaxPipeline), ended: make(chan struct{})}
	go p.send()
	return p
}

// add takes a task whose reply is due next. It waits while there are too many.
func (p *pipeline) add(t *task, size int) {
	if t.work == nil {
		p.queue <- t
		return
	}
	if size >= alone {
		p.running.Wait()
	}
	tail := &p.tails[int(t.lane)%len(p.tails)]
	before, done := *tail, make(chan struct{})
	t.done, *tail = done, done
	p.queue <- t
	p.running.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		t.do(p.ctx, p.conn.agent)
	})
	if size >= alone {
		p.running.Wait()
	}
}

// send sends replies, together if they are there at the same time. After an error it
// only waits for the tasks, and the connection is closed, which the reader notices.
func (p *pipeline) send() {
	defer close(p.ended)
	var replies []byte
	var err error
	for t := range p.queue {
		if t.done != nil {
			replies, err = p.await(t, replies, err)
		}
		if err == nil {
			replies = append(replies, t.own.Bytes()...)
		}
		t.release()
		if len(p.queue) == 0 || len(replies) >= flushSize {
			replies, err = p.flush(replies, err)
		}
	}
}

// await waits until a task is done. What is collected goes out first.
func (p *pipeline) await(t *task, replies []byte, err error) ([]byte, error) {
	select {
	case <-t.done:
	default:
		replies, err = p.flush(replies, err)
		<-t.done
	}
	return replies, err
}

func (p *pipeline) flush(replies []byte, err error) ([]byte, error) {
	if err == nil && len(replies) > 0 {
		if err = p.conn.send(replies); err != nil {
			p.conn.nc.Close()
		}
	}
	if cap(replies) > 2*flushSize || len(p.queue) == 0 {
		return nil, err // an idle connection holds no buffer
	}
	return replies[:0], err
}

// close waits for the tasks under way and sends their replies.
func (p *pipeline) close() {
	close(p.queue)
	<-p.ended
	p.running.Wait()
}
