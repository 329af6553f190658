package protocol

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

// The scripts, verbatim: a changed byte is another version of the protocol.
var (
	//go:embed apply.lua
	applySource string
	//go:embed index.lua
	indexSource string

	ApplyScript = newScript(applySource) // applies a batch to a session
	IndexScript = newScript(indexSource) // applies a step to an index
)

// Script is a script and the name by which EVALSHA calls it.
type Script struct {
	Source, SHA string
}

func newScript(source string) Script {
	sum := sha1.Sum([]byte(source)) // not for security: it is how Redis names scripts
	return Script{Source: source, SHA: hex.EncodeToString(sum[:])}
}
