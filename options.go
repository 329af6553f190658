package pazzo

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
)

// Options set up a Manager. The zero value of every option but SecretKeys is the
// safe one.
type Options struct {
	// SecretKeys are texts of at least 32 bytes, the same in every app that shares
	// the sessions; `pazzo secret` makes one. The first signs tokens, all verify
	// them: to change the key, put the new one in front and drop the old one after
	// the absolute timeout. Dropping it at once ends every session.
	SecretKeys []string

	Cookie Cookie

	// Timeouts of new sessions. The default is AAL2: 1 hour without activity, 24
	// hours in all.
	Timeouts Timeouts

	// Reads chooses whether each read asks the store (Live, the default) or one
	// load serves the request (Snapshot).
	Reads ReadMode

	// RotateEvery renews a session's token at this interval, at least a minute, so
	// that one which leaked, into a log or a backup say, is soon of no use. It does
	// not stop a thief who uses it at once and goes on: whoever presents the token
	// before, within its grace, gets the current one. 0, the default: never.
	RotateEvery time.Duration
	// RotateGrace is how long the token before stays good after the new one has
	// been seen. Default 15 s, at most 5 min.
	RotateGrace time.Duration

	// MaxPerUser caps the sessions of one user, from 1 to record.MaxSessions. 0,
	// the default, is record.MaxSessions (10,000).
	MaxPerUser int
	// WhenFull says what a login over the cap does. Default EvictOldest.
	WhenFull WhenFull
	// BestEffortUsers permits RevokeAll, Block and the cap on a store that may
	// evict a user's list, and so may miss sessions.
	BestEffortUsers bool

	// CreateOnNavigation lets only navigations (Sec-Fetch-Mode: navigate), and
	// requests of clients that send no Sec-Fetch headers, create a session.
	// Parallel first requests of one page then do not make one each.
	CreateOnNavigation bool

	// RevisionCookie has the response to a write tell the browser the session's revision,
	// in a cookie beside the session's whose name ends in "-revision", for a minute. A process
	// with a near cache, and an agent's, that are asked next know by it that a copy of
	// theirs is too old, and read from the store: so a browser sees its own writes in every
	// process at once, not only after nearcache.Options.MaxStale at the latest. All apps are
	// to set it. What is written after the response has started cannot be told so.
	RevisionCookie bool

	// KeepTombstones is how long a destroyed session is remembered, so that
	// requests in flight do not bring it back: at least as long as the longest
	// request. Default 1 min, at most 24 h.
	KeepTombstones time.Duration

	// ClearSiteData has the response to a logout, if it makes no new session, tell
	// the browser to drop what it has cached and stored of this site
	// (Clear-Site-Data, OWASP ASVS 5.0, 14.3.1). Browsers heed it over https, and
	// clearing a large cache can take them seconds.
	ClearSiteData bool

	// Limits bound names, values and records; see record.Limits.
	Limits record.Limits

	// Logger gets life-cycle events at level Debug and trouble above it, by handle
	// only: no token and no value. Default slog.Default().
	Logger *slog.Logger
	// Observer is called for every operation and life-cycle event.
	Observer *Observer

	// InsecureHTTP drops Secure and the name prefix from the cookie, for plain
	// http in development. Anyone on the network can take over such a session.
	// Browsers accept Secure cookies from http://localhost without it.
	InsecureHTTP bool
	// InsecureShortKey permits secret keys under 32 bytes, to join a site that has
	// one. Whoever guesses it can forge tokens.
	InsecureShortKey bool
}

// Format hides the secret keys from every verb.
func (o Options) Format(f fmt.State, verb rune) {
	type plain Options
	shown := plain(o)
	shown.SecretKeys = make([]string, len(o.SecretKeys))
	for i := range shown.SecretKeys {
		shown.SecretKeys[i] = "[secret]"
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), shown)
}

// MarshalText hides the secret keys from encoding/json and log/slog.
func (o Options) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%+v", o), nil }

