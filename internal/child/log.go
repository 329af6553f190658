package child

import (
	"strings"
	"sync"
)

// logKept is how much of the log is kept, in bytes.
const logKept = 64 << 10

// tail keeps the end of what a program prints and watches for one text.
type tail struct {
	ready string
	seen  chan struct{} // closed when ready was printed

	mu    sync.Mutex
	text  []byte
	found bool
}

func newTail(ready string) *tail {
	l := &tail{ready: ready, seen: make(chan struct{})}
	if ready == "" {
		l.found = true
		close(l.seen)
	}
	return l
}

// Write implements io.Writer.
func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if !l.found && strings.Contains(string(l.text), l.ready) {
		l.found = true
		close(l.seen)
	}
	if over := len(l.text) - logKept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

// String returns what is kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
