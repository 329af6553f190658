package verify

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func decimal(n int) string { return strconv.Itoa(n) }

func number(t fatal, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%q is no number", text)
	}
	return n
}

// pair is an agent and a Redis server that are asked the same, over raw
// connections. What they answer is compared byte for byte, but for the bytes that
// carry a clock, and the order of what has none.
type pair struct {
	agent, redis *wire
}

func newPair(t *testing.T, agentArgs ...string) pair {
	a := startAgent(t, agentArgs...)
	r := redistest.Start(t)
	p := pair{dialWire(t, "unix", a.socket), dialWire(t, "tcp", r.Addr())}
	for _, s := range []protocol.Script{protocol.ApplyScript, protocol.IndexScript} {
		p.same(t, "SCRIPT", "LOAD", s.Source)
	}
	return p
}

// same fails unless both answer alike.
func (p *pair) same(t fatal, args ...string) string {
	t.Helper()
	got, want := p.agent.do(t, args...), p.redis.do(t, args...)
	if got != want {
		t.Fatalf("%.300q\nagent %q\nredis %q", args, got, want)
	}
	return got
}

// TestAgentAnswersAsRedisDoes is over memory, and over Redis.
func TestAgentAnswersAsRedisDoes(t *testing.T) {
	for name, args := range map[string]func() []string{
		"memory": func() []string { return nil },
		"redis":  func() []string { return []string{"-store", redistest.Start(t).URL() + "?timeout=10s"} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, args()...)
			t.Run("batches", func(t *testing.T) { rapid.Check(t, p.batches) })
			t.Run("steps", func(t *testing.T) { rapid.Check(t, p.steps) })
			t.Run("commands", p.commands)
		})
	}
}

// batches sends random batches on one session to both, and looks at it by plain
// reads.
func (p *pair) batches(t *rapid.T) {
	h := record.NewHandle()
	key := protocol.SessionKey("pazzo:", h)
	g := &generator{t: t}
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		b := g.batch()
		unhurried(&b)
		if err := b.Check(); err != nil {
			t.Fatalf("the generator made an invalid batch: %v", err)
		}
		args := append([]string{"EVALSHA", protocol.ApplyScript.SHA, "1", key}, protocol.AppendBatch(nil, h, &b)...)
		agent, redis := p.agent.do(t, args...), p.redis.do(t, args...)
		got, want := maskReply(t, agent, &b), maskReply(t, redis, &b)
		if got != want {
			t.Fatalf("%s\nagent %q\nredis %q", describe(&b), got, want)
		}
		reply, err := protocol.ParseReply(answerOf(t, agent), h, &b)
		if err != nil {
			t.Fatal(err)
		}
		g.see(reply.Meta)
		p.sameReads(t, key, reply.Status == record.Ended)
	}
}

// unhurried makes all times so long that no clock decides anything.
func unhurried(b *record.Batch) {
	const least = 3_600_000
	for i := range b.Ops {
		e := &b.Ops[i].Expiry
		switch b.Ops[i].Kind {
		case record.OpCreate, record.OpSetExpiry:
			e.Idle, e.Absolute = e.Idle+least, e.Absolute+least
		case record.OpAuthenticate:
			if e.Absolute > 0 {
				e.Absolute += least
			}
		case record.OpRotate:
			if e.Idle > 0 {
				e.Idle += least
			}
		case record.OpDestroy:
			b.Ops[i].Int += least
		}
	}
}

// sameReads compares plain reads. A tombstone, which the agent's do not show, they
// leave to the script.
func (p *pair) sameReads(t *rapid.T, key string, ended bool) {
	if ended {
		return
	}
	names := []string{"\x00m", "\x00r", "\x00u", "\x00d", "a", "count", "é", "missing"}
	read := func(w *wire) string {
		reply := split(t, w.do(t, append([]string{"HMGET", key}, names...)...))
		if len(reply) == len(names) && reply[0] != nil && len(*reply[0]) == record.TombstoneSize {
			return "tombstone"
		}
		return maskHash(names, reply)
	}
	got, want := read(p.agent), read(p.redis)
	if want == "tombstone" {
		return
	}
	if got != want {
		t.Fatalf("HMGET\nagent %q\nredis %q", got, want)
	}
	if got, want := maskAll(t, p.agent.do(t, "HGETALL", key)), maskAll(t, p.redis.do(t, "HGETALL", key)); got != want {
		t.Fatalf("HGETALL\nagent %q\nredis %q", got, want)
	}
	p.same(t, "EXISTS", key)
	p.same(t, "TYPE", key)
}

