package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/pazzo-sessions/pazzo/record"
)

// badDisk is a disk in memory that can be full, or fail.
type badDisk struct {
	mem  *vfs.MemFS
	fs   vfs.FS
	fail atomic.Pointer[func(errorfs.Op) error] // nil: it works
}

func newBadDisk() *badDisk {
	d := &badDisk{mem: vfs.NewCrashableMem()}
	d.free(1 << 30)
	d.fs = errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail := d.fail.Load(); fail != nil {
			return (*fail)(op)
		}
		return nil
	}))
	return d
}

func (d *badDisk) free(bytes uint64) {
	d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 1 << 40, UsedBytes: 1})
}

// fill leaves no room for anything.
func (d *badDisk) fill() {
	full := func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpReuseForWrite:
			return syscall.ENOSPC
		}
		return nil
	}
	d.free(0)
	d.fail.Store(&full)
}

func (d *badDisk) empty() {
	d.fail.Store(nil)
	d.free(1 << 30)
}

func (d *badDisk) open(t testing.TB, minFree int64) *Store {
	return openIn(t, "/sessions", &Options{fs: d.fs, MinFree: minFree, memTable: 64 << 10, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// eventually fails unless f holds within some seconds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func createBatch() *record.Batch {
	return &record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), lasting)}}
}

func TestLittleRoom(t *testing.T) {
	disk := newBadDisk()
	s := disk.open(t, 64<<20)
	h, doomed := create(t, s, lasting, record.Set("a", "1")), create(t, s, lasting)
	disk.free(63 << 20)
	eventually(t, "a write that needs room is refused", func() bool {
		_, err := s.Apply(context.Background(), record.NewHandle(), createBatch())
		return errors.Is(err, record.ErrFull)
	})
	if _, err := apply(s, h, record.Set("b", "1")); !errors.Is(err, record.ErrFull) {
		t.Errorf("a field more: %v", err)
	}
	if text, status := value(t, s, h, "a"); text != "1" {
		t.Errorf("read: %q, %s", text, status)
	}
	for _, op := range []record.Op{record.Set("a", "2"), record.Delete("b"), record.Delete("a")} {
		if reply, err := apply(s, h, op); err != nil || reply.Status != record.OK {
			t.Errorf("operation %d: %s, %v", op.Kind, reply.Status, err)
		}
	}
	if reply, err := apply(s, doomed, record.Destroy(record.Logout, hour)); err != nil || reply.Status != record.OK {
		t.Errorf("destroy: %s, %v", reply.Status, err)
	}
	if reply, err := apply(s, record.NewHandle(), record.Destroy(record.Logout, hour)); err != nil || reply.Status != record.OK {
		t.Errorf("destroy where there is none: %s, %v", reply.Status, err)
	}
	if _, err := s.ApplyIndex(context.Background(), "ann", &record.IndexStep{Kind: record.Block, Duration: hour}); err != nil {
		t.Errorf("block: %v", err)
	}
	disk.free(1 << 30)
	eventually(t, "there is room again", func() bool {
		_, err := s.Apply(context.Background(), record.NewHandle(), createBatch())
		return err == nil
	})
}

// When nothing can be written any more, writes wait for room, new ones are refused,
// what is known is readable, and all goes on once there is room.
func TestFullDisk(t *testing.T) {
	disk := newBadDisk()
	s := disk.open(t, -1)
	h, quiet := create(t, s, lasting, record.Set("n", "0")), create(t, s, lasting, record.Set("a", "1"))
	disk.fill()
	waiting := make(chan error, 1)
	go func() {
		_, err := apply(s, h, record.Add("n", 1))
		waiting <- err
	}()
	eventually(t, "the disk is noticed to be full", s.full.stalled.Load)
	if _, err := apply(s, quiet, record.Destroy(record.Logout, hour)); !errors.Is(err, record.ErrFull) {
		t.Errorf("a new write: %v", err)
	}
	if text, status := value(t, s, quiet, "a"); text != "1" {
		t.Errorf("a read: %q, %s", text, status)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Apply(ctx, h, &record.Batch{Ops: []record.Op{record.Get("n")}})
	if !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("a read of what waits: %v", err)
	}
	disk.empty()
	if err := <-waiting; err != nil {
		t.Errorf("the write that waited: %v", err)
	}
	if text, status := value(t, s, h, "n"); text != "1" {
		t.Errorf("after it: %q, %s", text, status)
	}
	for range 300 { // beyond the log and the first tables
		create(t, s, lasting, record.Set("a", fmt.Sprintf(`"%01000d"`, 1)))
	}
	closeStore(t, s)
	s = disk.open(t, -1)
	if text, status := value(t, s, h, "n"); text != "1" {
		t.Errorf("after opening it again: %q, %s", text, status)
	}
	if err := agree(s); err != nil {
		t.Error(err)
	}
}

