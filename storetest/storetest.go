// Package storetest is the conformance suite for stores of Pazzo. A store passes
// it with a few lines of its own:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) record.Store {
//			store, err := mystore.Open(t.TempDir())
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { store.Close() })
//			return store
//		}, nil)
//	}
//
// Each subtest is one rule of [record.Store], [record.Batch] or
// [record.IndexStep], and a failure states the rule. Run it under the race
// detector as well. [Benchmark] measures a store the same way.
package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Options adapt the suite to a store. Nil and the zero Options are the strictest.
type Options struct {
	// ClockGranularity is by how much a record, a tombstone or an index may end
	// too early or too late, as one second for a server that counts in seconds.
	// With that the suite takes about ten times as long. The default is 0.
	ClockGranularity time.Duration
}

// Run checks that a store keeps the rules. It calls newStore twice: once for a
// store that the rules share, each with sessions and users of its own, and once
// for a store that the suite closes. The two may share a server. newStore
// registers the closing of the store with t.Cleanup; a store must bear to be
// closed twice.
func Run(t *testing.T, newStore func(t *testing.T) record.Store, options *Options) {
	store := newStore(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.run(t, environment{
				store:   store,
				fresh:   func() record.Store { return newStore(t) },
				options: options,
			})
		})
	}
}

// rule is one thing that a store must keep to.
type rule struct {
	name  string
	says  string
	check func(c *check)
}

// rules returns all of them.
func rules() []rule {
	return slices.Concat(fieldRules, textRules, batchRules, raceRules, tokenRules, identityRules, timeRules,
		destroyRules, indexRules, contractRules)
}

// tester is what a check needs of *testing.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// environment is what a rule is checked in.
type environment struct {
	store   record.Store
	fresh   func() record.Store
	options *Options
}

// patience is the longest that one rule may take.
const patience = 2 * time.Minute

func (r rule) run(t tester, e environment) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := &check{t: t, rule: r, ctx: ctx, store: e.store, fresh: e.fresh, pace: 1}
	if e.options != nil {
		c.grain = e.options.ClockGranularity
	}
	r.check(c)
}