// Timeouts say how long a session lasts.
type Timeouts struct {
	// Idle is the time without activity. Activity is recorded at most once per
	// tenth of it, so a session may end after 0.9 of it.
	Idle time.Duration
	// Absolute is the time in all, whatever the activity.
	Absolute time.Duration
}

// Timeouts of NIST SP 800-63B-4, section 2, for its authentication assurance
// levels.
var (
	AAL1 = Timeouts{Idle: 30 * 24 * time.Hour, Absolute: 30 * 24 * time.Hour}
	AAL2 = Timeouts{Idle: time.Hour, Absolute: 24 * time.Hour}
	AAL3 = Timeouts{Idle: 15 * time.Minute, Absolute: 12 * time.Hour}
)

// ReadMode says what a read of a field asks.
type ReadMode uint8

const (
	// Live asks the store at every read.
	Live ReadMode = iota
	// Snapshot loads the session once in a request and answers from that and from
	// the request's own writes. Use it where code assumes that a field which was
	// there a moment ago still is.
	Snapshot
)

// WhenFull says what a login does when the user has too many sessions.
type WhenFull uint8

const (
	// EvictOldest ends the user's oldest session.
	EvictOldest WhenFull = iota
	// Refuse gives ErrTooManySessions.
	Refuse
)

// Cookie describes the cookie. It is always HttpOnly, and Secure but for
// Options.InsecureHTTP.
type Cookie struct {
	// Name is "__Host-session" by default, "__Secure-session" with a Domain or
	// another Path, and "session" with InsecureHTTP. Set it to share the cookie of
	// another framework, such as Django's "sessionid".
	Name string
	// Domain extends the cookie to subdomains. Default: this host only.
	Domain string
	// Path is "/" by default.
	Path string
	// SameSite is Lax by default.
	SameSite http.SameSite
	// Partitioned keeps a cookie jar for each top-level site (CHIPS).
	Partitioned bool
	// Persistent keeps the cookie over a restart of the browser, for as long as
	// the session may last, at most 400 days (RFC 6265bis, section 5.5). The
	// default is until the browser closes.
	Persistent bool
}

const (
	minKey      = 32   // bytes
	maxCookie   = 4096 // bytes of name and value, ASVS 5.0 3.3.5
	maxAge      = 400 * 24 * time.Hour
	maxTimeout  = time.Duration(record.MaxTimeout) * time.Millisecond
	minRotation = time.Minute
)

// withDefaults returns a copy of o in which every zero member has its default,
// or an error that names each invalid one.
func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	c := *o
	if c.Timeouts == (Timeouts{}) {
		c.Timeouts = AAL2
	}
	if c.RotateGrace == 0 {
		c.RotateGrace = 15 * time.Second
	}
	if c.MaxPerUser == 0 {
		c.MaxPerUser = record.MaxSessions
	}
	if c.KeepTombstones == 0 {
		c.KeepTombstones = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Observer == nil {
		c.Observer = &Observer{}
	}
	c.Limits = c.Limits.OrDefault()
	c.Cookie.setDefaults(c.InsecureHTTP)
	problems := append(c.problems(), o.limitProblems()...)
	problems = append(problems, c.Cookie.problems(c.InsecureHTTP)...)
	if len(problems) > 0 {
		return Options{}, fmt.Errorf("%w:\n%w", ErrOptions, errors.Join(problems...))
	}
	return c, nil
}