// split takes an array of texts apart; nil is null.
func split(t fatal, reply string) (list []*string) {
	t.Helper()
	if reply == "" || reply[0] != '*' && reply[0] != '%' {
		t.Fatalf("no array: %q", reply)
	}
	_, rest, _ := strings.Cut(reply, "\r\n")
	for rest != "" {
		head, tail, _ := strings.Cut(rest, "\r\n")
		n := number(t, head[1:])
		if n < 0 {
			list, rest = append(list, nil), tail
			continue
		}
		text := tail[:n]
		list, rest = append(list, &text), tail[n+2:]
	}
	return list
}

func maskHash(names []string, values []*string) string {
	var b strings.Builder
	for i, v := range values {
		switch {
		case v == nil:
			fmt.Fprintf(&b, "%q: null\n", names[i])
		case names[i] == "\x00m":
			fmt.Fprintf(&b, "%q: %q\n", names[i], maskMeta(*v))
		case names[i] == "\x00u":
			fmt.Fprintf(&b, "%q: %q\n", names[i], (*v)[6:])
		default:
			fmt.Fprintf(&b, "%q: %q\n", names[i], *v)
		}
	}
	return b.String()
}

// maskAll is what HGETALL says, but for the previous generation, which no client
// needs.
func maskAll(t fatal, reply string) string {
	list := split(t, reply)
	var lines []string
	for i := 0; i+1 < len(list); i += 2 {
		if *list[i] != "\x00p" {
			lines = append(lines, maskHash([]string{*list[i]}, list[i+1:i+2]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// maskMeta hides the times.
func maskMeta(s string) string {
	if len(s) != record.MetaSize {
		return s
	}
	return s[:26] + strings.Repeat("t", 12) + s[38:44] + strings.Repeat("t", 18)
}

// answerOf takes a script's answer out of its reply.
func answerOf(t fatal, reply string) string {
	t.Helper()
	if reply == "" || reply[0] != '$' {
		t.Fatalf("no answer of a script: %q", reply)
	}
	_, text, _ := strings.Cut(reply, "\r\n")
	return text[:len(text)-2]
}

// maskReply hides the times in an answer of apply.lua, and sorts what get all
// answers. It reads the answer by itself, so that nothing else can hide a byte.
func maskReply(t fatal, reply string, b *record.Batch) string {
	t.Helper()
	s := answerOf(t, reply)
	out, rest := s[:22]+strings.Repeat("n", 6)+s[28:38], s[38:]
	take := func(n int) string {
		if n > len(rest) {
			t.Fatalf("cut short: %q", s)
		}
		part := rest[:n]
		rest = rest[n:]
		return part
	}
	if strings.Trim(s[28:34], "\x00") != "" {
		out += maskMeta(take(record.MetaSize))
	}
	if record.Status(s[16]) != record.OK {
		return out + rest
	}
	text := func() string {
		length := take(4)
		return length + take(int(binary.BigEndian.Uint32([]byte(length))))
	}
	for i := range b.Ops {
		switch b.Ops[i].Kind {
		case record.OpGet, record.OpSetIfAbsent, record.OpPop, record.OpDrain, record.OpAdd, record.OpDelete,
			record.OpRotate, record.OpTouch, record.OpDestroy:
			out += take(1) + text()
		case record.OpGetIdentity:
			found, user := take(1), text()
			if found == "\x01" {
				user = user[:4] + strings.Repeat("t", 6) + user[10:]
			}
			out += found + user + take(1) + text()
		case record.OpGetAll:
			count := take(4)
			var fields []string
			for range binary.BigEndian.Uint32([]byte(count)) {
				fields = append(fields, text()+text())
			}
			slices.Sort(fields)
			out += count + strings.Join(fields, "")
		}
	}
	return out + rest
}

// steps sends random steps on one index to both.
func (p *pair) steps(t *rapid.T) {
	user := record.NewHandle().String()
	key, tag := protocol.IndexKey("pazzo:", user), protocol.TagOf(user)
	handles := make([]record.Handle, 5)
	for i := range handles {
		handles[i] = record.NewHandle()
	}
	for range rapid.IntRange(1, 15).Draw(t, "steps") {
		step := record.IndexStep{
			Kind:     rapid.SampledFrom([]record.IndexKind{0, 0, 0, 1, 1, 2, 3, 4, 5, 6}).Draw(t, "kind"),
			Handle:   rapid.SampledFrom(handles).Draw(t, "handle"),
			Handles:  rapid.SliceOfN(rapid.SampledFrom(handles), 0, 3).Draw(t, "handles"),
			Max:      rapid.IntRange(1, 4).Draw(t, "max"),
			Evict:    rapid.Bool().Draw(t, "evict"),
			Verified: rapid.Bool().Draw(t, "verified"),
			Lifetime: rapid.SampledFrom([]int64{3_600_000, 7_200_000}).Draw(t, "lifetime"),
			Duration: rapid.SampledFrom([]int64{3_600_000, 7_200_000}).Draw(t, "duration"),
		}
		args := append([]string{"EVALSHA", protocol.IndexScript.SHA, "1", key}, protocol.StepArgs(tag, &step)...)
		got, want := maskEntries(t, p.agent.do(t, args...)), maskEntries(t, p.redis.do(t, args...))
		if got != want {
			t.Fatalf("%+v\nagent %q\nredis %q", step, got, want)
		}
		if step.Kind == record.Enlist || step.Kind == record.Refresh {
			// What was listed in one millisecond is told apart by its handle, and
			// the two have not the same milliseconds.
			time.Sleep(2 * time.Millisecond)
		}
	}
}

func maskEntries(t fatal, reply string) string {
	t.Helper()
	s := answerOf(t, reply)
	const head, size = 29, 16 + record.EntrySize
	blocked := "blocked"
	if strings.Trim(s[23:29], "\x00") == "" {
		blocked = "not blocked"
	}
	var entries []string
	for rest := s[head:]; rest != ""; rest = rest[size:] {
		entries = append(entries, rest[:17])
	}
	slices.Sort(entries)
	return s[:17] + blocked + strings.Join(entries, "")
}

// commands sends what clients send beside scripts, right and wrong.
func (p *pair) commands(t *testing.T) {
	missing := protocol.SessionKey("pazzo:", record.NewHandle())
	apply := protocol.ApplyScript.SHA
	all := [][]string{
		{"PING"}, {"ping", "a"}, {"PING", "a", "b"}, {"ECHO", "a"}, {"ECHO"},
		{"CLIENT", "GETNAME"}, {"CLIENT", "SETNAME", "me"}, {"CLIENT", "GETNAME"}, {"CLIENT", "SETNAME", "a b"}, {"CLIENT", "SETNAME", ""}, {"CLIENT", "GETNAME"},
		{"CLIENT", "NO-EVICT", "ON"}, {"CLIENT", "TRACKING", "OFF"}, {"CLIENT"}, {"CLIENT", "SETNAME"}, {"CLIENT", "MAINT_NOTIFICATIONS", "ON"},
		{"SELECT", "0"}, {"SELECT", "99"}, {"SELECT", "x"}, {"CONFIG", "GET", "maxmemory-policy"}, {"CONFIG", "GET"},
		{"SCRIPT", "EXISTS", apply, "x"}, {"SCRIPT", "LOAD", protocol.IndexScript.Source}, {"SCRIPT", "LOAD"}, {"SCRIPT", "NONSENSE"},
		{"EVALSHA", strings.Repeat("0", 40), "1", missing}, {"EVALSHA", "short", "1", missing}, {"EVALSHA", apply}, {"EVALSHA", apply, "x", missing},
		{"EVALSHA", apply, "9", missing}, {"EVALSHA", apply, "-1", missing}, {"EVALSHA", strings.ToUpper(apply), "1", missing, "\x02" + strings.Repeat("x", 62)},
		{"HMGET", missing, "a", "b"}, {"HMGET", missing}, {"HGETALL", missing}, {"HGET", missing, "a"}, {"HGET", missing}, {"PTTL", missing},
		{"EXISTS", missing}, {"EXISTS"}, {"TYPE", missing}, {"DEL", "pazzo:none"}, {"DEL"},
		{"NONSENSE"}, {"NONSENSE", "a", strings.Repeat("b", 200), "c"}, {"HELLO", "4"}, {"HELLO", "x"}, {"HELLO", "2", "NONSENSE"},
		{"HELLO", "3", "AUTH", "nobody", "pw"}, {"AUTH", "nobody", "pw"}, {"AUTH", "pw"}, {"AUTH", "a", "b", "c"}, {"RESET"}, {"CLIENT", "GETNAME"},
	}
	for _, protocol := range []string{"2", "3"} {
		for _, l := range []*wire{p.agent, p.redis} {
			if reply := l.do(t, "HELLO", protocol); reply[0] != '*' && reply[0] != '%' {
				t.Fatalf("HELLO: %q", reply)
			}
		}
		for _, args := range all {
			got, want := p.agent.do(t, args...), p.redis.do(t, args...)
			if got != want {
				t.Errorf("RESP%s %.100q\nagent %q\nredis %q", protocol, args, got, want)
			}
			if args[0] == "RESET" && protocol == "3" {
				for _, l := range []*wire{p.agent, p.redis} {
					l.do(t, "HELLO", "3")
				}
			}
		}
	}
}
