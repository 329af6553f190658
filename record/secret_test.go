package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestSecretNeverPrints(t *testing.T) {
	secret := Secret{}
	copy(secret[:], "\xde\xad\xbe\xefsecretsecret")
	record := &Record{State: Live, Meta: Meta{Generation: 1, Secret: secret, HasPrevious: true}, Previous: Previous{Secret: secret}}
	op := Renew(secret)
	reply := Reply{Meta: record.Meta}
	var shown strings.Builder
	for _, value := range []any{secret, &secret, []Secret{secret}, [1]Secret{secret}, map[string]Secret{"a": secret},
		map[Secret]int{secret: 1}, record, *record, record.Meta, record.Previous, op, open(1, secret, op), reply, Access{Open, 1, secret}, error(failure{secret})} {
		for _, verb := range "vTtbcdoOxXUeEfFgGsq" {
			fmt.Fprintf(&shown, "%"+string(verb)+"\n", value)
		}
		fmt.Fprintf(&shown, "%+v %#v % x %#x %032d", value, value, value, value, value)
		fmt.Fprintln(&shown, value)
		for _, format := range []string{"", "%d %", "%[2]*[1]d", "%!"} { // ill-formed
			fmt.Fprintf(&shown, format, value, value)
		}
		encoded, _ := json.Marshal(value)
		shown.Write(encoded)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			message := slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0) // without a time, whose digits vary
			message.Add("value", value)
			if err := handler.Handle(context.Background(), message); err != nil {
				t.Error(err)
			}
		}
	}
	if !strings.Contains(shown.String(), "[secret]") {
		t.Error("nothing was printed")
	}
	lower := strings.ToLower(shown.String())
	for _, leak := range []string{"deadbeef", "de ad be ef", "222", "0xde", "secretsecret", "3q2+7", "11011110", "336"} {
		if strings.Contains(lower, leak) {
			at := strings.Index(lower, leak)
			t.Errorf("printed %q in %q", leak, lower[max(0, at-80):min(len(lower), at+80)])
		}
	}
}

type failure struct{ Secret Secret }

func (f failure) Error() string { return fmt.Sprint(f.Secret) }

func TestRandom(t *testing.T) {
	secrets, handles := map[Secret]bool{{}: true}, map[Handle]bool{{}: true}
	for range 100 {
		secrets[NewSecret()], handles[NewHandle()] = true, true
	}
	if len(secrets) != 101 || len(handles) != 101 {
		t.Errorf("%d secrets, %d handles", len(secrets), len(handles))
	}
}

func TestHandle(t *testing.T) {
	h := NewHandle()
	parsed, err := ParseHandle(h.String())
	if err != nil || parsed != h {
		t.Errorf("%s is %s, %v", h, parsed, err)
	}
	encoded, err := json.Marshal(map[string]Handle{"h": h})
	var decoded map[string]Handle
	if err != nil || string(encoded) != `{"h":"`+h.String()+`"}` || json.Unmarshal(encoded, &decoded) != nil || decoded["h"] != h {
		t.Errorf("%s as JSON is %s, %v", h, encoded, err)
	}
	for _, malformed := range []string{"", h.String()[1:], h.String() + "0", strings.Repeat("g", 32), strings.Repeat("A", 32)} {
		if got, err := ParseHandle(malformed); !errors.Is(err, ErrHandle) || got != (Handle{}) {
			t.Errorf("%q is %s, %v", malformed, got, err)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "handle", h)
	if !strings.Contains(log.String(), h.String()) {
		t.Error(log.String())
	}
}
