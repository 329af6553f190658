package agent

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/resp"
)

// request is a command of a connection.
type request struct {
	*resp.Command
	ctx  context.Context
	conn *conn
}

// command is what a client can send.
type command struct {
	name    string
	arity   int // arguments, the name included; at least that many if negative
	key     int // which argument is a key; 0: none
	login   bool
	summary string
	run     func(a *Agent, r request, t *task)
}

// newCommands returns all commands by their names in capitals. Those with login may
// be used before the user is known.
func newCommands() map[string]*command {
	byName := map[string]*command{}
	for _, c := range []command{
		{"EVALSHA", -3, 3, false, "runs a published script by its SHA-1", evalSHA},
		{"EVAL", -3, 3, false, "runs a published script by its text", evalText},
		{"SCRIPT", -2, 0, false, "LOAD, EXISTS, FLUSH: the published scripts are always there", script},
		{"HMGET", -3, 1, false, "reads fields of a session", hmget},
		{"HGET", 3, 1, false, "reads a field of a session", hget},
		{"HGETALL", 2, 1, false, "reads a session", hgetall},
		{"PTTL", 2, 1, false, "how many ms a session has left", pttl},
		{"EXISTS", 2, 1, false, "whether there is a session", exists},
		{"TYPE", 2, 1, false, "hash, or none", typeOf},
		{"DEL", 2, 1, false, "deletes <prefix>none, which never exists; no other key", del},
		{"DBSIZE", 1, 0, false, "how many sessions are in memory", dbsize},
		{"TIME", 1, 0, false, "the store's clock", timeOf},
		{"PING", -1, 0, false, "answers", ping},
		{"ECHO", 2, 0, false, "answers the same", echo},
		{"HELLO", -1, 0, true, "begins, in RESP2 or RESP3, with AUTH and SETNAME", hello},
		{"AUTH", -2, 0, true, "says who the client is", auth},
		{"QUIT", -1, 0, true, "ends the connection", quit},
		{"RESET", 1, 0, true, "makes the connection as new", reset},
		{"SELECT", 2, 0, false, "chooses one of 16 databases; only memory has other than 0", selectDatabase},
		{"CLIENT", -2, 0, false, "GETNAME, ID, INFO, LIST, NO-EVICT, NO-TOUCH, SETINFO, SETNAME, TRACKING", client},
		{"COMMAND", -1, 0, false, "COUNT, DOCS, INFO, LIST: what there is", commandInfo},
		{"CONFIG", -2, 0, false, "GET maxmemory-policy", configGet},
		{"INFO", -1, 0, false, "about the agent", info},
		{"PAZZO.HELP", 1, 0, false, "lists these", help},
		{"PAZZO.INFO", 1, 0, false, "the agent, its store and its scripts", pazzoInfo},
		{"PAZZO.SHOW", 2, 0, false, "a session, by its handle: its life and the sizes of its fields, no values", show},
		{"PAZZO.SESSIONS", 2, 0, false, "the sessions of a user", sessions},
	} {
		byName[c.name] = &c
	}
	return byName
}

// prepare does a command up to what takes the store, which is left in t.work.
func (a *Agent) prepare(ctx context.Context, c *conn, cmd *resp.Command, t *task) {
	a.commandCount.Add(1)
	known := a.find(cmd.Arg(0))
	switch {
	case known == nil && isHTTP(cmd.Arg(0)):
		c.closing = true
		t.w.Error("ERR pazzo: this is not a web server")
		a.log.Warn("a web request was refused: a page may have sent it to attack the agent", "client", c.id)
	case known == nil:
		t.w.Error(unknownCommand(cmd))
	case cmd.Len() != known.arity && (known.arity > 0 || cmd.Len() < -known.arity):
		t.w.Error(fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(known.name)))
	case c.space == nil && !known.login:
		t.w.Error("NOAUTH Authentication required.")
	default:
		t.space, t.tracked = c.space, c.pushes.Load() != nil
		known.run(a, request{cmd, ctx, c}, t)
	}
}

// find returns a command by its name in any case, or nil.
func (a *Agent) find(name []byte) *command {
	var buffer [16]byte
	if len(name) > len(buffer) {
		return nil
	}
	for i, c := range name {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		buffer[i] = c
	}
	return a.commands[string(buffer[:len(name)])]
}

// isHTTP reports whether a command is rather a line of a web request. Lines that
// follow one must not count as commands: a page in a browser can send any, in a
// request to localhost.
func isHTTP(name []byte) bool {
	return bytes.EqualFold(name, []byte("POST")) || bytes.EqualFold(name, []byte("Host:"))
}

// unknownCommand is Redis' own text.
func unknownCommand(cmd *resp.Command) string {
	var args strings.Builder
	for i := 1; i < cmd.Len() && args.Len() < 128; i++ {
		fmt.Fprintf(&args, "'%.*s' ", 128-args.Len(), cmd.Arg(i))
	}
	return fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", cmd.Arg(0), args.String())
}

// is reports whether an argument is a word, in any case.
func (r *request) is(i int, word string) bool {
	return i < r.Len() && bytes.EqualFold(r.Arg(i), []byte(word))
}

// unknownSubcommand is Redis' own text.
func unknownSubcommand(r request, t *task) {
	t.w.Error(fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", r.Arg(1), strings.ToUpper(r.String(0))))
}

// wrongSubcommandArgs is Redis' own text.
func wrongSubcommandArgs(r request, t *task) {
	t.w.Error(fmt.Sprintf("ERR wrong number of arguments for '%s|%s' command", strings.ToLower(r.String(0)), strings.ToLower(r.String(1))))
}