// The disk fills and empties under load, at any moment of the log and the tables.
func TestDiskFillsAgainAndAgain(t *testing.T) {
	disk := newBadDisk()
	s := disk.open(t, -1)
	h := create(t, s, lasting, record.Set("n", "0"))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var acknowledged atomic.Int64
	done := make(chan error, 4)
	for range 4 {
		go func() {
			b := &record.Batch{Ops: []record.Op{record.Add("n", 1), record.Set("pad", fmt.Sprintf(`"%01000d"`, 1))}}
			for ctx.Err() == nil {
				switch _, err := s.Apply(context.Background(), h, b); {
				case err == nil:
					acknowledged.Add(1)
				case errors.Is(err, record.ErrFull):
					time.Sleep(time.Millisecond)
				default:
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for n := range 20 {
		time.Sleep(time.Duration(n) * time.Millisecond)
		disk.fill()
		eventually(t, "a write is held", s.full.stalled.Load)
		disk.empty()
	}
	stop()
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if text, _ := value(t, s, h, "n"); text != fmt.Sprint(acknowledged.Load()) {
		t.Errorf("%s; %d were acknowledged", text, acknowledged.Load())
	}
}

// After a failure that Pebble calls fatal, or panics at, the process goes on, every
// call fails, and what was acknowledged is there when the directory is opened anew.
func TestFailedDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		what func(errorfs.Op) bool
	}{
		{"sync of the log", func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}},
		{"write of the log", func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") && op.Kind == errorfs.OpFileWrite }},
		{"new log", func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		}},
		{"manifest", func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "MANIFEST") && op.Kind == errorfs.OpFileWrite
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if inChild(t) {
				checkFailure(t, c.what)
			}
		})
	}
}

func checkFailure(t *testing.T, what func(errorfs.Op) bool) {
	disk := newBadDisk()
	s, err := Open("/sessions", &Options{fs: disk.fs, memTable: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	h := create(t, s, lasting, record.Set("n", "0"))
	fail := func(op errorfs.Op) error {
		if what(op) {
			return syscall.EIO
		}
		return nil
	}
	disk.fail.Store(&fail)
	acknowledged := 0
	b := &record.Batch{Ops: []record.Op{record.Add("n", 1), record.Set("pad", fmt.Sprintf(`"%01000d"`, 1))}}
	for end := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(end); {
		if _, err = s.Apply(context.Background(), h, b); err == nil {
			acknowledged++
		}
	}
	if !errors.Is(err, record.ErrOutcomeUnknown) && !errors.Is(err, record.ErrUnavailable) {
		t.Errorf("the write that met it: %v", err)
	}
	for _, ops := range [][]record.Op{{record.Get("n")}, {record.Add("n", 1)}, {record.Destroy(record.Logout, hour)}} {
		_, err := apply(s, h, ops...)
		if !errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "new process") {
			t.Errorf("operation %d: %v", ops[0].Kind, err)
		}
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "new process") {
		t.Errorf("closing: %v", err)
	}
	s = openIn(t, "/sessions", &Options{fs: disk.mem.CrashClone(vfs.CrashCloneCfg{})})
	text, status := value(t, s, h, "n")
	if n, _ := record.ParseInt(text); n < int64(acknowledged) || n > int64(acknowledged)+1 {
		t.Errorf("%q, %s; %d were acknowledged", text, status, acknowledged)
	}
	t.Logf("%d were acknowledged", acknowledged)
}

// Readers and writers at work when the disk fails get errors in time, and never a session
// that looks empty; what was acknowledged is there when the directory is opened anew.
func TestFailedDiskUnderLoad(t *testing.T) {
	if !inChild(t) {
		return
	}
	const sessions, timeout = 16, time.Second
	disk := newBadDisk()
	s, err := Open("/sessions", &Options{fs: disk.fs})
	if err != nil {
		t.Fatal(err)
	}
	var handles [sessions]record.Handle
	var acknowledged, unknown [sessions]atomic.Int64
	for i := range handles {
		handles[i] = create(t, s, lasting, record.Set("n", "0"))
	}
	var group sync.WaitGroup
	worker := func(i int, op record.Op) {
		for failed := 0; failed < 10; {
			before, start := acknowledged[i].Load(), time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			reply, err := s.Apply(ctx, handles[i], &record.Batch{Ops: []record.Op{op}})
			cancel()
			if took := time.Since(start); took > 2*timeout {
				t.Errorf("operation %d took %s", op.Kind, took)
			}
			switch {
			case errors.Is(err, record.ErrOutcomeUnknown) && op.Kind == record.OpAdd:
				failed++
				unknown[i].Add(1)
			case errors.Is(err, record.ErrUnavailable) && !errors.Is(err, record.ErrOutcomeUnknown):
				failed++
			case err != nil || reply.Status != record.OK:
				t.Errorf("operation %d: %q, %v", op.Kind, reply.Status, err)
				return
			case op.Kind == record.OpAdd:
				acknowledged[i].Add(1)
			default:
				if n, _ := record.ParseInt(reply.Values[0].Text); n < before {
					t.Errorf("%d was read after %d had been acknowledged", n, before)
				}
			}
		}
	}
	for i := range handles {
		group.Go(func() { worker(i, record.Add("n", 1)) })
		group.Go(func() { worker(i, record.Get("n")) })
	}
	for i, end := 0, time.Now().Add(10*time.Second); i < sessions && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if acknowledged[i].Load() > 0 { // the readers leave the writers little time
			i++
		}
	}
	fail := func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	}
	disk.fail.Store(&fail)
	group.Wait()
	select {
	case <-s.Failed():
	default:
		t.Error("Failed is not closed")
	}
	s.Close()
	again := openIn(t, "/sessions", &Options{fs: disk.mem.CrashClone(vfs.CrashCloneCfg{})})
	for i, h := range handles {
		n, acked := number(t, again, h, "n"), acknowledged[i].Load()
		if n < acked || n > acked+unknown[i].Load() {
			t.Errorf("the counter is %d after %d acknowledged and %d unknown", n, acked, unknown[i].Load())
		}
		if acked == 0 {
			t.Error("nothing was acknowledged")
		}
	}
}

