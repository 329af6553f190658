package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// digits is a password as a file of users has it.
func digits(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestUsersTouchTheirPrefixOnly(t *testing.T) {
	c := testConfig(t)
	c.PasswordFile = write(t, "password", "everybody\n")
	c.UsersFile = write(t, "users", "# name prefix password\n\nann  a:  "+digits("pw a")+"\nbob b: "+digits("pw b")+"\n")
	a := start(t, c)
	ann, bob, one := a.dial(), a.dial(), a.dial()
	ann.want("-NOAUTH Authentication required.\r\n", "PING")
	if reply := ann.do("HELLO", "3"); !strings.HasPrefix(reply, "-NOAUTH HELLO must be called") {
		t.Errorf("%q", reply)
	}
	const wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	ann.want(wrong, "AUTH", "ann", "pw b")
	ann.want(wrong, "AUTH", "nobody", "pw a")
	ann.want(wrong, "AUTH", "nobody", "")
	ann.want(wrong, "HELLO", "2", "AUTH", "ann", "")
	ann.want("-NOAUTH Authentication required.\r\n", "PAZZO.INFO")
	ann.want("+OK\r\n", "AUTH", "ann", "pw a")
	if reply := bob.do("HELLO", "2", "AUTH", "bob", "pw b", "SETNAME", "x"); !strings.HasPrefix(reply, "*14\r\n") {
		t.Errorf("%q", reply)
	}
	one.want(wrong, "AUTH", "nobody")
	one.want("+OK\r\n", "AUTH", "everybody")

	k := one.session(record.Set("a", "1"))
	one.want(":1\r\n", "EXISTS", k.key())
	const refused = "-NOPERM No permissions to access a key\r\n"
	ann.want(refused, "EXISTS", k.key())
	ann.want(refused, "HGETALL", protocol.SessionKey("b:", k.handle))
	ann.want(refused, "EVALSHA", protocol.ApplyScript.SHA, "1", k.key(), "x")
	ann.want(refused, "EVALSHA", protocol.IndexScript.SHA, "1", protocol.IndexKey("b:", "x"), "x")
	// The same handle in another prefix is another session.
	ann.want(":0\r\n", "EXISTS", protocol.SessionKey("a:", k.handle))
	ann.want("$-1\r\n", "PAZZO.SHOW", k.handle.String())
	if reply := bob.do("CLIENT", "LIST"); strings.Count(reply, "id=") != 1 {
		t.Errorf("bob sees others: %q", reply)
	}
	ann.want("+RESET\r\n", "RESET")
	ann.want("-NOAUTH Authentication required.\r\n", "PING")

	if text := a.log.String(); strings.Contains(text, "pw a") || strings.Contains(text, "pw b") || strings.Contains(text, "everybody") || !strings.Contains(text, "authentication failed") {
		t.Errorf("the log: %s", text)
	}
}

func TestPasswordsWithoutNeed(t *testing.T) {
	w := start(t, testConfig(t)).dial()
	if reply := w.do("AUTH", "pw"); !strings.HasPrefix(reply, "-ERR AUTH <password> called without any password configured") {
		t.Errorf("%q", reply)
	}
	w.want("+OK\r\n", "AUTH", "default", "anything") // as in Redis, to nopass
}

// Until it has said who it is, a client can send little.
func TestStrangersSendLittle(t *testing.T) {
	c := testConfig(t)
	c.PasswordFile = write(t, "password", "pw")
	a := start(t, c)
	for _, text := range []string{"*17\r\n", "*2\r\n$4\r\nAUTH\r\n$20000\r\n"} {
		w := a.dial()
		w.send(text)
		if reply := w.ended(); !strings.HasPrefix(reply, "-ERR Protocol error: invalid") {
			t.Errorf("%q: %q", text, reply)
		}
	}
	w := a.dial()
	w.want("+OK\r\n", "AUTH", "pw")
	w.want(bulk(strings.Repeat("x", 20000)), "ECHO", strings.Repeat("x", 20000))
}

func TestReload(t *testing.T) {
	c := testConfig(t)
	c.UsersFile = write(t, "users", "ann a: "+digits("1")+"\nbob b: "+digits("2")+"\n")
	a := start(t, c)
	ann, bob := a.dial(), a.dial()
	ann.want("+OK\r\n", "AUTH", "ann", "1")
	bob.want("+OK\r\n", "AUTH", "bob", "2")

	if err := os.WriteFile(c.UsersFile, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reload(t.Context(), c); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("nonsense: %v", err)
	}
	ann.want("+PONG\r\n", "PING")

	if err := os.WriteFile(c.UsersFile, []byte("ann a: "+digits("1")+"\nbob b: "+digits("new")+"\neve e: "+digits("3")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := c
	changed.Socket, changed.Store, changed.MaxConnections = "/elsewhere", "memory:?max=1", 2
	later, err := a.Reload(t.Context(), changed)
	if err != nil || strings.Join(later, " ") != "store socket" {
		t.Errorf("later: %q, %v", later, err)
	}
	bob.ended()
	eventually(t, "bob's connection is gone", func() bool { return a.connected() == 1 })
	ann.want("+PONG\r\n", "PING")
	eve := a.dial()
	eve.want("+OK\r\n", "AUTH", "eve", "3")
	if reply := a.dial().ended(); reply != "-ERR max number of clients reached\r\n" {
		t.Errorf("the new limit does not hold: %q", reply)
	}
}
