package agent

import (
	"log/slog"
	"strconv"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func ping(_ *Agent, r request, t *task) {
	switch r.Len() {
	case 1:
		t.w.Simple("PONG")
	case 2:
		t.w.Bulk(r.Arg(1))
	default:
		t.w.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func echo(_ *Agent, r request, t *task) { t.w.Bulk(r.Arg(1)) }

func quit(_ *Agent, r request, t *task) {
	r.conn.closing = true
	t.w.Simple("OK")
}

// Redis' own texts.
const (
	wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."
	mustAuth      = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> " +
		"option can be used to authenticate the client and select the RESP protocol version at the same time"
	noPassword = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
)

// hello chooses the protocol, and may authenticate and name the connection.
func hello(a *Agent, r request, t *task) {
	resp3, ok := r.conn.out.RESP3, true
	if r.Len() > 1 {
		if resp3, ok = version(r, t); !ok {
			return
		}
	}
	var one *user
	name, named := "", false
	for i := 2; i < r.Len(); i++ {
		switch {
		case r.is(i, "AUTH") && i+2 < r.Len():
			if one = a.settings().users.authenticate(r.Arg(i+1), r.Arg(i+2)); one == nil {
				r.refused(a, t)
				return
			}
			i += 2
		case r.is(i, "SETNAME") && i+1 < r.Len():
			name, named = r.String(i+1), true
			i++
		default:
			t.w.Error("ERR Syntax error in HELLO option '" + r.String(i) + "'")
			return
		}
	}
	if named && !isName(name) {
		t.w.Error(badName)
		return
	}
	if one != nil && !r.become(a, t, one) {
		return
	}
	if r.conn.user.Load() == nil {
		t.w.Error(mustAuth)
		return
	}
	if named {
		r.conn.name.Store(&name)
	}
	r.conn.out.RESP3, t.w.RESP3 = resp3, resp3
	if !resp3 {
		r.conn.untrack()
	}
	greet(r.conn, t.w)
}

func version(r request, t *task) (resp3, ok bool) {
	switch n, err := strconv.ParseInt(r.String(1), 10, 64); {
	case err != nil:
		t.w.Error("ERR Protocol version is not an integer or out of range")
		return false, false
	case n < 2 || n > 3:
		t.w.Error("NOPROTO unsupported protocol version")
		return false, false
	default:
		return n == 3, true
	}
}

// likeRedis is the version of Redis whose replies these are.
const likeRedis = "7.0.0"

func greet(c *conn, w *resp.Writer) {
	w.Map(7)
	w.Text("server")
	w.Text("redis")
	w.Text("version")
	w.Text(likeRedis)
	w.Text("proto")
	w.Int(2 + truth(w.RESP3))
	w.Text("id")
	w.Int(c.id)
	w.Text("mode")
	w.Text("standalone")
	w.Text("role")
	w.Text("master")
	w.Text("modules")
	w.Array(0)
}

func auth(a *Agent, r request, t *task) {
	name, password := []byte(defaultUser), r.Arg(1)
	switch {
	case r.Len() > 3:
		t.w.Error("ERR syntax error")
		return
	case r.Len() == 3:
		name, password = r.Arg(1), r.Arg(2)
	case a.settings().users.first() != nil:
		t.w.Error(noPassword)
		return
	}
	one := a.settings().users.authenticate(name, password)
	if one == nil {
		r.refused(a, t)
		return
	}
	if r.become(a, t, one) {
		t.w.Simple("OK")
	}
}

// refused answers a wrong name or password, and notes where it came from.
func (r *request) refused(a *Agent, t *task) {
	a.refused.log(a.log, slog.LevelWarn, "authentication failed", "client", r.conn.id, "from", r.conn.nc.RemoteAddr().String())
	t.w.Error(wrongPassword)
}

// become lets the connection act for a user, or answers why not.
func (r *request) become(a *Agent, t *task, one *user) bool {
	if err := r.conn.become(r.ctx, one); err != nil {
		a.storeError(t, err)
		return false
	}
	return true
}

// reset makes the connection as new.
func reset(a *Agent, r request, t *task) {
	c := r.conn
	c.untrack()
	c.name.Store(nil)
	c.user.Store(nil)
	c.space = nil
	c.out.RESP3, t.w.RESP3 = false, false
	c.r.SetLimits(resp.Limits{Frame: loginFrame, Args: loginArgs})
	if one := a.settings().users.first(); one != nil && !r.become(a, t, one) {
		return
	}
	t.w.Simple("RESET")
}

func selectDatabase(a *Agent, r request, t *task) {
	n, err := strconv.Atoi(r.String(1))
	if err != nil {
		t.w.Error("ERR value is not an integer or out of range")
		return
	}
	space, err := a.spaces.get(r.ctx, n, r.conn.user.Load().prefix)
	switch {
	case err == errDatabase:
		t.w.Error("ERR " + err.Error())
	case err != nil:
		a.storeError(t, err)
	default:
		r.conn.untrack()
		r.conn.space = space
		t.w.Simple("OK")
	}
}
