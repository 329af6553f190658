package agent

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// section is a part of INFO.
type section struct {
	name  string
	lines func(a *Agent, policy string) []string
}

func infoSections() []section {
	return []section{
		{"Server", func(a *Agent, _ string) []string {
			up := int(time.Since(a.began).Seconds())
			return []string{
				"redis_version:" + likeRedis,
				"redis_mode:standalone",
				"os:" + runtime.GOOS + " " + runtime.GOARCH,
				"arch_bits:64",
				"process_id:" + decimal(int64(os.Getpid())),
				"server_name:pazzo",
				fmt.Sprintf("uptime_in_seconds:%d", up),
				fmt.Sprintf("uptime_in_days:%d", up/86400),
			}
		}},
		{"Clients", func(a *Agent, _ string) []string {
			return []string{
				fmt.Sprintf("connected_clients:%d", a.connected()),
				fmt.Sprintf("maxclients:%d", a.settings().MaxConnections),
			}
		}},
		{"Memory", func(_ *Agent, policy string) []string {
			m := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
			metrics.Read(m)
			return []string{
				fmt.Sprintf("used_memory:%d", m[0].Value.Uint64()),
				fmt.Sprintf("used_memory_rss:%d", m[1].Value.Uint64()-m[2].Value.Uint64()),
				"maxmemory:0",
				"maxmemory_policy:" + policy,
			}
		}},
		{"Persistence", func(a *Agent, _ string) []string {
			last := int64(0)
			if at := a.snapshots.last.Load(); at != nil {
				last = at.Unix()
			}
			return []string{"loading:0", "async_loading:0", fmt.Sprintf("rdb_last_save_time:%d", last)}
		}},
		{"Stats", func(a *Agent, _ string) []string {
			return []string{
				fmt.Sprintf("total_connections_received:%d", a.lastID.Load()),
				fmt.Sprintf("total_commands_processed:%d", a.commandCount.Load()),
				fmt.Sprintf("rejected_connections:%d", a.rejected.count.Load()),
				fmt.Sprintf("acl_access_denied_auth:%d", a.refused.count.Load()),
			}
		}},
		{"Replication", func(*Agent, string) []string {
			return []string{"role:master", "connected_slaves:0", "master_repl_offset:0"}
		}},
		{"Cluster", func(*Agent, string) []string { return []string{"cluster_enabled:0"} }},
	}
}

// info answers INFO. The policy of eviction may take the store.
func info(_ *Agent, r request, t *task) {
	asked := r.Strings(nil, 1)
	for i := range asked {
		asked[i] = strings.ToLower(asked[i])
	}
	wanted := func(name string) bool {
		if len(asked) == 0 {
			return true
		}
		return slices.ContainsFunc(asked, func(s string) bool {
			return s == name || s == "all" || s == "default" || s == "everything"
		})
	}
	t.work = func(ctx context.Context, a *Agent, t *task) {
		policy, err := "", error(nil)
		if wanted("memory") {
			if policy, err = evictionPolicy(ctx, t.space); err != nil {
				a.storeError(t, err)
				return
			}
		}
		var text strings.Builder
		for _, s := range infoSections() {
			if !wanted(strings.ToLower(s.name)) {
				continue
			}
			if text.Len() > 0 {
				text.WriteString("\r\n")
			}
			text.WriteString("# " + s.name + "\r\n")
			for _, line := range s.lines(a, policy) {
				text.WriteString(line + "\r\n")
			}
		}
		t.w.Verbatim(text.String())
	}
}

// evictionPolicy is maxmemory-policy, for clients that must know whether sessions
// may go. If they may, any policy that says so does.
func evictionPolicy(ctx context.Context, s *space) (string, error) {
	traits, err := s.store.Traits(ctx)
	if err != nil {
		return "", err
	}
	if traits.MayEvict {
		return "volatile-lru", nil
	}
	return "noeviction", nil
}

func configGet(_ *Agent, r request, t *task) {
	switch {
	case !r.is(1, "GET"):
		unknownSubcommand(r, t)
		return
	case r.Len() < 3:
		wrongSubcommandArgs(r, t)
		return
	}
	asked := false
	for i := 2; i < r.Len(); i++ {
		asked = asked || r.is(i, "maxmemory-policy") || r.is(i, "maxmemory*") || r.is(i, "*")
	}
	if !asked {
		t.w.Map(0)
		return
	}
	t.work = func(ctx context.Context, a *Agent, t *task) {
		policy, err := evictionPolicy(ctx, t.space)
		if err != nil {
			a.storeError(t, err)
			return
		}
		t.w.Map(1)
		t.w.Text("maxmemory-policy")
		t.w.Text(policy)
	}
}

// commandInfo answers COMMAND, in the first six elements that all versions have.
func commandInfo(a *Agent, r request, t *task) {
	switch {
	case r.Len() == 1:
		names := a.commandNames()
		t.w.Array(len(names))
		for _, name := range names {
			a.commands[name].describe(t)
		}
	case r.is(1, "COUNT") && r.Len() == 2:
		t.w.Int(int64(len(a.commands)))
	case r.is(1, "LIST") && r.Len() == 2:
		names := a.commandNames()
		t.w.Array(len(names))
		for _, name := range names {
			t.w.Text(strings.ToLower(name))
		}
	case r.is(1, "DOCS"):
		commandDocs(a, r, t)
	case r.is(1, "INFO"):
		t.w.Array(r.Len() - 2)
		for i := 2; i < r.Len(); i++ {
			if known := a.find(r.Arg(i)); known != nil {
				known.describe(t)
			} else if t.w.RESP3 {
				t.w.Null()
			} else {
				t.w.Append([]byte("*-1\r\n"))
			}
		}
	default:
		unknownSubcommand(r, t)
	}
}

// describe writes a command as COMMAND has it: name, arity, flags, first key, last
// key, step.
func (c *command) describe(t *task) {
	t.w.Array(6)
	t.w.Text(strings.ToLower(c.name))
	t.w.Int(int64(c.arity))
	t.w.Set(0)
	t.w.Int(int64(c.key))
	t.w.Int(int64(c.key))
	t.w.Int(truth(c.key > 0))
}

// commandDocs answers COMMAND DOCS, of which redis-cli makes its help.
func commandDocs(a *Agent, r request, t *task) {
	var known []*command
	for i := 2; i < r.Len(); i++ {
		if c := a.find(r.Arg(i)); c != nil {
			known = append(known, c)
		}
	}
	if r.Len() == 2 {
		for _, name := range a.commandNames() {
			known = append(known, a.commands[name])
		}
	}
	t.w.Map(len(known))
	for _, c := range known {
		t.w.Text(strings.ToLower(c.name))
		t.w.Map(3)
		t.w.Text("summary")
		t.w.Text(c.summary)
		t.w.Text("since")
		t.w.Text(likeRedis)
		t.w.Text("group")
		t.w.Text("pazzo")
	}
}

func (a *Agent) commandNames() []string {
	names := make([]string, 0, len(a.commands))
	for name := range a.commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// buildVersion says what was built.
func buildVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		return build.Main.Version
	}
	return "unknown"
}
