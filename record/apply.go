package record

// Apply applies b, which has passed Check, to r at the time now (ms since 1970),
// and reports whether r changed. A record that has expired is taken as absent.
// When the batch is refused, r stays as it was. The reply shares r's strings but
// not its slices.
func (r *Record) Apply(b *Batch, now int64) (reply Reply, changed bool) {
	reply.Now = now
	if r.State != None && now >= r.Expires() {
		r.Reset()
	}
	if len(b.Ops) > 0 {
		switch b.Ops[0].Kind {
		case OpCreate:
			changed = r.create(b, &reply)
			return reply, changed
		case OpDestroy:
			changed = r.destroy(b, &reply)
			return reply, changed
		}
	}
	status, presents := r.judge(b.Access, now)
	if presents {
		r.Meta.Unpresented = false
		r.Previous.Presented = now
	}
	if status != OK {
		r.refuse(status, &reply)
		return reply, false
	}
	changed = r.operate(b, b.Ops, 0, &reply)
	return reply, changed || presents
}

// refuse answers an access that judge did not accept.
func (r *Record) refuse(status Status, reply *Reply) {
	reply.Status = status
	switch status {
	case Ended:
		reply.Reason = r.Tombstone.Reason
	case Superseded:
		reply.Meta, reply.Revision, reply.Size = r.Meta, r.Revision, r.size
		reply.Meta.Secret = Secret{}
	}
}

// hold answers a condition or an operation that stands in the way of an accepted
// access.
func (r *Record) hold(status Status, at int, reply *Reply) {
	*reply = Reply{Status: status, At: at, Now: reply.Now, Meta: r.Meta, Revision: r.Revision, Size: r.size}
}

// create makes the record and applies the rest of the batch to it. It reports
// whether r changed, as the others do.
func (r *Record) create(b *Batch, reply *Reply) bool {
	switch r.State {
	case Live:
		reply.Status = Exists
		return false
	case Dead:
		r.refuse(Ended, reply)
		return false
	}
	op := &b.Ops[0]
	r.State = Live
	r.Meta = Meta{
		Generation: 1,
		Floor:      1,
		Secret:     op.Secret,
		Created:    reply.Now,
		Touched:    reply.Now,
		FloorTime:  reply.Now,
		Renewed:    reply.Now,
	}
	r.Meta.expire(op.Expiry, reply.Now)
	r.operate(b, b.Ops[1:], 1, reply)
	if reply.Status != OK {
		r.Reset()
		reply.Meta, reply.Revision, reply.Size = Meta{}, 0, 0
		return false
	}
	if r.Revision == 0 { // nothing but Create
		r.Revision, reply.Revision = 1, 1
	}
	return true
}

// destroy leaves a tombstone, whether or not there was a record.
func (r *Record) destroy(b *Batch, reply *Reply) bool {
	nothing := r.State == None && b.Access.Mode == Admin
	if status, _ := r.judge(b.Access, reply.Now); status != OK && !nothing {
		r.refuse(status, reply)
		return false
	}
	if at := r.conflict(b.Conditions); at >= 0 {
		r.hold(Conflict, at, reply)
		return false
	}
	reply.Values = []Value{{Text: r.User, Found: r.State == Live}}
	op := &b.Ops[0]
	r.Reset()
	r.State = Dead
	r.Tombstone = Tombstone{Reason: op.Reason, Ended: reply.Now, Until: reply.Now + op.Int}
	return true
}

// conflict returns the index of the first condition that does not hold, or -1.
func (r *Record) conflict(conditions []Condition) int {
	for i := range conditions {
		c := &conditions[i]
		holds := false
		switch c.Kind {
		case FieldIs:
			text, found := r.Get(c.Name)
			holds = found && text == c.Text
		case FieldAbsent:
			_, found := r.find(c.Name)
			holds = !found
		case RevisionIs:
			holds = r.Revision == c.Revision
		case UserIsOrNone:
			holds = r.User == "" || r.User == c.Text
		}
		if !holds {
			return i
		}
	}
	return -1
}

// operate checks the conditions and all of ops, whose first has the index base in
// the batch, and then writes.
func (r *Record) operate(b *Batch, ops []Op, base int, reply *Reply) (changed bool) {
	if at := r.conflict(b.Conditions); at >= 0 {
		r.hold(Conflict, at, reply)
		return false
	}
	reply.Values = make([]Value, base+len(ops))
	p := plan{record: r, limits: b.Limits.OrDefault(), now: reply.Now, fields: len(r.Fields), size: r.size}
	r.changes = r.changes[:0]
	for i := range ops {
		if ops[i].Kind == OpClear {
			p.cleared, p.fields, p.size = true, 0, 0
		}
	}
	for i := range ops {
		if status := p.check(&ops[i], reply, base+i); status != OK {
			r.hold(status, base+i, reply)
			return false
		}
	}
	revised := p.write(ops, reply, base)
	if revised {
		r.Revision++
	}
	reply.Meta, reply.Revision, reply.Size = r.Meta, r.Revision, r.size
	return revised || p.touched
}

// expire sets the timeouts, counted from now.
func (m *Meta) expire(e Expiry, now int64) {
	m.Deadline = now + e.Absolute
	m.Idle = min(e.Idle, e.Absolute)
	m.BrowserClose = e.BrowserClose
}
