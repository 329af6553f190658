package protocol_test

import (
	"slices"
	"testing"

	"github.com/pazzo-sessions/pazzo/protocol"
	"github.com/pazzo-sessions/pazzo/record"
)

// wireFile is what the cases of batch.json and index.json are on the wire.
type wireFile struct {
	Handle  string     `json:"handle"` // of the session
	User    string     `json:"user"`   // of the index
	Scripts []wireName `json:"scripts"`
	Batches []wireCase `json:"batches"`
	Steps   []wireCase `json:"steps"`
}

type wireName struct {
	File string `json:"file"`
	SHA1 string `json:"sha1"`
}

// wireCase is the arguments of a script, and its answer at the case's time.
type wireCase struct {
	Name   string   `json:"name"` // as in the other file
	Args   []string `json:"args"`
	Answer string   `json:"answer"`
}

const wireUser = "ann"

func makeWire(t *testing.T) wireFile {
	f := wireFile{
		Handle:  hexOf(someHandle[:]),
		User:    wireUser,
		Scripts: []wireName{{"apply.lua", protocol.ApplyScript.SHA}, {"index.lua", protocol.IndexScript.SHA}},
	}
	for _, c := range makeBatches(t).Cases {
		b := c.Batch.read()
		reply, _ := c.Before.read().Apply(b, c.Now)
		answer := protocol.AppendReply(nil, someHandle, b, &reply)
		f.Batches = append(f.Batches, wireCase{c.Name, hexAll(protocol.AppendBatch(nil, someHandle, b)), hexOf(answer)})
	}
	tag := protocol.TagOf(wireUser)
	for _, c := range makeIndexes(t).Cases {
		step := c.Step.read()
		reply, _ := c.Before.read().Apply(step, c.Now)
		answer := protocol.AppendIndexReply(nil, tag, &reply)
		f.Steps = append(f.Steps, wireCase{c.Name, hexAll(protocol.StepArgs(tag, step)), hexOf(answer)})
	}
	return f
}

func hexAll(args []string) (all []string) {
	for _, arg := range args {
		all = append(all, hexOf(arg))
	}
	return all
}

func TestWireVectors(t *testing.T) { golden(t, "wire.json", makeWire(t)) }

// TestLibraryPassesTheWireVectors reads the files as another language would: what a
// client sends for each case, and what it makes of the answer.
func TestLibraryPassesTheWireVectors(t *testing.T) {
	f := load[wireFile](t, "wire.json")
	h := record.Handle([]byte(unhex(f.Handle)))
	for i, c := range load[batchFile](t, "batch.json").Cases {
		wire, b := f.Batches[i], c.Batch.read()
		if wire.Name != c.Name || !slices.Equal(hexAll(protocol.AppendBatch(nil, h, b)), wire.Args) {
			t.Errorf("%s, %s: other arguments", wire.Name, c.Name)
		}
		reply, err := protocol.ParseReply(unhex(wire.Answer), h, b)
		if err != nil || reply.Now != c.Now {
			t.Errorf("%s: at %d, %v", c.Name, reply.Now, err)
			continue
		}
		alike(t, c.Name, newReply(&reply, b), c.Reply)
	}
	tag := protocol.TagOf(f.User)
	for i, c := range load[indexFile](t, "index.json").Cases {
		wire, step := f.Steps[i], c.Step.read()
		if wire.Name != c.Name || !slices.Equal(hexAll(protocol.StepArgs(tag, step)), wire.Args) {
			t.Errorf("%s, %s: other arguments", wire.Name, c.Name)
		}
		reply, err := protocol.ParseIndexReply(unhex(wire.Answer), tag)
		if err != nil || reply.Now != c.Now {
			t.Errorf("%s: at %d, %v", c.Name, reply.Now, err)
			continue
		}
		alike(t, c.Name, newIndexReply(&reply), c.Reply)
	}
}