// A disk that is full when the store is opened is an error of Open.
func TestOpenOnAFullDisk(t *testing.T) {
	disk := newBadDisk()
	s := disk.open(t, -1)
	h := create(t, s, lasting, record.Set("n", "0"))
	closeStore(t, s)
	disk.fill()
	if s, err := Open("/sessions", &Options{fs: disk.fs}); err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("%v, %v", s, err)
	}
	disk.empty()
	if n := number(t, disk.open(t, -1), h, "n"); n != 0 {
		t.Errorf("%d", n)
	}
}

// So is one that fails then.
func TestOpenOnAFailedDisk(t *testing.T) {
	if !inChild(t) {
		return
	}
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpCreate} {
		disk := newBadDisk()
		s := disk.open(t, -1)
		h := create(t, s, lasting, record.Set("n", "0"))
		closeStore(t, s)
		clone := disk.mem.CrashClone(vfs.CrashCloneCfg{})
		broken := func(op errorfs.Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		}
		disk.fail.Store(&broken)
		if _, err := Open("/sessions", &Options{fs: disk.fs}); err == nil || errors.Is(err, ErrInUse) {
			t.Fatalf("operation %d: %v", kind, err)
		}
		if n := number(t, openIn(t, "/sessions", &Options{fs: clone}), h, "n"); n != 0 {
			t.Errorf("operation %d: %d", kind, n)
		}
	}
}

// A store can be closed while the disk is full, and loses nothing by that.
func TestCloseWhileFull(t *testing.T) {
	if !inChild(t) {
		return
	}
	disk := newBadDisk()
	s := disk.open(t, -1)
	h := create(t, s, lasting, record.Set("n", "0"))
	disk.fill()
	waiting := make(chan error, 1)
	go func() {
		_, err := apply(s, h, record.Add("n", 1))
		waiting <- err
	}()
	eventually(t, "the disk is noticed to be full", s.full.stalled.Load)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close hangs")
	}
	if err := <-waiting; !errors.Is(err, record.ErrOutcomeUnknown) {
		t.Errorf("the write that waited: %v", err)
	}
	s = openIn(t, "/sessions", &Options{fs: disk.mem.CrashClone(vfs.CrashCloneCfg{})})
	if _, status := value(t, s, h, "n"); status != record.OK {
		t.Errorf("%s", status)
	}
}
