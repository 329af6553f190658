package redisstore

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
)

// script is what EVALSHA and EVAL need.
type script struct {
	source, sha string
}

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) // not for security: it is how Redis names scripts
	return script{source: source, sha: hex.EncodeToString(sum[:])}
}
