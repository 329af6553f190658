package agent

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

var lasting = record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}

// token is a session that a test has made.
type token struct {
	handle record.Handle
	secret record.Secret
}

func (k token) key() string { return protocol.SessionKey("pazzo:", k.handle) }

func (k token) access() record.Access {
	return record.Access{Mode: record.Open, Generation: 1, Secret: k.secret}
}

// evalsha is the call of a batch.
func evalsha(k token, b *record.Batch) []string {
	return append([]string{"EVALSHA", protocol.ApplyScript.SHA, "1", k.key()}, protocol.AppendBatch(nil, k.handle, b)...)
}

// apply applies a batch over the wire.
func (w *wire) apply(k token, b *record.Batch) record.Reply {
	w.t.Helper()
	return w.understand(w.do(evalsha(k, b)...), k, b)
}

func (w *wire) understand(answer string, k token, b *record.Batch) record.Reply {
	w.t.Helper()
	reply, err := protocol.ParseReply(textOf(answer), k.handle, b)
	if err != nil {
		w.t.Fatalf("%q: %v", answer, err)
	}
	return reply
}

// textOf takes a text out of its reply.
func textOf(reply string) string {
	_, text, _ := strings.Cut(strings.TrimSuffix(reply, "\r\n"), "\r\n")
	return text
}

