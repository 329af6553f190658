package nearcache

import (
	"context"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// silent makes a record.Notifier of a store that cannot tell of changes. It tells of none,
// and all the same that all is told: copies need a TTL.
type silent struct{ record.Store }

// Notify implements record.Notifier.
func (silent) Notify(l record.Listener) (stop func()) {
	const ever = 200 * 365 * 24 * time.Hour
	l.Current(time.Now().Add(ever))
	return func() {}
}

// Record implements record.Notifier. Of a previous generation the record knows only that there
// is one, since answers do not have its secret; so it lets no token of that in, and the store
// is asked.
func (s silent) Record(ctx context.Context, h record.Handle) (r record.Record, now int64, err error) {
	whole := record.Batch{Access: record.Access{Mode: record.Admin}, Ops: []record.Op{record.GetAll(), record.GetIdentity()}}
	reply, err := s.Apply(ctx, h, &whole)
	if err != nil || reply.Status != record.OK {
		return r, reply.Now, err
	}
	who := &reply.Identity
	return record.Record{State: record.Live, Meta: reply.Meta, Revision: reply.Revision,
		User: who.User, Auth: who.Auth, Device: who.Device, Fields: reply.Fields}, reply.Now, nil
}