func (o *Options) problems() (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(o.SecretKeys) == 0 {
		wrong("SecretKeys is empty: give at least one key; `pazzo secret` makes one")
	}
	for i, key := range o.SecretKeys {
		if key == "" || len(key) < minKey && !o.InsecureShortKey {
			wrong("SecretKeys[%d] has %d bytes: at least %d are needed (InsecureShortKey permits fewer, but not none)", i, len(key), minKey)
		}
	}
	between := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			wrong("%s is %v: %v to %v is allowed", name, d, least, most)
		}
	}
	between("Timeouts.Idle", o.Timeouts.Idle, time.Second, maxTimeout)
	between("Timeouts.Absolute", o.Timeouts.Absolute, time.Second, maxTimeout)
	if o.Timeouts.Idle > o.Timeouts.Absolute {
		wrong("Timeouts.Idle is %v, longer than Timeouts.Absolute, %v", o.Timeouts.Idle, o.Timeouts.Absolute)
	}
	if o.RotateEvery != 0 {
		between("RotateEvery", o.RotateEvery, minRotation, maxTimeout)
	}
	between("RotateGrace", o.RotateGrace, time.Second, 5*time.Minute)
	between("KeepTombstones", o.KeepTombstones, time.Second, 24*time.Hour)
	if o.MaxPerUser < 1 || o.MaxPerUser > record.MaxSessions {
		wrong("MaxPerUser is %d: 1 to %d is allowed, and 0 for the default", o.MaxPerUser, record.MaxSessions)
	}
	if o.Reads > Snapshot {
		wrong("Reads is %d: Live and Snapshot are allowed", o.Reads)
	}
	if o.WhenFull > Refuse {
		wrong("WhenFull is %d: EvictOldest and Refuse are allowed", o.WhenFull)
	}
	return problems
}

func (o *Options) limitProblems() (problems []error) {
	for _, l := range [...]struct {
		name       string
		value, max int
	}{
		{"Limits.Name", o.Limits.Name, record.MaxName},
		{"Limits.Value", o.Limits.Value, 64 << 20},
		{"Limits.Fields", o.Limits.Fields, 1 << 20},
		{"Limits.Size", o.Limits.Size, 256 << 20},
	} {
		if l.value < 0 || l.value > l.max {
			problems = append(problems, fmt.Errorf("%s is %d: 1 to %d is allowed, and 0 for the default", l.name, l.value, l.max))
		}
	}
	return problems
}

const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"
)

func (c *Cookie) setDefaults(insecure bool) {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 {
		c.SameSite = http.SameSiteLaxMode
	}
	switch {
	case c.Name != "":
	case insecure:
		c.Name = "session"
	case c.Domain != "" || c.Path != "/":
		c.Name = securePrefix + "session"
	default:
		c.Name = hostPrefix + "session"
	}
}

func (c *Cookie) problems(insecure bool) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if err := c.header("x").Valid(); err != nil {
		wrong("Cookie: %w: Name %q, Domain %q and Path %q must be as RFC 6265, section 4.1.1, says", err, c.Name, c.Domain, c.Path)
	}
	if c.Path[0] != '/' {
		wrong("Cookie.Path is %q: it must begin with /", c.Path)
	}
	if len(c.Name)+tokenChars > maxCookie { // which holds for the revision cookie then as well
		wrong("Cookie.Name has %d bytes: at most %d are allowed", len(c.Name), maxCookie-tokenChars)
	}
	if hasPrefixFold(c.Name, hostPrefix) && (c.Domain != "" || c.Path != "/") {
		wrong("Cookie.Name %q needs Path \"/\" and no Domain (RFC 6265bis, section 4.1.3.2); it has Path %q and Domain %q", c.Name, c.Path, c.Domain)
	}
	if insecure && (hasPrefixFold(c.Name, hostPrefix) || hasPrefixFold(c.Name, securePrefix)) {
		wrong("Cookie.Name %q needs Secure, which InsecureHTTP drops", c.Name)
	}
	if insecure && (c.SameSite == http.SameSiteNoneMode || c.Partitioned) {
		wrong("Cookie.SameSite None and Cookie.Partitioned need Secure, which InsecureHTTP drops")
	}
	switch c.SameSite {
	case http.SameSiteLaxMode, http.SameSiteStrictMode, http.SameSiteNoneMode:
	default:
		wrong("Cookie.SameSite is %d: Lax, Strict and None are allowed", c.SameSite)
	}
	return problems
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// header returns the Set-Cookie header with the attributes that never change.
func (c *Cookie) header(value string) *http.Cookie {
	return &http.Cookie{
		Name:        c.Name,
		Value:       value,
		Path:        c.Path,
		Domain:      c.Domain,
		HttpOnly:    true,
		Secure:      true,
		SameSite:    c.SameSite,
		Partitioned: c.Partitioned,
	}
}
