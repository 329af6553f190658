package record

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 257)
	for _, test := range []struct {
		name string
		b    *Batch
		err  error
	}{
		{"nothing", batch(), nil},
		{"one of each", batch(Get("a"), GetAll(), Set("b", "1"), SetIfAbsent("c", "1"), Delete("d"), Pop("e"), Add("f", 1),
			Append("g", "1"), Drain("h"), Clear(), GetIdentity(), Touch(), SetExpiry(expiry), Describe("i"), Renew(key(1))), nil},
		{"unknown mode", &Batch{Access: Access{Mode: Held + 1}}, ErrBatch},
		{"unknown operation", batch(Op{Kind: lastOp + 1}), ErrBatch},
		{"unknown condition", batch().under(Condition{Kind: UserIsOrNone + 1}), ErrBatch},
		{"field twice", batch(Get("a"), Set("b", "1"), Set("a", "1")), ErrBatch},
		{"clear twice", batch(Clear(), Clear()), ErrBatch},
		{"two that renew", batch(Rotate(1, key(1), grace), Authenticate("ann", key(2), 0)), ErrBatch},
		{"two others on the record", batch(Touch(), Describe(""), SetExpiry(expiry)), nil},
		{"destroy with another", batch(Get("a"), Destroy(Logout, 1)), ErrBatch},
		{"destroy under a condition", batch(Destroy(Logout, 1)).under(Condition{Kind: RevisionIs}), nil},
		{"create and more", batch(Create(key(1), expiry), Set("a", "1"), Authenticate("ann", key(2), 0)), nil},
		{"create second", batch(Get("a"), Create(key(1), expiry)), ErrBatch},
		{"create twice", batch(Create(key(1), expiry), Create(key(1), expiry)), ErrBatch},
		{"create with a token", open(1, key(1), Create(key(1), expiry)), ErrBatch},
		{"create under a condition", batch(Create(key(1), expiry)).under(Condition{Kind: RevisionIs}), ErrBatch},
		{"create without idle", batch(Create(key(1), Expiry{Absolute: 1})), ErrBatch},
		{"create without end", batch(Create(key(1), Expiry{Idle: 1})), ErrBatch},
		{"create at the limit", batch(Create(key(1), Expiry{Idle: MaxTimeout, Absolute: MaxTimeout})), nil},
		{"create above it", batch(Create(key(1), Expiry{Idle: 1, Absolute: MaxTimeout + 1})), ErrBatch},
		{"expiry below zero", batch(SetExpiry(Expiry{Idle: -1, Absolute: 1})), ErrBatch},
		{"tombstone at the limit", batch(Destroy(Evicted, MaxTimeout)), nil},
		{"tombstone above it", batch(Destroy(Logout, MaxTimeout+1)), ErrBatch},
		{"tombstone for no time", batch(Destroy(Logout, 0)), ErrBatch},
		{"unknown reason", batch(Destroy(lastReason+1, 1)), ErrBatch},
		{"authenticate for less than nothing", batch(Authenticate("ann", key(1), -1)), ErrBatch},
		{"authenticate for ever", batch(Authenticate("ann", key(1), MaxTimeout+1)), ErrBatch},
		{"grace below zero", batch(Rotate(1, key(1), -1)), ErrBatch},
		{"grace for ever", batch(Rotate(1, key(1), MaxTimeout+1)), ErrBatch},
		{"no name", batch(Get("")), ErrName},
		{"leading NUL", batch(Get("\x00a")), ErrName},
		{"NUL inside", batch(Get("a\x00")), nil},
		{"not UTF-8", batch(Get("a\xff")), ErrName},
		{"name at the limit", batch(Get(long[:256])), nil},
		{"name above it", batch(Get(long)), ErrTooLarge},
		{"name above the option", batch(Get("abc")).within(Limits{Name: 2}), ErrTooLarge},
		{"the option cannot raise it", batch(Get(long)).within(Limits{Name: 1000}), ErrTooLarge},
		{"name in a condition", batch().under(Condition{Kind: FieldAbsent}), ErrName},
		{"value at the limit", batch(Set("a", "12345")).within(Limits{Value: 5}), nil},
		{"value above it", batch(Set("a", "123456")).within(Limits{Value: 5}), ErrTooLarge},
		{"default value limit", batch(Set("a", strings.Repeat("1", 256<<10))), nil},
		{"above it", batch(Set("a", strings.Repeat("1", 256<<10+1))), ErrTooLarge},
		{"no user", batch(Authenticate("", key(1), 0)), ErrBatch},
		{"user not UTF-8", batch(Authenticate("\xff", key(1), 0)), ErrBatch},
		{"user at the limit", batch(Authenticate(strings.Repeat("u", MaxUser), key(1), 0)), nil},
		{"user above it", batch(Authenticate(strings.Repeat("u", MaxUser+1), key(1), 0)), ErrTooLarge},
		{"no user in a condition", batch().under(Condition{Kind: UserIsOrNone}), ErrBatch},
		{"device at the limit", batch(Describe(strings.Repeat("d", MaxDevice))), nil},
		{"device above it", batch(Describe(strings.Repeat("d", MaxDevice+1))), ErrTooLarge},
	} {
		if err := test.b.Check(); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
	}
}

