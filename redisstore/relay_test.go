package redisstore

import (
	"context"
	"errors"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func TestRelay(t *testing.T) {
	s := open(t, redistest.Start(t).URL(), longEnough)
	x := create(t, s, record.Set("n", "1"))
	ctx, key := context.Background(), protocol.SessionKey(DefaultPrefix, x.handle)
	b := record.Batch{Ops: []record.Op{record.Add("n", 1)}}
	answer, err := s.Relay(ctx, &protocol.ApplyScript, key, protocol.AppendBatch(nil, x.handle, &b), true)
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := protocol.ParseReply(answer, x.handle, &b); err != nil || reply.Values[0].Text != "2" {
		t.Errorf("%+v, %v", reply, err)
	}
	values, err := s.RelayFields(ctx, key, []string{protocol.NameMeta, "n", "missing"})
	if err != nil || len(values) != 3 || len(values[0].Text) != record.MetaSize || values[1].Text != "2" || values[2].Found {
		t.Errorf("%+v, %v", values, err)
	}
	if hash, err := s.RelayHash(ctx, key); err != nil || len(hash) != 3 || hash["n"] != "2" {
		t.Errorf("%+v, %v", hash, err)
	}
	if hash, err := s.RelayHash(ctx, key+"x"); err != nil || len(hash) != 0 {
		t.Errorf("%+v, %v", hash, err)
	}
}

// An answer of another session is none, in a relay as elsewhere.
func TestRelayChecksWhoseAnswerItIs(t *testing.T) {
	s := open(t, redistest.Start(t).URL(), longEnough)
	x := create(t, s)
	b := record.Batch{Ops: []record.Op{record.GetAll()}}
	args := protocol.AppendBatch(nil, x.handle, &b)
	// A server that answers as another script would.
	other := protocol.Script{Source: "return string.rep('x', 100)", SHA: "0000000000000000000000000000000000000000"}
	for writes, want := range map[bool]error{true: record.ErrOutcomeUnknown, false: record.ErrUnavailable} {
		if answer, err := s.Relay(context.Background(), &other, "pazzo:x", args, writes); !errors.Is(err, want) || !errors.Is(err, protocol.ErrReply) {
			t.Errorf("%q, %v; want %v", answer, err, want)
		}
	}
}
