package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/protocol"
)

// plan is what a script in clients/ is to do, as JSON in the first line of its input.
type plan struct {
	Script string `json:"script"` // the source of apply.lua
	Ways   []way  `json:"ways"`
}

// way is a way to reach the agent, and a batch to apply there: it makes a session whose
// field n is 42.
type way struct {
	Protocol int      `json:"protocol"` // 2 or 3; 0: the client's default
	Name     string   `json:"name"`
	Socket   string   `json:"socket"` // or else Host and Port
	Host     string   `json:"host"`
	Port     int      `json:"port"`
	User     string   `json:"user"` // empty: default
	Password string   `json:"password"`
	Key      string   `json:"key"`
	Args     [][]byte `json:"args"`
}

// realAgent is an agent with a password and a user, whose port stays when it is restarted.
type realAgent struct {
	*agentProcess
	port int
}

func startRealAgent(t *testing.T) realAgent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	secret, users := filepath.Join(t.TempDir(), "password"), filepath.Join(t.TempDir(), "users")
	for path, text := range map[string]string{secret: "of-default", users: "ann ann: file:" + secret + "-ann\n", secret + "-ann": "of-ann"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return realAgent{startAgent(t, "-listen", fmt.Sprintf("127.0.0.1:%d", port), "-password-file", secret, "-users", users), port}
}

// plan makes the batches, each for a session of its own.
func (a realAgent) plan() plan {
	p := plan{Script: protocol.ApplyScript.Source}
	for version, spoken := range map[int]string{0: "its default", 2: "RESP2", 3: "RESP3"} {
		for _, w := range []way{
			{Name: "socket", Socket: a.socket},
			{Name: "TCP", Host: "127.0.0.1", Port: a.port},
		} {
			w.Protocol, w.Name = version, w.Name+", "+spoken
			p.Ways = append(p.Ways, w.as("", "pazzo:"), w.as("ann", "ann:"))
		}
	}
	return p
}

// as returns the way of that user, whose keys begin with the prefix.
func (w way) as(user, prefix string) way {
	h, _, args := newSession()
	w.User, w.Password, w.Key = user, "of-"+cmp.Or(user, "default"), protocol.SessionKey(prefix, h)
	w.Name += ", " + cmp.Or(user, "default")
	for _, arg := range args {
		w.Args = append(w.Args, []byte(arg))
	}
	return w
}

// The clients of Python and Node as they come, each in a process of its own.
func TestRealClientsOnTheAgent(t *testing.T) {
	a := startRealAgent(t)
	// The newest, at every time; of Node's, those are what package.json calls by their own names.
	pythons, nodes := []string{"8.1.0"}, []string{"redis", "ioredis", "iovalkey"}
	if nightly {
		pythons = append(pythons, "4.6.0", "5.3.1", "6.4.0", "7.4.1")
		nodes = append(nodes, "redis5", "ioredis5")
	}
	for _, version := range pythons {
		install(t, "redis-py", version)
		python := filepath.Join("clients", ".venv", version, "bin", "python")
		t.Run("redis-py-"+version+"-hiredis", func(t *testing.T) { a.check(t, python, "clients/redis_py.py") })
		t.Run("redis-py-"+version, func(t *testing.T) { a.check(t, python, "clients/redis_py.py", "--without-hiredis") })
	}
	install(t, "node")
	for _, name := range nodes {
		t.Run("node-"+name, func(t *testing.T) { a.check(t, "node", "clients/node.mjs", name) })
	}
}

func install(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "clients/install", args...).CombinedOutput(); err != nil {
		t.Fatalf("clients/install %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// check runs a script to its end, and restarts the agent when the script asks for it.
func (a realAgent) check(t *testing.T, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script := exec.CommandContext(ctx, command[0], command[1:]...)
	var complaints bytes.Buffer
	script.Stderr = &complaints
	in, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	asked := a.serve(in, bufio.NewReader(out))
	if err := errors.Join(script.Wait(), asked); err != nil {
		t.Errorf("%v\n%s", err, complaints.String())
	}
}

// serve is what the script talks with.
func (a realAgent) serve(in io.WriteCloser, out *bufio.Reader) error {
	defer in.Close()
	if err := json.NewEncoder(in).Encode(a.plan()); err != nil {
		return err
	}
	if line, err := out.ReadString('\n'); line != "restart\n" {
		return fmt.Errorf("the script says %q instead of restart: %w", line, err)
	}
	a.end(syscall.SIGTERM)
	a.run()
	if _, err := io.WriteString(in, "restarted\n"); err != nil {
		return err
	}
	in.Close() // which Node waits for
	rest, err := io.ReadAll(out)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("the script says %q at its end", rest)
	}
	return err
}
