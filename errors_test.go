package pazzo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo"
)

func TestStatusCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 200},
		{pazzo.ErrGone, 409},
		{pazzo.ErrSuperseded, 409},
		{pazzo.ErrConflict, 409},
		{pazzo.ErrBlocked, 403},
		{pazzo.ErrTooManySessions, 403},
		{pazzo.ErrNotNavigation, 403},
		{pazzo.ErrTooLarge, 413},
		{pazzo.ErrUnavailable, 503},
		{pazzo.ErrOutcomeUnknown, 503},
		{pazzo.ErrFull, 503},
		{pazzo.ErrOptions, 500},
		{pazzo.ErrToken, 500},
		{pazzo.ErrNoSession, 500},
		{pazzo.ErrResponseStarted, 500},
		{pazzo.ErrInTransaction, 500},
		{pazzo.ErrDecode, 500},
		{pazzo.ErrEncode, 400},
		{pazzo.ErrNotInteger, 400},
		{pazzo.ErrRange, 400},
		{pazzo.ErrNotList, 400},
		{pazzo.ErrName, 400},
		{pazzo.ErrMayEvict, 500},
		{pazzo.ErrLayout, 500},
		{pazzo.ErrCorrupt, 500},
		{&pazzo.DecodeError{Err: errors.New("x")}, 500},
		{&pazzo.DecodeError{Err: pazzo.ErrNotInteger}, 500}, // as Counter.Get gives
		{errors.New("another"), 500},
	} {
		equal(t, fmt.Sprintf("status of %v", test.err), pazzo.StatusCode(test.err), test.want)
		if test.err != nil {
			wrapped := fmt.Errorf("while shopping: %w", fmt.Errorf("a: %w", test.err))
			equal(t, fmt.Sprintf("status of %v", wrapped), pazzo.StatusCode(wrapped), test.want)
		}
	}
}

func TestDecodeErrorUnwrapsAndDoesNotPrintTheText(t *testing.T) {
	s := newSite(t)
	ctx := s.context(t, s.login(t))
	session := pazzo.FromContext(ctx)
	type inner struct{ N int8 }
	get := func(name string, get func() error, text string, parts ...string) {
		t.Helper()
		must(t, session.Set(ctx, "a field", json.RawMessage(text)))
		err := get()
		wantError(t, err, pazzo.ErrDecode)
		var decoding *pazzo.DecodeError
		if !errors.As(err, &decoding) {
			t.Fatalf("%s: error is a %T", name, err)
		}
		equal(t, name+": field", decoding.Field, "a field")
		equal(t, name+": text", string(decoding.Text), text)
		if decoding.Err == nil || !errors.Is(err, decoding.Err) {
			t.Errorf("%s: the cause is %v", name, decoding.Err)
		}
		log := &output{}
		slog.New(slog.NewTextHandler(log, nil)).Error("a", "err", err)
		slog.New(slog.NewJSONHandler(log, nil)).Error("a", "err", err)
		for _, shown := range []string{err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), log.String()} {
			contains(t, shown, append(parts, "a field")...)
			for _, secret := range []string{"hunter2", "12345"} {
				if strings.Contains(shown, secret) {
					t.Errorf("%s: shows what the field holds: %s", name, shown)
				}
			}
		}
	}
	get("string for int", func() error { _, _, err := pazzo.Key[int]("a field").Get(ctx); return err }, `"hunter2"`, "string", "int")
	get("number for small", func() error { _, _, err := pazzo.Key[int8]("a field").Get(ctx); return err }, `12345`, "number", "int8")
	get("within a struct", func() error { _, _, err := pazzo.Key[inner]("a field").Get(ctx); return err }, `{"N":12345}`, "number", "int8")
	get("time", func() error { _, _, err := pazzo.Key[time.Time]("a field").Get(ctx); return err }, `"hunter2"`, "ParseError")
	get("counter", func() error { _, err := pazzo.Counter("a field").Get(ctx); return err }, `"hunter2"`, "not an integer")
	get("fraction", func() error { _, err := pazzo.Counter("a field").Get(ctx); return err }, `12345.5`, "not an integer")
	get("great counter", func() error { _, err := pazzo.Counter("a field").Get(ctx); return err }, `12345678901234567890`, "out of range")
	get("list", func() error { _, err := pazzo.Flash[int]("a field").Get(ctx); return err }, `["hunter2"]`, "string")
}
