package agent

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// badName is Redis' own text.
const badName = "ERR Client names cannot contain spaces, newlines or special characters."

// maxName bounds what a client says of itself, in bytes.
const maxName = 256

func isName(text string) bool {
	return len(text) <= maxName && strings.IndexFunc(text, func(c rune) bool { return c < '!' || c > '~' }) < 0
}

// client answers what clients ask and tell of their connection. What would need
// more of a server is refused in Redis' words for an old version, which clients
// understand.
func client(a *Agent, r request, t *task) {
	c := r.conn
	switch {
	case r.is(1, "ID") && r.Len() == 2:
		t.w.Int(c.id)
	case r.is(1, "GETNAME") && r.Len() == 2:
		if name := c.name.Load(); name != nil && *name != "" {
			t.w.Text(*name)
		} else {
			t.w.Null()
		}
	case r.is(1, "SETNAME") && r.Len() == 3:
		name := r.String(2)
		if !isName(name) {
			t.w.Error(badName)
			return
		}
		c.name.Store(&name)
		t.w.Simple("OK")
	case r.is(1, "SETINFO") && r.Len() == 4:
		setInfo(r, t)
	case r.is(1, "INFO") && r.Len() == 2:
		t.w.Verbatim(c.describe() + "\n")
	case r.is(1, "LIST"):
		t.w.Verbatim(a.list(c.user.Load()))
	case (r.is(1, "NO-EVICT") || r.is(1, "NO-TOUCH")) && r.Len() == 3 && (r.is(2, "ON") || r.is(2, "OFF")):
		t.w.Simple("OK") // nothing is evicted or touched in any case
	case r.is(1, "TRACKING") && r.Len() > 2:
		clientTracking(r, t)
	case r.is(1, "ID"), r.is(1, "GETNAME"), r.is(1, "SETNAME"), r.is(1, "SETINFO"), r.is(1, "INFO"), r.is(1, "NO-EVICT"), r.is(1, "NO-TOUCH"), r.is(1, "TRACKING"):
		wrongSubcommandArgs(r, t)
	default:
		unknownSubcommand(r, t)
	}
}

// setInfo notes the client's library.
func setInfo(r request, t *task) {
	value := r.String(3)
	switch {
	case !isName(value):
		t.w.Error("ERR " + strings.ToLower(r.String(2)) + " cannot contain spaces, newlines or special characters.")
	case r.is(2, "LIB-NAME"):
		r.conn.library.Store(&value)
		t.w.Simple("OK")
	case r.is(2, "LIB-VER"):
		r.conn.version.Store(&value)
		t.w.Simple("OK")
	default:
		t.w.Error("ERR Unrecognized option '" + r.String(2) + "'")
	}
}

// list describes the connections of a user, the oldest first.
func (a *Agent) list(one *user) string {
	var mine []*conn
	a.each(func(c *conn) {
		if other := c.user.Load(); other != nil && other.name == one.name {
			mine = append(mine, c)
		}
	})
	slices.SortFunc(mine, func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
	var text strings.Builder
	for _, c := range mine {
		text.WriteString(c.describe() + "\n")
	}
	return text.String()
}

// describe is a line as CLIENT LIST has them.
func (c *conn) describe() string {
	word := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	name := ""
	if one := c.user.Load(); one != nil {
		name = one.name
	}
	return fmt.Sprintf("id=%d addr=%s name=%s age=%d flags=N user=%s tot-cmds=%d lib-name=%s lib-ver=%s",
		c.id, address(c.nc.RemoteAddr()), word(c.name.Load()), int(time.Since(c.began).Seconds()), name,
		c.commands.Load(), word(c.library.Load()), word(c.version.Load()))
}

// address is a connection's end as Redis writes it.
func address(a net.Addr) string {
	if a.Network() == "unix" {
		return a.String() + ":0"
	}
	return a.String()
}
