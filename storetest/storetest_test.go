package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/storetest/broken"
)

func TestSoundStorePasses(t *testing.T) {
	Run(t, func(*testing.T) record.Store { return broken.New(broken.None) }, nil)
}

// caughtBy tells the rules that must reject each fault.
var caughtBy = map[broken.Fault][]string{
	broken.LostUpdate: {"AddIsExact", "AppendLosesNothing", "WritesToDifferentFieldsAreKept", "CompareAndSetIsExact",
		"DestroyStopsWritersInFlight"},
	broken.LateSave:              {"DestroyStopsWritersInFlight"},
	broken.Resurrection:          {"DestroyIsFinal", "DestroyStopsWritersInFlight"},
	broken.LostTTL:               {"IdleTimeoutEnds", "AbsoluteTimeoutEnds", "ExpiredIsAbsent"},
	broken.TwoWinners:            {"PopHasOneWinner", "DrainHasOneWinner", "SetIfAbsentHasOneWinner", "RotateHasOneWinner"},
	broken.TornBatch:             {"RefusedBatchChangesNothing", "LimitsRefuseAndChangeNothing"},
	broken.StaleRead:             {"ReadsSeeWhatReturned"},
	broken.TornRead:              {"ReadsSeeWholeBatches"},
	broken.ErrorAsAbsent:         {"DeadContextIsUnavailable", "ClosedIsUnavailable"},
	broken.EternalTombstone:      {"TombstoneExpires"},
	broken.NoTombstone:           {"DestroyIsFinal", "DestroyOfNothingLeavesATombstone", "TombstoneExpires"},
	broken.NoTombstoneForNothing: {"DestroyOfNothingLeavesATombstone"},
	broken.UncountedPending:      {"CapIsVerifiedFirst", "CapHoldsUnderLoad"},
	broken.LostListing:           {"EnlistLosesNothing", "CapHoldsUnderLoad"},
	broken.BlindToBlock:          {"BlockRefusesLogins", "BlockEnds"},
	broken.SilentOnDoomed:        {"AnswersNameTheDoomed", "ConfirmMakesActive"},
	broken.EagerTouch:            {"TouchIsThrottled"},
	broken.WritesTouch:           {"OnlyTouchExtends"},
	broken.DoubleApply:           {"AddIsExact", "AppendLosesNothing"},
	broken.Reencoded:             {"TextsAreKeptByteForByte"},
	broken.FoldedNames:           {"NamesAreBytes"},
	broken.ForgetsPresentation:   {"EveryOpeningPresents", "GraceEndsAfterPresentation"},
	broken.FloorIgnored:          {"RenewEndsOlderTokens", "SupersededChangesNothing"},
	broken.NoLimits:              {"LimitsRefuseAndChangeNothing", "ManyFieldsAreKept"},
	broken.SharedReply:           {"ReplyIsTheCallers"},
	broken.KeepsBatch:            {"BatchIsTheCallersAgain"},
	broken.DeafToContext:         {"DeadContextIsUnavailable"},
	broken.OpenAfterClose:        {"ClosedIsUnavailable"},
}

// TestBrokenStoresAreRejected runs the suite on stores with one defect each. The
// rules that are about the defect must fail; others may.
func TestBrokenStoresAreRejected(t *testing.T) {
	for fault, expected := range caughtBy {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			failures := runOn(fault, expected)
			for _, name := range expected {
				if failures[name] == "" {
					t.Errorf("the suite does not reject it by the rule %s", name)
				} else if !strings.Contains(failures[name], "rule "+name+": ") {
					t.Errorf("the failure does not state the rule: %s", failures[name])
				}
			}
		})
	}
}

func TestEveryFaultIsTested(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rules() {
		if names[r.name] || r.says == "" {
			t.Errorf("rule %q is there twice or says nothing", r.name)
		}
		names[r.name] = true
	}
	for _, fault := range broken.Faults() {
		for _, name := range caughtBy[fault] {
			if !names[name] {
				t.Errorf("there is no rule %q to catch %s", name, fault)
			}
		}
		if len(caughtBy[fault]) == 0 {
			t.Errorf("nothing is said to catch %s", fault)
		}
	}
}

// runOn checks the named rules on a broken store and returns the failures.
func runOn(fault broken.Fault, names []string) map[string]string {
	shared := broken.New(fault)
	failures := map[string]string{}
	for _, r := range rules() {
		if !slices.Contains(names, r.name) {
			continue
		}
		for range 5 { // a race need not show at once
			recorded := new(recorder)
			recorded.run(func() {
				r.run(recorded, environment{store: shared, fresh: func() record.Store { return broken.New(fault) }})
			})
			if failures[r.name] = strings.Join(recorded.failures, "\n"); failures[r.name] != "" {
				break
			}
		}
	}
	return failures
}
