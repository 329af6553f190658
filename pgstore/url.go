package pgstore

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrURL is returned when a store URL or an option is invalid.
var ErrURL = errors.New("pgstore: invalid store URL")

// config is what a URL and Options say.
type config struct {
	Options
	pool   *pgxpool.Config
	listen *pgx.ConnConfig
}

// parse reads a store URL. Its errors never contain the URL itself, which may hold a
// password.
func parse(raw string, opts *Options) (config, error) {
	var c config
	if opts != nil {
		c.Options = *opts
	}
	rest, values, err := split(raw)
	if err != nil {
		return c, err
	}
	if err := c.parameters(values); err != nil {
		return c, err
	}
	c.orDefault()
	if err := c.check(); err != nil {
		return c, err
	}
	if c.pool, err = c.connections(rest, values); err != nil {
		return c, err
	}
	c.listen = c.pool.ConnConfig
	if c.Listen == "" {
		return c, nil
	}
	if rest, values, err = split(c.Listen); err == nil {
		var other *pgxpool.Config
		if other, err = c.connections(rest, values); err == nil {
			c.listen = other.ConnConfig
		}
	}
	if err != nil {
		return c, fmt.Errorf("%w, in that of listen", err)
	}
	return c, nil
}

// split parts a URL at its parameters.
func split(raw string) (rest string, values url.Values, err error) {
	if !strings.HasPrefix(raw, "postgres://") && !strings.HasPrefix(raw, "postgresql://") {
		return "", nil, fmt.Errorf("%w: the scheme must be postgres or postgresql", ErrURL)
	}
	if strings.Contains(raw, "#") {
		return "", nil, fmt.Errorf("%w: it has a fragment (#…); in a password, write %%23", ErrURL)
	}
	rest, query, _ := strings.Cut(raw, "?")
	if values, err = url.ParseQuery(query); err != nil {
		return "", nil, fmt.Errorf("%w: the parameters after ? are malformed", ErrURL)
	}
	for name, list := range values {
		if len(list) > 1 {
			return "", nil, fmt.Errorf("%w: parameter %q is given twice", ErrURL, name)
		}
	}
	return rest, values, nil
}

// connections are how the driver connects to the server that a URL names, by what is left
// of its parameters.
func (c *config) connections(rest string, values url.Values) (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(rest + "?" + values.Encode())
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, withoutURL(err))
	}
	if !values.Has("pool_max_conns") {
		pool.MaxConns = DefaultMaxConns
	}
	if !values.Has("connect_timeout") {
		pool.ConnConfig.ConnectTimeout = c.Timeout
	}
	pool.PingTimeout = c.Timeout
	return pool, nil
}

// withoutURL is the text of an error of pgx without the URL, which it quotes, and without
// what net/url quotes of it.
func withoutURL(err error) string {
	var parse *pgconn.ParseConfigError
	if !errors.As(err, &parse) {
		return "the driver does not accept it"
	}
	text := parse.Error()
	if _, reason, found := strings.Cut(text, "`: "); found {
		text = reason
	}
	reason, _, _ := strings.Cut(text, " (")
	if strings.HasPrefix(reason, "failed to configure TLS") {
		return text // the details are of sslmode or of files
	}
	return reason
}

// parameters takes ours out of values, which the driver gets then.
func (c *config) parameters(values url.Values) (err error) {
	take := func(name string, set func(text string) error) {
		if values.Has(name) && err == nil {
			err = set(values.Get(name))
			values.Del(name)
		}
	}
	take("prefix", func(text string) error { c.Prefix = text; return notEmpty("prefix", text) })
	take("schema", func(text string) error { c.Schema = text; return notEmpty("schema", text) })
	take("listen", func(text string) error { c.Listen = text; return notEmpty("listen", text) })
	take("timeout", func(text string) (err error) { c.Timeout, err = duration("timeout", text); return err })
	take("sweep", func(text string) (err error) {
		if text == "off" {
			c.Sweep = -1
			return nil
		}
		c.Sweep, err = duration("sweep", text)
		return err
	})
	return err
}

func notEmpty(name, text string) error {
	if text == "" {
		return fmt.Errorf("%w: parameter %s is empty", ErrURL, name)
	}
	return nil
}

func duration(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%w: %s %q; a duration such as 500ms or 2s is allowed", ErrURL, name, text)
	}
	return d, nil
}

func (o *Options) orDefault() {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Sweep == 0 {
		o.Sweep = DefaultSweep
	}
}

// names are what a schema or a role of ours may be called.
var names = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// quoted is a name for SQL, where it may be a reserved word.
func quoted(name string) string { return `"` + name + `"` }

func (o *Options) check() error {
	switch {
	case !strings.HasSuffix(o.Prefix, ":") || strings.ContainsAny(o.Prefix, "{}"):
		return fmt.Errorf(`%w: prefix %q; it must end in ":" and have no braces`, ErrURL, o.Prefix)
	case !names.MatchString(o.Schema):
		return fmt.Errorf("%w: schema %q; 1 to 63 of a-z, 0-9 and _ are allowed, no digit first", ErrURL, o.Schema)
	case o.Timeout < time.Millisecond:
		return fmt.Errorf("%w: timeout %s; 1ms or more is allowed", ErrURL, o.Timeout)
	case o.Sweep > 0 && o.Sweep < 10*time.Millisecond:
		return fmt.Errorf("%w: sweep %s; 10ms or more, or off, is allowed", ErrURL, o.Sweep)
	}
	return nil
}
