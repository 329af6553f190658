// Package agent is the daemon of `pazzo agent`: it speaks RESP2 and RESP3, and runs
// the published scripts of package protocol natively over any store. To a client it
// is a Redis server that knows two scripts, the plain reads of a session's key, and
// what clients ask at the start of a connection.
//
// # Reading the source
//
// agent.go is the life of the agent, conn.go that of a connection; pipeline.go lets
// several commands of one connection wait for a slow store at the same time. A
// command comes in through the table in commands.go, becomes a task (task.go), and
// is answered by script.go, hash.go, server.go, client.go, info.go or inspect.go.
// tracking.go tells clients of changes. space.go holds the stores, users.go who may use which, snapshot.go the file.
package agent
