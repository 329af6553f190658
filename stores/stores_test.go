package stores

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

func TestOpen(t *testing.T) {
	for url, name := range map[string]string{
		"memory:":                               "memory",
		"memory://?max=1000000":                 "memory",
		redistest.Start(t).URL():                "redis",
		redistest.Start(t).URL() + "?prefix=x:": "redis",
	} {
		store, err := Open(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		if traits, err := store.Traits(context.Background()); err != nil || traits.Name != name {
			t.Errorf("%s: %+v, %v", url, traits, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for url, want := range map[string]error{
		"":                                ErrURL,
		"redis":                           ErrURL,
		"postgres://u:TOPSECRET@host":     ErrURL,
		"memory:?size=1":                  ErrURL,
		"memory:?max=0":                   ErrURL,
		"memory:here":                     ErrURL,
		"redis://u:TOPSECRET@h?a=b":       redisstore.ErrURL,
		"redis://u:TOPSECRET@127.0.0.1:1": record.ErrUnavailable,
		"unix://u:TOPSECRET@host/socket":  redisstore.ErrURL,
		"unix://u:TOPSECRET@/no/such":     record.ErrUnavailable,
		"pazzo://u:TOPSECRET@127.0.0.1:1": record.ErrUnavailable,
		"pazzos://u:TOPSECRET@h?ca=/none": redisstore.ErrURL,
	} {
		store, err := Open(context.Background(), url)
		if !errors.Is(err, want) || store != nil || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%q: %v, %v", url, store, err)
		}
	}
}
