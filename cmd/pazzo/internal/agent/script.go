package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// scripts are the published ones that this version runs.
func scripts() [2]*protocol.Script {
	return [2]*protocol.Script{&protocol.ApplyScript, &protocol.IndexScript}
}

// scriptBySHA returns the script that has a SHA-1, in hexadecimal digits, or nil.
func scriptBySHA(sha []byte) *protocol.Script {
	for _, s := range scripts() {
		if bytes.EqualFold(sha, []byte(s.SHA)) {
			return s
		}
	}
	return nil
}

func scriptByText(text []byte) *protocol.Script {
	for _, s := range scripts() {
		if string(text) == s.Source {
			return s
		}
	}
	return nil
}

// unknownScript names what this agent runs.
func unknownScript(t *task) {
	s := scripts()
	t.w.Error("ERR pazzo: this agent does not run that script; it runs apply.lua " + s[0].SHA + " and index.lua " + s[1].SHA +
		". Upgrade agents before their clients")
}

func evalSHA(a *Agent, r request, t *task) {
	s := scriptBySHA(r.Arg(1))
	if s == nil {
		t.w.Error("NOSCRIPT No matching script. Please use EVAL.")
		return
	}
	call(a, s, r, t)
}

func evalText(a *Agent, r request, t *task) {
	s := scriptByText(r.Arg(1))
	if s == nil {
		unknownScript(t)
		return
	}
	call(a, s, r, t)
}

// call prepares the call of a script on a key.
func call(a *Agent, s *protocol.Script, r request, t *task) {
	n, err := strconv.ParseInt(r.String(2), 10, 64)
	switch {
	case err != nil:
		t.w.Error("ERR value is not an integer or out of range")
	case n > int64(r.Len()-3):
		t.w.Error("ERR Number of keys can't be greater than number of args")
	case n < 0:
		t.w.Error("ERR Number of keys can't be negative")
	case n != 1:
		t.w.Error("ERR pazzo: the scripts take one key")
	default:
		t.script = s
		t.args = r.Strings(t.args[:0], 3)
		t.key, t.args = t.args[0], t.args[1:]
		if s == &protocol.ApplyScript {
			prepareBatch(t)
		} else {
			prepareStep(t)
		}
	}
}

// noPermission is Redis' own text.
const noPermission = "NOPERM No permissions to access a key"

// noKey answers a key that is not what it should be, or not the user's.
func noKey(t *task, what string) {
	if !strings.HasPrefix(t.key, t.space.prefix) {
		t.w.Error(noPermission)
		return
	}
	t.w.Error("ERR pazzo: the key is not that of " + what)
}

// prepareBatch reads a batch.
func prepareBatch(t *task) {
	h, ok := protocol.ParseSessionKey(t.space.prefix, t.key)
	if !ok {
		noKey(t, "a session")
		return
	}
	named, err := protocol.ParseBatch(t.args, &t.batch)
	switch {
	case err != nil:
		t.w.Error("ERR pazzo: " + err.Error())
		return
	case named != h:
		t.w.Error("ERR pazzo: the batch names another session than the key")
		return
	}
	if err := t.batch.Check(); err != nil {
		t.w.Error("ERR pazzo: " + err.Error())
		return
	}
	t.handle, t.lane = h, h[0]
	t.work = applyBatch
}

// applyBatch applies the batch, and answers as apply.lua does.
func applyBatch(ctx context.Context, a *Agent, t *task) {
	if t.space.relay != nil && t.space.cache == nil {
		t.relay(ctx, a, !t.batch.ReadOnly())
		return
	}
	t.batch.Fresh = true // a client calls the script because a plain read did not do
	reply, err := t.space.store.Apply(ctx, t.handle, &t.batch)
	var unknown record.LayoutError
	switch {
	case err == nil:
		t.answer = protocol.AppendReply(t.answer[:0], t.handle, &t.batch, &reply)
	case errors.As(err, &unknown):
		t.answer = protocol.AppendUnreadable(t.answer[:0], t.handle, unknown.Met, a.now())
	case errors.Is(err, record.ErrCorrupt):
		t.answer = protocol.AppendUnreadable(t.answer[:0], t.handle, record.Layout, a.now())
	default:
		a.storeError(t, err)
		return
	}
	t.w.Bulk(t.answer)
}

