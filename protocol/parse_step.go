package protocol

import (
	"fmt"

	"github.com/pazzo-sessions/pazzo/record"
)

// stepSize is the length of index.lua's first argument.
const stepSize = 52

// ParseStep reads the arguments of index.lua: it is the reverse of [StepArgs]. It
// allocates no more than the handles that there are. Check remains to be called. It
// returns ErrArgs or ErrStepLayout.
func ParseStep(args []string, step *record.IndexStep) (t Tag, err error) {
	if len(args) == 0 || args[0] == "" {
		return t, fmt.Errorf("%w: no head", ErrArgs)
	}
	head := args[0]
	if head[0] != record.Layout {
		return t, ErrStepLayout
	}
	if len(head) != stepSize || head[38] > 1 || head[39] > 1 {
		return t, fmt.Errorf("%w: a head of %d bytes", ErrArgs, len(head))
	}
	copy(t[:], head[1:])
	*step = record.IndexStep{
		Kind:     record.IndexKind(head[17]),
		Max:      int(uint32At(head, 34)),
		Evict:    head[38] == 1,
		Verified: head[39] == 1,
		Lifetime: Uint48(head[40:]),
		Duration: Uint48(head[46:]),
	}
	copy(step.Handle[:], head[18:])
	if step.Kind != record.Unlist {
		if len(args) > 1 {
			return t, fmt.Errorf("%w: handles for a step that takes none", ErrArgs)
		}
		return t, nil
	}
	step.Handles = make([]record.Handle, len(args)-1)
	for i, h := range args[1:] {
		if len(h) != len(record.Handle{}) {
			return t, fmt.Errorf("%w: a handle of %d bytes", ErrArgs, len(h))
		}
		copy(step.Handles[i][:], h)
	}
	return t, nil
}
