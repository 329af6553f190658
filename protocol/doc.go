// Package protocol is the wire protocol of Pazzo in Go, both ends of it: the keys and
// hashes in Redis, the scripts, and what goes in and out of them. redisstore speaks
// it to a server, the agent answers it. README.md describes it for clients in other
// languages, and the JSON files hold test vectors for them.
package protocol
