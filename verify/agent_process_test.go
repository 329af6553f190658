package verify

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// agentProgram builds the command once, in agentFolder.
var agentProgram = sync.OnceValues(func() (path string, err error) {
	if agentFolder, err = os.MkdirTemp("", "pazzo-verify-"); err != nil {
		return "", err
	}
	path = filepath.Join(agentFolder, "pazzo")
	if out, err := exec.Command("go", "build", "-C", "../cmd/pazzo", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// agentFolder is removed when all tests are over.
var agentFolder string

// agentProcess is a `pazzo agent` of its own.
type agentProcess struct {
	t      testing.TB
	socket string
	args   []string
	cmd    *exec.Cmd
	log    *output
}

// output is what a process writes, for who reads meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startAgent runs an agent on a Unix socket and ends it when the test does.
func startAgent(t testing.TB, args ...string) *agentProcess {
	t.Helper()
	a := &agentProcess{t: t, socket: filepath.Join(t.TempDir(), "agent.sock")}
	a.args = append([]string{"agent", "-socket", a.socket}, args...)
	a.run()
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			a.end(syscall.SIGTERM)
		}
	})
	return a
}

// run starts the process, also once more after its end.
func (a *agentProcess) run() {
	a.t.Helper()
	program, err := agentProgram()
	if err != nil {
		a.t.Fatal(err)
	}
	a.log = &output{}
	a.cmd = exec.Command(program, a.args...)
	a.cmd.Stderr = a.log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		nc, err := net.Dial("unix", a.socket)
		if err == nil {
			nc.Close()
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("the agent does not listen: %v", err)
		}
	}
}

// end sends a signal and waits for the end, which is a clean one after SIGTERM.
func (a *agentProcess) end(signal syscall.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(signal); err != nil {
		a.t.Error(err)
	}
	hard := time.AfterFunc(30*time.Second, func() { a.cmd.Process.Kill() })
	defer hard.Stop()
	if err := a.cmd.Wait(); err != nil && signal == syscall.SIGTERM {
		a.t.Errorf("the agent has not ended cleanly: %v\n%s", err, a.log)
	}
}

// tcp returns the address of its TCP port, which is in the log.
func (a *agentProcess) tcp() string {
	a.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found := regexp.MustCompile(`network=tcp address=(\S+)`).FindStringSubmatch(a.log.String()); found != nil {
			return found[1]
		}
	}
	a.t.Fatal("no TCP port in the log")
	return ""
}

// url is its store URL.
func (a *agentProcess) url() string { return "unix://" + a.socket }

// wire is a raw connection that speaks RESP.
type wire struct {
	t fatal
	net.Conn
	r *bufio.Reader
}

// fatal is *testing.T or *rapid.T.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

func dialWire(t testing.TB, network, address string) *wire {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &wire{t, nc, bufio.NewReader(nc)}
}

// do sends a command and returns the reply, as it came.
func (w *wire) do(t fatal, args ...string) string {
	t.Helper()
	w.t = t
	w.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(w, respCommand(args)); err != nil {
		t.Fatalf("%.20q: %v", args, err)
	}
	return w.read()
}

func respCommand(args []string) string {
	var b strings.Builder
	b.WriteString("*" + decimal(len(args)) + "\r\n")
	for _, a := range args {
		b.WriteString("$" + decimal(len(a)) + "\r\n" + a + "\r\n")
	}
	return b.String()
}

// read reads one reply of any kind.
func (w *wire) read() string {
	w.t.Helper()
	head, err := w.r.ReadString('\n')
	if err != nil || len(head) < 3 {
		w.t.Fatalf("reply %q: %v", head, err)
	}
	n := 0
	switch head[0] {
	case '$', '=', '*', '~', '%':
		n = number(w.t, head[1:len(head)-2])
	}
	switch {
	case n < 0:
		return head
	case head[0] == '$' || head[0] == '=':
		text := make([]byte, n+2)
		if _, err := io.ReadFull(w.r, text); err != nil {
			w.t.Fatalf("reply %q: %v", head, err)
		}
		return head + string(text)
	case head[0] == '%':
		n *= 2
	}
	for range n {
		head += w.read()
	}
	return head
}