// prepareStep reads a step.
func prepareStep(t *task) {
	user, ok := protocol.ParseIndexKey(t.space.prefix, t.key)
	if !ok {
		noKey(t, "an index")
		return
	}
	tag, err := protocol.ParseStep(t.args, &t.step)
	switch {
	case err != nil:
		t.w.Error("ERR pazzo: " + err.Error())
		return
	case string(tag[:]) != string(user[:len(tag)]):
		t.w.Error("ERR pazzo: the tag is not that of the key")
		return
	}
	if err := t.step.Check(); err != nil {
		t.w.Error("ERR pazzo: " + err.Error())
		return
	}
	t.user, t.tag, t.lane = user, tag, user[0]
	t.work = applyStep
}

// applyStep applies the step, and answers as index.lua does.
func applyStep(ctx context.Context, a *Agent, t *task) {
	if t.space.relay != nil {
		t.relay(ctx, a, t.step.Kind != record.List)
		return
	}
	reply, err := t.space.index.ApplyIndexHash(ctx, t.user, &t.step)
	switch {
	case err == nil:
		t.answer = protocol.AppendIndexReply(t.answer[:0], t.tag, &reply)
	case errors.Is(err, record.ErrCorrupt), errors.Is(err, record.ErrLayout):
		t.answer = protocol.AppendUnreadableIndex(t.answer[:0], t.tag, a.now())
	default:
		a.storeError(t, err)
		return
	}
	t.w.Bulk(t.answer)
}

// relay passes the call on, and its answer back.
func (t *task) relay(ctx context.Context, a *Agent, writes bool) {
	answer, err := t.space.relay.Relay(ctx, t.script, t.key, t.args, writes)
	if err != nil {
		a.storeError(t, err)
		return
	}
	t.w.Text(answer)
}

// storeError answers a failure of the store, so that what it proves is told: see
// Errors in protocol/README.md. The store's own text goes to the log only.
func (a *Agent) storeError(t *task, err error) {
	switch {
	case errors.Is(err, record.ErrFull):
		t.w.Error("OOM command not allowed when used memory > 'maxmemory'.")
		return
	case errors.Is(err, record.ErrCorrupt):
		t.w.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
		return
	case errors.Is(err, record.ErrOutcomeUnknown):
		t.w.Error("UNKNOWN pazzo: the store was lost while it ran a script: what that did is unknown")
	default:
		t.w.Error("UNAVAILABLE pazzo: the store does not answer, and has done nothing")
	}
	a.failures.log(a.log, slog.LevelError, "the store failed", "error", withoutArguments(err))
}

// withoutArguments cuts off what Redis quotes of a command that it does not know or
// allow: there may be a secret in it.
func withoutArguments(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	return text
}

func script(_ *Agent, r request, t *task) {
	switch {
	case r.is(1, "LOAD") && r.Len() == 3:
		if s := scriptByText(r.Arg(2)); s != nil {
			t.w.Text(s.SHA)
		} else {
			unknownScript(t)
		}
	case r.is(1, "EXISTS") && r.Len() > 2:
		t.w.Array(r.Len() - 2)
		for i := 2; i < r.Len(); i++ {
			t.w.Int(truth(scriptBySHA(r.Arg(i)) != nil))
		}
	case r.is(1, "FLUSH") && (r.Len() == 2 || r.is(2, "SYNC") || r.is(2, "ASYNC")):
		t.w.Simple("OK")
	case r.is(1, "LOAD"), r.is(1, "EXISTS"), r.is(1, "FLUSH"):
		wrongSubcommandArgs(r, t)
	default:
		unknownSubcommand(r, t)
	}
}

func truth(holds bool) int64 {
	if holds {
		return 1
	}
	return 0
}
