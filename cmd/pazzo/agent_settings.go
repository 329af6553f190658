package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/pazzo-sessions/pazzo/cmd/pazzo/internal/agent"
)

// agentSettings are those of the agent, and those of its surroundings.
type agentSettings struct {
	agent.Config
	file      string // the file of settings
	check     bool
	logLevel  slog.Level
	logFormat logFormat
}

// define makes a flag of each setting. An environment variable, and a line in the
// file of settings, are named after it.
func (s *agentSettings) define(flags *flag.FlagSet) {
	s.Config = agent.Default()
	flags.StringVar(&s.file, "config", "", "`file` of settings: lines of name = value, named like these flags")
	flags.BoolVar(&s.check, "check", false, "check the settings, their files and the store, and end")
	flags.StringVar(&s.Store, "store", s.Store, "`URL` of the store that keeps the sessions")
	flags.StringVar(&s.Prefix, "prefix", s.Prefix, "of the keys of clients that are no users of their own")
	flags.StringVar(&s.Socket, "socket", s.Socket, "`path` of the Unix socket, or none")
	flags.Var((*octal)(&s.SocketMode), "socket-mode", "`permissions` of the socket")
	flags.StringVar(&s.Listen, "listen", s.Listen, "`host:port` for TCP, such as 127.0.0.1:7379; without it there is only the socket")
	flags.StringVar(&s.TLSCert, "tls-cert", "", "`file` with the certificate for TCP, in PEM")
	flags.StringVar(&s.TLSKey, "tls-key", "", "`file` with its key, in PEM")
	flags.StringVar(&s.TLSClientCA, "tls-client-ca", "", "`file` with the authorities, in PEM, by one of which clients must be certified")
	flags.StringVar(&s.PasswordFile, "password-file", "", "`file` that holds the password of clients that give no user")
	flags.StringVar(&s.UsersFile, "users", "", "`file` of users: lines of name, prefix, and sha256:DIGITS or file:PATH for the password")
	flags.IntVar(&s.MaxConnections, "max-connections", s.MaxConnections, "beyond that many, clients are refused")
	flags.Var((*size)(&s.MaxFrame), "max-frame", "`bytes` of one command; KiB and MiB are understood")
	flags.IntVar(&s.MaxPipeline, "max-pipeline", s.MaxPipeline, "commands of a connection that wait for a store at the same time")
	flags.DurationVar(&s.ReadTimeout, "read-timeout", s.ReadTimeout, "for a command to arrive in full")
	flags.DurationVar(&s.WriteTimeout, "write-timeout", s.WriteTimeout, "for a client to take its replies")
	flags.DurationVar(&s.IdleTimeout, "idle-timeout", s.IdleTimeout, "for a client to send a command; 0: for ever")
	flags.DurationVar(&s.DrainTimeout, "drain-timeout", s.DrainTimeout, "for commands under way when the agent ends")
	flags.StringVar(&s.Snapshot, "snapshot", "", "`file` that keeps the sessions in memory over a restart")
	flags.DurationVar(&s.SnapshotInterval, "snapshot-interval", s.SnapshotInterval, "between two snapshots; 0: at the end only")
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.Var(&s.logFormat, "log-format", "text or json")
}

// agentSettings reads the settings: defaults, then the file, the environment, and
// the flags, which win.
func (p *program) agentSettings() (agentSettings, error) {
	var given agentSettings
	if err := p.parse("agent", given.define); err != nil {
		return given, err
	}
	var s agentSettings
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	s.define(flags)
	if given.file == "" {
		given.file = p.env(variable("config"))
	}
	if given.file != "" {
		if err := setFromFile(flags, given.file); err != nil {
			return s, err
		}
	}
	if err := setFromEnvironment(flags, p.env); err != nil {
		return s, err
	}
	err := flags.Parse(p.args)
	if s.Socket == "none" { // an empty environment variable is none at all
		s.Socket = ""
	}
	return s, err
}

// variable is the environment variable of a setting.
func variable(setting string) string {
	return "PAZZO_AGENT_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

func setFromEnvironment(flags *flag.FlagSet, env func(string) string) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		if value := env(variable(f.Name)); value != "" && err == nil {
			if wrong := flags.Set(f.Name, value); wrong != nil {
				err = fmt.Errorf("%s: %w", variable(f.Name), refused(f, wrong))
			}
		}
	})
	return err
}

// refused names what a setting may be, without the value, which may be a secret in
// the wrong place.
func refused(f *flag.Flag, err error) error {
	_, usage := flag.UnquoteUsage(f)
	return fmt.Errorf("invalid value (%w); it is %s, by default %s", err, usage, f.DefValue)
}

func setFromFile(flags *flag.FlagSet, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the file of settings: %w", err)
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		f := flags.Lookup(name)
		switch {
		case !found:
			err = fmt.Errorf("it is not name = value")
		case f == nil, name == "config", name == "check":
			err = fmt.Errorf("there is no setting %q; those of `pazzo agent -h` are allowed, but for config and check", name)
		case seen[name]:
			err = fmt.Errorf("%s is there twice", name)
		default:
			if err = flags.Set(name, strings.TrimSpace(value)); err != nil {
				err = fmt.Errorf("%s: %w", name, refused(f, err))
			}
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		seen[name] = true
	}
	return lines.Err()
}

// octal is a flag of permissions.
type octal fs.FileMode

func (o *octal) String() string { return fmt.Sprintf("%#o", uint32(*o)) }

func (o *octal) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return fmt.Errorf("%q is not an octal number such as 0660", text)
	}
	*o = octal(n)
	return nil
}

// size is a flag of a number of bytes.
type size int

func (s *size) String() string { return strconv.Itoa(int(*s)) }

func (s *size) Set(text string) error {
	digits, unit := text, 1
	for suffix, bytes := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, found := strings.CutSuffix(text, suffix); found {
			digits, unit = strings.TrimSpace(rest), bytes
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number of bytes such as 8388608 or 8MiB", text)
	}
	*s = size(int(n) * unit)
	return nil
}

// logFormat is a flag.
type logFormat string

func (l *logFormat) String() string {
	if *l == "" {
		return "text"
	}
	return string(*l)
}

func (l *logFormat) Set(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("%q is neither text nor json", text)
	}
	*l = logFormat(text)
	return nil
}

func (l *logFormat) handler(w io.Writer, level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if *l == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}
