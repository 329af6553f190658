package memcachedstore

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/memcachedstore/memcachedtest"
	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest"
)

func TestConformanceSecured(t *testing.T) {
	url := memcachedtest.StartSecured(t).URL()
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, url, Options{}) }, nil)
}

// Who has not the password, or is not sure of the server, gets nothing done; and no error
// has the password.
func TestSecuredServerIsClosedToOthers(t *testing.T) {
	server := memcachedtest.StartSecured(t)
	_, query, _ := strings.Cut(server.URL(), "?")
	for url, says := range map[string]string{
		"memcacheds://" + server.Addr() + "?" + query:               "wants a user and password",
		"memcacheds://app:TOPSECRET@" + server.Addr() + "?" + query: "refuses the user and password",
		"memcacheds://app:TOPSECRET@" + server.Addr():               "certificate",
		"memcached://app:TOPSECRET@" + server.Addr():                "",
	} {
		s, err := Open(context.Background(), url, nil)
		if !errors.Is(err, record.ErrUnavailable) || s != nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
}

// A server that wants no password does not get to keep it.
func TestPasswordIsNotKeptByAnOpenServer(t *testing.T) {
	server := memcachedtest.Start(t)
	s, err := Open(context.Background(), "memcached://app:TOPSECRET@"+server.Addr(), nil)
	if !errors.Is(err, record.ErrUnavailable) || s != nil || !strings.Contains(err.Error(), "-Y") {
		t.Errorf("%v", err)
	}
	if items, err := server.Ask("stats items\r\n"); err != nil || strings.Contains(items, "number") {
		t.Errorf("it has items: %q, %v", items, err)
	}
}

// After a restart, every new connection logs in.
func TestSecuredServerRestarts(t *testing.T) {
	server := memcachedtest.StartSecured(t)
	s := open(t, server.URL(), Options{})
	x := create(t, s, hour, record.Set("a", "1"))
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reply, err := x.apply(record.Get("a")); err != nil || reply.Status != record.Absent {
		t.Errorf("%q, %v", reply.Status, err)
	}
	create(t, s, hour)
}