// Large batches are checked as strictly as small ones, in time that grows with
// their size only, and small ones without allocating.
func TestCheckLarge(t *testing.T) {
	gets := func(n int) (ops []Op) {
		for i := range n {
			ops = append(ops, Get(strconv.Itoa(i)))
		}
		return ops
	}
	for _, n := range []int{fewOps - 2, fewOps - 1, fewOps, fewOps + 1, 1000} {
		ops := gets(n)
		for name, test := range map[string]struct {
			more []Op
			err  error
		}{
			"another field":       {[]Op{Set("x", "1"), Touch()}, nil},
			"the first again":     {[]Op{Set("0", "1")}, ErrBatch},
			"the last again":      {[]Op{Touch(), Delete(strconv.Itoa(n - 1))}, ErrBatch},
			"twice on the record": {[]Op{Touch(), Touch()}, ErrBatch},
			"two that renew":      {[]Op{Renew(key(1)), Rotate(1, key(1), grace)}, ErrBatch},
		} {
			if err := batch(append(ops[:n:n], test.more...)...).Check(); !errors.Is(err, test.err) {
				t.Errorf("%s after %d: %v, want %v", name, n, err, test.err)
			}
		}
	}
	few := batch(gets(fewOps)...)
	if n := testing.AllocsPerRun(100, func() { few.Check() }); n != 0 {
		t.Errorf("%v allocations for %d operations", n, fewOps)
	}
	// As many operations in one batch as in many, and both for long enough that a
	// busy machine slows them alike.
	took := func(n, times int) (best time.Duration) {
		b := batch(gets(n)...)
		for i := range 5 {
			began := time.Now()
			for range times {
				if err := b.Check(); err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(began); i == 0 || d < best {
				best = d
			}
		}
		return best
	}
	if many, one := took(2_000, 32), took(64_000, 1); one > 16*many {
		t.Errorf("64,000 operations took %v at once, and %v as 32 batches", one, many)
	}
}

func TestReadOnly(t *testing.T) {
	if !open(1, key(1), Get("a"), GetAll(), GetIdentity()).ReadOnly() || !batch().ReadOnly() {
		t.Error("reads are not read-only")
	}
	if batch(Get("a"), Touch()).ReadOnly() || batch(Pop("a")).ReadOnly() || batch(Get("a")).under(Condition{Kind: RevisionIs}).ReadOnly() {
		t.Error("more than reads is read-only")
	}
}

func TestLimits(t *testing.T) {
	fill := func(n int) (ops []Op) {
		for i := range n {
			ops = append(ops, Set("f"+strconv.Itoa(i), "1"))
		}
		return ops
	}
	t.Run("default fields", func(t *testing.T) {
		r := made(t, fill(1023)...)
		want(t, apply(t, r, batch(Set("x", "1"), Set("y", "1")), start), TooLarge)
		want(t, apply(t, r, batch(Set("x", "1")), start), OK)
		want(t, apply(t, r, batch(Set("y", "1")), start), TooLarge)
		want(t, apply(t, r, batch(SetIfAbsent("y", "1")), start), TooLarge)
		want(t, apply(t, r, batch(Add("y", 1)), start), TooLarge)
		want(t, apply(t, r, batch(Append("y", "1")), start), TooLarge)
		want(t, apply(t, r, batch(Set("x", "12"), Get("y")), start), OK)
		want(t, apply(t, r, batch(Delete("f7"), Set("y", "1")), start), OK)
		want(t, apply(t, r, batch(Set("z", "1"), Clear()), start), OK)
		if len(r.Fields) != 1 {
			t.Errorf("%d fields after Clear", len(r.Fields))
		}
		want(t, new(Record).mustCreate(t, fill(1025)), TooLarge)
	})
	t.Run("default size", func(t *testing.T) {
		quarter := strings.Repeat("1", 256<<10)
		r := made(t, Set("a", quarter), Set("b", quarter), Set("c", quarter), Set("d", quarter[:256<<10-5]))
		if r.Size() != 1<<20-1 {
			t.Fatalf("size %d", r.Size())
		}
		want(t, apply(t, r, batch(Set("e", "1")), start), TooLarge)
		want(t, apply(t, r, batch(Set("d", quarter[:256<<10-4])), start), OK)
		want(t, apply(t, r, batch(Set("d", quarter[:256<<10-3])), start), TooLarge)
		want(t, apply(t, r, batch(Set("d", "1")), start), OK)
	})
	t.Run("what is over a lowered limit can shrink", func(t *testing.T) {
		r := made(t, Set("a", "12345"), Set("b", "12345"))
		small := Limits{Size: 4, Fields: 1}
		want(t, apply(t, r, batch(Set("a", "123456")).within(small), start), TooLarge)
		want(t, apply(t, r, batch(Set("a", "54321")).within(small), start), OK)
		want(t, apply(t, r, batch(Set("a", "1"), Delete("b")).within(small), start), OK)
		want(t, apply(t, r, batch(Set("a", "123")).within(small), start), OK)
		want(t, apply(t, r, batch(Set("a", "1234")).within(small), start), TooLarge)
	})
	t.Run("an array grows to the limit", func(t *testing.T) {
		r := made(t)
		value := Limits{Value: 7}
		want(t, apply(t, r, batch(Append("a", "1")).within(value), start), OK)
		want(t, apply(t, r, batch(Append("a", "2")).within(value), start), OK)
		want(t, apply(t, r, batch(Append("a", "3")).within(value), start), OK) // [1,2,3]
		want(t, apply(t, r, batch(Append("a", "4")).within(value), start), TooLarge)
		want(t, apply(t, r, batch(Append("b", "123456")).within(value), start), TooLarge)
	})
}

func (r *Record) mustCreate(t *testing.T, ops []Op) Reply {
	t.Helper()
	return apply(t, r, batch(append([]Op{Create(key(1), expiry)}, ops...)...), start)
}

func TestNames(t *testing.T) {
	for status := OK; status <= lastStatus+1; status++ {
		if status.String() == "" {
			t.Errorf("status %d has no name", status)
		}
	}
	for status := IndexOK; status <= lastIndexStatus+1; status++ {
		if status.String() == "" {
			t.Errorf("index status %d has no name", status)
		}
	}
	names := Logout.String() + Replaced.String() + Revoked.String() + Evicted.String() + (lastReason + 1).String()
	if names != "logoutreplacedrevokedevictedreason(4)" {
		t.Error(names)
	}
}
