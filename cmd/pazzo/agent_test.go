package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// settingsOf reads settings from flags, variables and a file.
func settingsOf(t *testing.T, env map[string]string, args ...string) (agentSettings, error) {
	t.Helper()
	p := &program{args: args, env: func(name string) string { return env[name] }, stdout: io.Discard, stderr: io.Discard}
	return p.agentSettings()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAgentSettingsHaveAnOrder(t *testing.T) {
	file := writeFile(t, "# comment\n\n socket = /file.sock\nprefix=file:\nmax-frame = 1MiB\nsocket-mode = 0600\nmax-pipeline=7\n")
	env := map[string]string{"PAZZO_AGENT_CONFIG": file, "PAZZO_AGENT_PREFIX": "env:", "PAZZO_AGENT_SOCKET": "none", "PAZZO_AGENT_LISTEN": "[::1]:1"}
	s, err := settingsOf(t, env, "-prefix", "flag:", "-idle-timeout", "2m", "-log-level", "warn", "-log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	if s.Prefix != "flag:" || s.Socket != "" || s.Listen != "[::1]:1" || s.MaxFrame != 1<<20 || s.SocketMode != 0o600 ||
		s.MaxPipeline != 7 || s.IdleTimeout != 2*time.Minute || s.logLevel.String() != "WARN" || s.logFormat != "json" || s.MaxConnections != 10_000 {
		t.Errorf("%+v", s)
	}
}

func TestInvalidAgentSettings(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		file string
		says []string
	}{
		{args: []string{"-max-frame", "8 megs"}, says: []string{"-max-frame", "a number of bytes"}},
		{args: []string{"-log-level", "loud"}, says: []string{"-log-level", "loud"}},
		{args: []string{"-log-format", "xml"}, says: []string{"neither text nor json"}},
		{args: []string{"-nonsense"}, says: []string{"-nonsense"}},
		{args: []string{"-config", "/no/such/file"}, says: []string{"the file of settings", "/no/such/file"}},
		{env: map[string]string{"PAZZO_AGENT_MAX_CONNECTIONS": "many"}, says: []string{"PAZZO_AGENT_MAX_CONNECTIONS", "by default 10000"}},
		{env: map[string]string{"PAZZO_AGENT_SOCKET_MODE": "rw"}, says: []string{"PAZZO_AGENT_SOCKET_MODE", "octal number such as 0660"}},
		{file: "socket /x", says: []string{"line 1", "not name = value"}},
		{file: "\nsokcet = /x", says: []string{"line 2", `no setting "sokcet"`}},
		{file: "check = true", says: []string{"line 1", `no setting "check"`}},
		{file: "prefix = a:\nprefix = b:", says: []string{"line 2", "prefix is there twice"}},
		{file: "idle-timeout = 5", says: []string{"line 1", "idle-timeout", "0: for ever"}},
	} {
		args := c.args
		if c.file != "" {
			args = []string{"-config", writeFile(t, c.file)}
		}
		_, err := settingsOf(t, c.env, args...)
		for _, part := range c.says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q, %v, %q: %v; want %q", c.args, c.env, c.file, err, part)
			}
		}
	}
}

// docs/agent.md has every setting, and no other.
func TestAgentSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| setting |")
	table, _, _ = strings.Cut(table, "\n\n")
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	new(agentSettings).define(flags)
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(table, "`"+f.Name+"`") {
			t.Errorf("%s is missing", f.Name)
		}
	})
	for _, row := range strings.Split(table, "\n")[2:] {
		for _, name := range strings.Split(strings.Split(row, "|")[1], ",") {
			if name = strings.Trim(name, " `"); flags.Lookup(name) == nil {
				t.Errorf("%q is no setting", name)
			}
		}
	}
}

func TestAgentCheck(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	code, out, stderr := invoke(t, "agent", "-check", "-socket", socket)
	if code != exitOK || !strings.Contains(out, "valid") || stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, stderr)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the check has opened the socket")
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-prefix", "x"}, `must end in ":"`},
		{[]string{"-store", "redis://127.0.0.1:1"}, "127.0.0.1:1"},
		{[]string{"-store", "nonsense:"}, "the scheme must be"},
		{[]string{"-users", "/no/such/file"}, "/no/such/file"},
		{[]string{"-snapshot", writeFile(t, "precious")}, "not written by an agent"},
	} {
		code, out, stderr := invoke(t, append([]string{"agent", "-check", "-socket", socket}, c.args...)...)
		if code != exitFailed || out != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; want exit 1 and %q", c.args, code, out, stderr, c.says)
		}
	}
}

// The agent as it is started: it says where it listens, tells systemd, reloads upon
// SIGHUP, and ends in good order.
func TestAgentStartsReloadsAndStops(t *testing.T) {
	dir := t.TempDir()
	socket, notify := filepath.Join(dir, "agent.sock"), filepath.Join(dir, "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, 100)
		told.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := told.Read(got); string(got[:n]) != want {
			t.Fatalf("systemd was told %q, %v; want %q", got[:n], err, want)
		}
	}
	password := writeFile(t, "first")
	config := writeFile(t, "socket = "+socket+"\npassword-file = "+password+"\n")
	env := map[string]string{"NOTIFY_SOCKET": notify, "PAZZO_AGENT_CONFIG": config}
	ctx, terminate := context.WithCancel(t.Context())
	defer terminate()
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"agent"}, func(name string) string { return env[name] }, io.Discard, &log)
	}()
	expect("READY=1")
	if reply := ask(t, socket, "AUTH first\r\nPING\r\n", 2); reply != "+OK\r\n+PONG\r\n" {
		t.Errorf("%q", reply)
	}
	if err := os.WriteFile(password, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	expect("RELOADING=1")
	expect("READY=1")
	if reply := ask(t, socket, "AUTH first\r\nAUTH second\r\n", 2); reply != "-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n" {
		t.Errorf("after the reload: %q", reply)
	}
	terminate()
	expect("STOPPING=1")
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	for _, part := range []string{"listening", socket, "reloaded", "ended", "authentication failed"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, log.String())
		}
	}
	if strings.Contains(log.String(), "second") {
		t.Errorf("the log shows a password:\n%s", log.String())
	}
}

// ask sends lines and returns as many of the reply.
func ask(t *testing.T, socket, text string, lines int) (reply string) {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	for range lines {
		line, err := r.ReadString('\n')
		if reply += line; err != nil {
			t.Fatalf("%q, %v", reply, err)
		}
	}
	return reply
}
