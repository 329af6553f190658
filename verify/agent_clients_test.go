package verify

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// newSession returns a session's handle and the arguments that make it, with the
// field n.
func newSession() (h record.Handle, key string, args []string) {
	h = record.NewHandle()
	b := record.Batch{Ops: []record.Op{
		record.Create(record.NewSecret(), record.Expiry{Idle: 3_600_000, Absolute: 3_600_000}),
		record.Set("n", "42"),
	}}
	return h, protocol.SessionKey("pazzo:", h), protocol.AppendBatch(nil, h, &b)
}

func anys(list []string) (all []any) {
	for _, s := range list {
		all = append(all, s)
	}
	return all
}

// go-redis as it comes, in both protocols: its own script type loads what is missing.
func TestGoRedisOnTheAgent(t *testing.T) {
	a := startAgent(t)
	for _, version := range []int{2, 3} {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: a.socket, Protocol: version, ClientName: "me"})
		h, key, args := newSession()
		answer, err := redis.NewScript(protocol.ApplyScript.Source).Run(t.Context(), client, []string{key}, anys(args)...).Text()
		if err != nil || !strings.HasPrefix(answer, string(h[:])) {
			t.Errorf("RESP%d: %q, %v", version, answer, err)
		}
		if n, err := client.HGet(t.Context(), key, "n").Result(); n != "42" || err != nil {
			t.Errorf("RESP%d: HGET %q, %v", version, n, err)
		}
		if all, err := client.HGetAll(t.Context(), key).Result(); len(all) != 3 || all["n"] != "42" || err != nil {
			t.Errorf("RESP%d: HGETALL %q, %v", version, all, err)
		}
		if left, err := client.PTTL(t.Context(), key).Result(); left <= 0 || err != nil {
			t.Errorf("RESP%d: PTTL %s, %v", version, left, err)
		}
		results, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			p.Ping(t.Context())
			p.HMGet(t.Context(), key, "n", "missing")
			p.Time(t.Context())
			return nil
		})
		if err != nil || len(results) != 3 {
			t.Errorf("RESP%d: a pipeline of %d: %v", version, len(results), err)
		}
		if _, err := client.Set(t.Context(), "a", "b", 0).Result(); err == nil || !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("RESP%d: SET: %v", version, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// rueidis as it comes wants to track keys, and says so when it cannot.
func TestRueidisOnTheAgent(t *testing.T) {
	a := startAgent(t, "-listen", "127.0.0.1:0")
	port := a.tcp()
	option := rueidis.ClientOption{InitAddress: []string{port}, ForceSingleClient: true}
	if client, err := rueidis.NewClient(option); !errors.Is(err, rueidis.ErrNoCache) && (err == nil || !strings.Contains(err.Error(), "does not track keys")) {
		t.Errorf("with its cache: %v", err)
		client.Close()
	}
	for _, resp2 := range []bool{false, true} {
		option.DisableCache, option.AlwaysRESP2 = true, resp2
		client, err := rueidis.NewClient(option)
		if err != nil {
			t.Fatal(err)
		}
		h, key, args := newSession()
		answer, err := rueidis.NewLuaScript(protocol.ApplyScript.Source).Exec(t.Context(), client, []string{key}, args).ToString()
		if err != nil || !strings.HasPrefix(answer, string(h[:])) {
			t.Errorf("RESP2 %t: %q, %v", resp2, answer, err)
		}
		if n, err := client.Do(t.Context(), client.B().Hget().Key(key).Field("n").Build()).ToString(); n != "42" || err != nil {
			t.Errorf("RESP2 %t: HGET %q, %v", resp2, n, err)
		}
		client.Close()
	}
}

// redis-cli is a tool to look around with.
func TestRedisCLIOnTheAgent(t *testing.T) {
	a := startAgent(t)
	cli := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-s", a.socket}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	w := dialWire(t, "unix", a.socket)
	h, key, args := newSession()
	w.do(t, append([]string{"EVALSHA", protocol.ApplyScript.SHA, "1", key}, args...)...)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"PING"}, "PONG"},
		{[]string{"-3", "PAZZO.SHOW", h.String()}, "field n"},
		{[]string{"PAZZO.INFO"}, protocol.ApplyScript.SHA},
		{[]string{"PAZZO.HELP"}, "PAZZO.SESSIONS"},
		{[]string{"HGET", key, "n"}, "42"},
		{[]string{"INFO", "replication"}, "role:master"},
	} {
		if out := cli(c.args...); !strings.Contains(out, c.says) {
			t.Errorf("%q lacks %q:\n%s", c.args, c.says, out)
		}
	}
	interactive := exec.CommandContext(t.Context(), "redis-cli", "-s", a.socket)
	interactive.Stdin = strings.NewReader("PING\nPAZZO.SESSIONS nobody\nquit\n")
	if out, err := interactive.CombinedOutput(); err != nil || !strings.Contains(string(out), "PONG") {
		t.Errorf("%v\n%s", err, out)
	}
}
