package agent

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// task is one command on its way: what it asks of the store, and its reply.
type task struct {
	w     *resp.Writer // takes the reply
	space *space

	// work is what is left to do with the store, or nil if w has the reply already.
	work func(ctx context.Context, a *Agent, t *task)
	// lane says which tasks of a connection must be done in order: all on one
	// session or index have the same.
	lane byte

	// What the work is about.
	script *protocol.Script
	key    string
	args   []string
	handle record.Handle
	batch  record.Batch
	user   [sha256.Size]byte
	tag    protocol.Tag
	step   record.IndexStep
	answer []byte

	// Of a plain read.
	ask      func(ctx context.Context, a *Agent, t *task) // asks the store and answers
	show     func(t *task, reply *record.Reply)           // answers
	fresh    bool                                         // not from the near cache
	tracked  bool                                         // the client is told of changes
	previous string                                       // the previous generation, if it is to be shown

	// For a pipeline.
	own  resp.Writer   // w, there
	done chan struct{} // is closed when w has the reply
}

var tasks = sync.Pool{New: func() any { return new(task) }}

// The bounds of what a task keeps for the next: capacities, in elements and bytes.
const (
	keptOps    = 64
	keptAnswer = 16 << 10
)

// release gives a task back without what it refers to. Idle connections have none.
func (t *task) release() {
	if cap(t.args) > keptOps || cap(t.batch.Ops) > keptOps || cap(t.batch.Conditions) > keptOps ||
		cap(t.answer) > keptAnswer || cap(t.own.Bytes()) > keptAnswer {
		return
	}
	t.clear()
	tasks.Put(t)
}

// clear makes t fit for the next command.
func (t *task) clear() {
	clear(t.args)
	clear(t.batch.Conditions)
	clear(t.batch.Ops)
	*t = task{
		args:   t.args[:0],
		batch:  record.Batch{Conditions: t.batch.Conditions[:0], Ops: t.batch.Ops[:0]},
		answer: t.answer[:0],
		own:    t.own,
	}
	t.own.Reset(t.own.Bytes())
}

// do does what is left to do.
func (t *task) do(ctx context.Context, a *Agent) {
	if t.work != nil {
		t.work(ctx, a, t)
	}
}