// session makes a session.
func (w *wire) session(ops ...record.Op) token {
	w.t.Helper()
	k := token{record.NewHandle(), record.NewSecret()}
	b := record.Batch{Ops: append([]record.Op{record.Create(k.secret, lasting)}, ops...)}
	if reply := w.apply(k, &b); reply.Status != record.OK {
		w.t.Fatal(reply.Status)
	}
	return k
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func TestCommandsThatClientsSend(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	for _, c := range []struct {
		reply string
		args  []string
	}{
		{"+PONG\r\n", []string{"PING"}},
		{bulk("a"), []string{"ping", "a"}},
		{bulk("a b"), []string{"Echo", "a b"}},
		{":1\r\n", []string{"CLIENT", "ID"}},
		{"$-1\r\n", []string{"CLIENT", "GETNAME"}},
		{"+OK\r\n", []string{"CLIENT", "SETNAME", "me"}},
		{bulk("me"), []string{"CLIENT", "GETNAME"}},
		{"-ERR Client names cannot contain spaces, newlines or special characters.\r\n", []string{"CLIENT", "SETNAME", "a b"}},
		{"+OK\r\n", []string{"CLIENT", "SETINFO", "LIB-NAME", "redis-py"}},
		{"+OK\r\n", []string{"CLIENT", "SETINFO", "lib-ver", "5.0"}},
		{"-ERR Unrecognized option 'lib-x'\r\n", []string{"CLIENT", "SETINFO", "lib-x", "5.0"}},
		{"+OK\r\n", []string{"CLIENT", "NO-EVICT", "on"}},
		{"+OK\r\n", []string{"CLIENT", "NO-TOUCH", "OFF"}},
		{"+OK\r\n", []string{"CLIENT", "TRACKING", "OFF"}},
		{"-ERR pazzo: this agent tells of changes in RESP3 only: begin with HELLO 3\r\n", []string{"CLIENT", "TRACKING", "ON", "BCAST"}},
		{"-ERR wrong number of arguments for 'client|tracking' command\r\n", []string{"CLIENT", "TRACKING"}},
		{"-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n", []string{"CLIENT", "MAINT_NOTIFICATIONS", "ON"}},
		{"-ERR wrong number of arguments for 'client|setname' command\r\n", []string{"CLIENT", "SETNAME"}},
		{"-ERR wrong number of arguments for 'client' command\r\n", []string{"CLIENT"}},
		{"-ERR unknown command 'SET', with args beginning with: 'a' 'b' \r\n", []string{"SET", "a", "b"}},
		{"-ERR wrong number of arguments for 'ping' command\r\n", []string{"PING", "a", "b"}},
		{"*2\r\n" + bulk("maxmemory-policy") + bulk("noeviction"), []string{"CONFIG", "GET", "maxmemory-policy"}},
		{"*0\r\n", []string{"CONFIG", "GET", "dir"}},
		{"-ERR unknown subcommand 'SET'. Try CONFIG HELP.\r\n", []string{"CONFIG", "SET", "dir", "/"}},
		{bulk(protocol.ApplyScript.SHA), []string{"SCRIPT", "LOAD", protocol.ApplyScript.Source}},
		{bulk(protocol.IndexScript.SHA), []string{"SCRIPT", "LOAD", protocol.IndexScript.Source}},
		{"*3\r\n:1\r\n:0\r\n:1\r\n", []string{"SCRIPT", "EXISTS", protocol.ApplyScript.SHA, "x", strings.ToUpper(protocol.IndexScript.SHA)}},
		{"+OK\r\n", []string{"SCRIPT", "FLUSH", "SYNC"}},
		{"-ERR unknown subcommand 'KILL'. Try SCRIPT HELP.\r\n", []string{"SCRIPT", "KILL"}},
		{":0\r\n", []string{"DEL", "pazzo:none"}},
		{"-NOPERM No permissions to access a key\r\n", []string{"DEL", "other:none"}},
		{"-ERR pazzo: this agent deletes nothing: sessions are destroyed by a batch\r\n", []string{"DEL", "pazzo:{00000000000000000000000000000000}"}},
		{":0\r\n", []string{"DBSIZE"}},
		{"+OK\r\n", []string{"SELECT", "15"}},
		{"-ERR DB index is out of range\r\n", []string{"SELECT", "16"}},
		{"-ERR value is not an integer or out of range\r\n", []string{"SELECT", "x"}},
		{"*1\r\n*6\r\n" + bulk("hget") + ":3\r\n*0\r\n:1\r\n:1\r\n:1\r\n", []string{"COMMAND", "INFO", "HGET"}},
		{"-NOPROTO unsupported protocol version\r\n", []string{"HELLO", "4"}},
		{"-ERR Protocol version is not an integer or out of range\r\n", []string{"HELLO", "x"}},
		{"-ERR Syntax error in HELLO option 'x'\r\n", []string{"HELLO", "3", "x"}},
		{"-WRONGPASS invalid username-password pair or user is disabled.\r\n", []string{"HELLO", "3", "AUTH", "ann", "pw"}},
		{"+RESET\r\n", []string{"RESET"}},
		{"$-1\r\n", []string{"CLIENT", "GETNAME"}},
	} {
		w.want(c.reply, c.args...)
	}
	if reply := w.do("HELLO", "3", "SETNAME", "x"); reply != "%7\r\n"+bulk("server")+bulk("redis")+bulk("version")+bulk("7.0.0")+
		bulk("proto")+":3\r\n"+bulk("id")+":1\r\n"+bulk("mode")+bulk("standalone")+bulk("role")+bulk("master")+bulk("modules")+"*0\r\n" {
		t.Errorf("HELLO 3: %q", reply)
	}
	w.want(bulk("x"), "CLIENT", "GETNAME")
	w.want("*1\r\n_\r\n", "COMMAND", "INFO", "nothing")
	w.want("%1\r\n"+bulk("maxmemory-policy")+bulk("noeviction"), "CONFIG", "GET", "*")
	if reply := w.do("HELLO", "2"); !strings.HasPrefix(reply, "*14\r\n") {
		t.Errorf("HELLO 2: %q", reply)
	}
	w.want("*1\r\n*-1\r\n", "COMMAND", "INFO", "nothing")
	w.want("+OK\r\n", "QUIT")
	if rest := w.ended(); rest != "" {
		t.Errorf("after QUIT: %q", rest)
	}
}

// checkTime wants seconds and microseconds, each as short as it can be, of about now.
func checkTime(t *testing.T, reply string) {
	t.Helper()
	var seconds, micros int64
	var length int
	_, err := fmt.Sscanf(reply, "*2\r\n$10\r\n%d\r\n$%d\r\n%d\r\n", &seconds, &length, &micros)
	if err != nil || micros < 0 || micros >= 1e6 || length != len(strconv.FormatInt(micros, 10)) {
		t.Errorf("TIME: %q, %v", reply, err)
	}
	if off := time.Since(time.Unix(seconds, micros*1000)).Abs(); off > time.Minute {
		t.Errorf("TIME: %q is %s off", reply, off)
	}
}

func TestInfo(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	all := w.do("INFO")
	for _, line := range []string{"redis_version:7.0.0", "redis_mode:standalone", "role:master", "loading:0", "maxmemory_policy:noeviction", "connected_clients:1", "cluster_enabled:0"} {
		if !strings.Contains(all, "\r\n"+line+"\r\n") {
			t.Errorf("INFO lacks %s:\n%s", line, all)
		}
	}
	if reply := w.do("INFO", "replication"); !strings.Contains(reply, "role:master") || strings.Contains(reply, "redis_version") {
		t.Errorf("INFO replication: %q", reply)
	}
	w.do("HELLO", "3")
	if reply := w.do("INFO", "memory"); !strings.HasPrefix(reply, "=") || !strings.Contains(reply, "txt:# Memory\r\n") {
		t.Errorf("RESP3: %q", reply)
	}
	checkTime(t, w.do("TIME"))
	w.do("CLIENT", "SETINFO", "LIB-NAME", "my-lib")
	if reply := w.do("CLIENT", "LIST"); !strings.Contains(reply, "lib-name=my-lib") || strings.Count(reply, "id=") != 1 {
		t.Errorf("CLIENT LIST: %q", reply)
	}
}

func TestScriptsAreCalledAsPublished(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	k := w.session(record.Set("n", "41"))
	b := &record.Batch{Access: k.access(), Ops: []record.Op{record.Add("n", 1)}}
	if reply := w.apply(k, b); reply.Status != record.OK || reply.Values[0].Text != "42" {
		t.Errorf("%+v", reply)
	}
	byText := evalsha(k, b)
	byText[0], byText[1] = "EVAL", protocol.ApplyScript.Source
	if reply := w.understand(w.do(byText...), k, b); reply.Values[0].Text != "43" {
		t.Errorf("EVAL: %+v", reply)
	}
	args := evalsha(k, b)
	changed := func(at int, with string) []string {
		other := append([]string(nil), args...)
		other[at] = with
		return other
	}
	other := token{record.NewHandle(), k.secret}
	for _, c := range []struct {
		args []string
		want string
	}{
		{changed(1, strings.Repeat("0", 40)), "-NOSCRIPT No matching script. Please use EVAL.\r\n"},
		{changed(2, "x"), "-ERR value is not an integer or out of range\r\n"},
		{changed(2, "9"), "-ERR Number of keys can't be greater than number of args\r\n"},
		{changed(2, "-1"), "-ERR Number of keys can't be negative\r\n"},
		{changed(2, "0"), "-ERR pazzo: the scripts take one key\r\n"},
		{changed(3, "other:{}"), "-NOPERM No permissions to access a key\r\n"},
		{changed(3, "pazzo:x"), "-ERR pazzo: the key is not that of a session\r\n"},
		{changed(3, other.key()), "-ERR pazzo: the batch names another session than the key\r\n"},
		{changed(4, "\x02"), "-ERR pazzo: unknown batch layout\r\n"},
		{changed(4, "\x01"), "-ERR pazzo: malformed arguments: a head of 1 bytes\r\n"},
		{changed(5, "\x00x"), "-ERR pazzo: record: invalid field name: \"\\x00x\" begins with NUL\r\n"},
		{[]string{"EVAL", "return 1", "0"}, "-ERR pazzo: this agent does not run that script; it runs apply.lua " + protocol.ApplyScript.SHA +
			" and index.lua " + protocol.IndexScript.SHA + ". Upgrade agents before their clients\r\n"},
		{[]string{"EVALSHA", protocol.IndexScript.SHA, "1", k.key(), "x"}, "-ERR pazzo: the key is not that of an index\r\n"},
		{[]string{"EVALSHA", protocol.IndexScript.SHA, "1", protocol.IndexKey("pazzo:", "ann"), "\x02"}, "-ERR pazzo: unknown step layout\r\n"},
	} {
		if got := w.do(c.args...); got != c.want {
			t.Errorf("%.80q: %q, want %q", c.args, got, c.want)
		}
	}
	if reply := w.apply(k, b); reply.Values[0].Text != "44" {
		t.Errorf("a refused call did something: %+v", reply)
	}
}

func TestPlainReads(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	k := w.session(record.Set("a", "1"), record.Set("b", `"x"`), record.Authenticate("ann", record.NewSecret(), 0), record.Describe("phone"))
	state := w.apply(k, &record.Batch{Ops: []record.Op{record.GetAll(), record.GetIdentity()}})
	packed := state.Meta.Pack()
	meta, revision, who := bulk(string(packed[:])), bulk(protocol.RevisionField(&state)), bulk(protocol.UserField(&state.Identity))
	key, missing := k.key(), token{handle: record.NewHandle()}.key()

	w.want("*4\r\n"+meta+bulk("1")+"$-1\r\n"+bulk(`"x"`), "HMGET", key, "\x00m", "a", "z", "b")
	w.want("*5\r\n"+who+revision+bulk("phone")+bulk("1")+"$-1\r\n", "HMGET", key, "\x00u", "\x00r", "\x00d", "a", "\x00p")
	w.want("*2\r\n"+bulk("1")+"$-1\r\n", "HMGET", key, "a", "")
	w.want("-ERR pazzo: record: invalid batch: two operations on field \"a\", or twice the same on the record\r\n", "HMGET", key, "a", "a")
	w.want("*2\r\n$-1\r\n$-1\r\n", "HMGET", missing, "\x00m", "a")
	w.want(bulk("1"), "HGET", key, "a")
	w.want(meta, "HGET", key, "\x00m")
	w.want("$-1\r\n", "HGET", missing, "a")
	w.want("*12\r\n"+bulk("\x00m")+meta+bulk("\x00r")+revision+bulk("\x00u")+who+bulk("\x00d")+bulk("phone")+
		bulk("a")+bulk("1")+bulk("b")+bulk(`"x"`), "HGETALL", key)
	w.want("*0\r\n", "HGETALL", missing)
	w.want(":1\r\n", "EXISTS", key)
	w.want(":0\r\n", "EXISTS", missing)
	w.want("+hash\r\n", "TYPE", key)
	w.want("+none\r\n", "TYPE", missing)
	w.want(":-2\r\n", "PTTL", missing)
	if reply := w.do("PTTL", key); !regexp.MustCompile(`^:3[56]\d{5}\r\n$`).MatchString(reply) {
		t.Errorf("PTTL: %q", reply)
	}
	w.want("-NOPERM No permissions to access a key\r\n", "HGETALL", "other:"+key)
	w.want("-ERR pazzo: the key is not that of a session\r\n", "HGETALL", protocol.IndexKey("pazzo:", "ann"))
	w.want(":1\r\n", "DBSIZE")

	w.do("HELLO", "3")
	w.want("*2\r\n_\r\n"+bulk("1"), "HMGET", key, "z", "a")
	if reply := w.do("HGETALL", key); !strings.HasPrefix(reply, "%6\r\n") {
		t.Errorf("HGETALL in RESP3: %q", reply)
	}
	w.apply(k, &record.Batch{Ops: []record.Op{record.Destroy(record.Logout, 60_000)}})
	w.want("*2\r\n_\r\n_\r\n", "HMGET", key, "\x00m", "a")
	w.want("%0\r\n", "HGETALL", key)
	w.want(":0\r\n", "EXISTS", key)
}

// What the inspection shows is enough to find one's way, and no secret or value.
func TestInspection(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	secret := record.NewSecret()
	k := w.session(record.Set("cart", `"HIDDEN"`), record.Authenticate("ann", secret, 0), record.Describe("HIDDEN"))
	step := record.IndexStep{Kind: record.Refresh, Handle: k.handle, Lifetime: 60_000}
	w.do(append([]string{"EVALSHA", protocol.IndexScript.SHA, "1", protocol.IndexKey("pazzo:", "ann")},
		protocol.StepArgs(protocol.TagOf("ann"), &step)...)...)

	shown := w.do("PAZZO.SHOW", k.handle.String())
	for _, part := range []string{"live", "ann", "field cart", "8 bytes", "generation"} {
		if !strings.Contains(shown, part) {
			t.Errorf("PAZZO.SHOW lacks %q: %q", part, shown)
		}
	}
	listed := w.do("PAZZO.SESSIONS", "ann")
	if !strings.Contains(listed, k.handle.String()) || !strings.Contains(listed, "active") {
		t.Errorf("PAZZO.SESSIONS: %q", listed)
	}
	about := w.do("PAZZO.INFO")
	for _, part := range []string{"memory", "pazzo:", protocol.ApplyScript.SHA, protocol.IndexScript.SHA} {
		if !strings.Contains(about, part) {
			t.Errorf("PAZZO.INFO lacks %q: %q", part, about)
		}
	}
	if all := shown + listed + about; strings.Contains(all, "HIDDEN") || strings.Contains(all, string(secret[:])) || strings.Contains(all, string(k.secret[:])) {
		t.Errorf("a value or a secret is shown: %q", all)
	}
	if text := w.do("PAZZO.HELP"); !strings.Contains(text, "PAZZO.SHOW") || !strings.Contains(text, "EVALSHA") {
		t.Errorf("PAZZO.HELP: %q", text)
	}
	w.want("$-1\r\n", "PAZZO.SHOW", record.NewHandle().String())
	w.want("*0\r\n", "PAZZO.SESSIONS", "nobody")
	w.want("-ERR pazzo: that is no handle: 32 hexadecimal digits are one\r\n", "PAZZO.SHOW", "x")
	w.apply(k, &record.Batch{Ops: []record.Op{record.Destroy(record.Revoked, 60_000)}})
	w.want("*4\r\n"+bulk("state")+bulk("ended")+bulk("reason")+bulk("revoked"), "PAZZO.SHOW", k.handle.String())
}

// Each of the databases is a space of its own, as SELECT promises.
func TestDatabasesAreApart(t *testing.T) {
	a := start(t, testConfig(t))
	w := a.dial()
	k := w.session(record.Set("a", "1"))
	w.want(":1\r\n", "EXISTS", k.key())
	w.want("+OK\r\n", "SELECT", "15")
	w.want(":0\r\n", "EXISTS", k.key())
	w.want("+OK\r\n", "SELECT", "0")
	w.want(":1\r\n", "EXISTS", k.key())
	a.dial().want(":1\r\n", "EXISTS", k.key())
}
