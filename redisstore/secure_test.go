package redisstore

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// worksOnlyWith opens a store by base and the parameters, uses it, and makes sure
// that base without them does not open one.
func worksOnlyWith(t *testing.T, base string, parameters url.Values) {
	t.Helper()
	for range 5 { // in Cluster, on several nodes
		x := create(t, open(t, base+"?"+parameters.Encode(), longEnough), record.Set("a", "1"))
		if got := x.get("a"); got != "1" {
			t.Errorf("got %q", got)
		}
	}
	for name := range parameters {
		t.Run("without "+name, func(t *testing.T) {
			fewer := url.Values{}
			for n, v := range parameters {
				if n != name {
					fewer[n] = v
				}
			}
			s, err := Open(t.Context(), base+"?"+fewer.Encode(), &Options{Timeout: short})
			if !errors.Is(err, record.ErrUnavailable) {
				t.Errorf("without it: %v", err)
			}
			if s != nil {
				s.Close()
			}
		})
	}
}

func TestClusterTLS(t *testing.T) {
	cluster := redistest.StartClusterTLS(t)
	worksOnlyWith(t, cluster.URL(), url.Values{"ca": {cluster.CAFile()}})
}

func TestSentinelTLS(t *testing.T) {
	servers := redistest.StartSentinelTLS(t)
	worksOnlyWith(t, servers.URL(), url.Values{"ca": {servers.CAFile()}})
}

// The Sentinels and the servers have each their own users.
func TestSentinelCredentials(t *testing.T) {
	servers := redistest.StartSentinel(t, "--requirepass", "data:word", "--masterauth", "data:word")
	for _, s := range servers.Sentinels() {
		ask(t, s, "ACL", "SETUSER", "watcher", "on", ">sentinel/word", "+@all", "&*")
		ask(t, s, "ACL", "SETUSER", "default", "-@all", "+auth", "+hello", "+ping", "+publish") // the last of us here
	}
	worksOnlyWith(t, servers.URL(), url.Values{"sentinel_user": {"watcher"}, "sentinel_password": {"sentinel/word"}})
}

// TestErrorsQuoteNoArguments has a server quote a value, as one does that does not know
// the command.
func TestErrorsQuoteNoArguments(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "EVALSHA", "")
	s, err := Open(t.Context(), server.URL(), &Options{Prefix: "p:", Timeout: longEnough})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Apply(t.Context(), record.Handle{}, &record.Batch{Ops: []record.Op{record.Set("a", `"TOPSECRET"`)}})
	var reply *rueidis.RedisError
	if !errors.As(err, &reply) || !strings.Contains(reply.Error(), "TOPSECRET") {
		t.Fatalf("the server does not quote it, so this shows nothing: %v", err)
	}
	if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "TOPSECRET") || !strings.Contains(text, "unknown command") {
		t.Errorf("the error is %s", text)
	}
}
