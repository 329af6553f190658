package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pazzo-sessions/pazzo/record"
)

// SchemaVersion is the version of the tables that this package uses.
const SchemaVersion = 1

// ErrSchema is returned when the tables are missing, or not of the version that this
// package uses: run Migrate, or `pazzo migrate`, if they are older; upgrade this program
// if they are newer.
var ErrSchema = errors.New("pgstore: the tables are not of this version")

// changes are what makes version n of n−1: schema/n.sql.
//
//go:embed schema/*.sql
var changes embed.FS

// Setting is what Migrate makes of a property of the tables. The zero value keeps it, so
// that who migrates with each deployment need not know what was set before.
type Setting int8

const (
	Keep Setting = iota // as it is; off in new tables
	On                  // made so
	Off                 // no longer so
)

// of returns what a property is to be that is so now.
func (s Setting) of(now bool) bool { return s == On || s == Keep && now }

// MigrateOptions choose what Migrate makes. Nil means the defaults.
type MigrateOptions struct {
	// Role, if any, is given the rights that an app needs. It exists already; its name is
	// 1 to 63 of a-z, 0-9 and _, no digit first.
	Role string
	// Unlogged makes the tables unlogged, or logged again: unlogged ones are written with
	// less work, and emptied when the server crashes. To change it copies the tables, and
	// sessions wait.
	Unlogged Setting
	// Tell has the tables tell of changes (NOTIFY), or no longer. Package nearcache needs
	// it in any process that uses it. It is a property of the tables, so that no process
	// can change a session and keep silent about it. It takes writes half of their speed
	// or more: the server lets transactions that notify commit one at a time.
	Tell Setting
}

// Migration is what Migrate has done.
type Migration struct {
	From, To int // versions; 0 is none
}

// Migrate makes the tables in the database that url names, or brings them to this version,
// in one transaction; when they are of this version already, that changes nothing. It
// may be run while apps use the tables, and by several at once. The url is the one of
// Open; its user must own the tables, or be allowed to create the schema.
//
// ErrURL is returned for an invalid url or role, ErrSchema when the tables are newer, and
// record.ErrUnavailable when no server answers or it refuses.
func Migrate(ctx context.Context, url string, opts *MigrateOptions) (Migration, error) {
	if opts == nil {
		opts = &MigrateOptions{}
	}
	c, err := parse(url, nil)
	if err != nil {
		return Migration{}, err
	}
	if opts.Role != "" && !names.MatchString(opts.Role) {
		return Migration{}, fmt.Errorf("%w: role %q; 1 to 63 of a-z, 0-9 and _ are allowed, no digit first", ErrURL, opts.Role)
	}
	conn, err := pgx.ConnectConfig(ctx, c.pool.ConnConfig)
	if err != nil {
		return Migration{}, fmt.Errorf("pgstore: %w: %w", record.ErrUnavailable, err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) // it does not wait for long
	var m Migration
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		m, err = migrate(ctx, tx, quoted(c.Schema), opts)
		return err
	})
	if err != nil && !errors.Is(err, ErrSchema) {
		err = fmt.Errorf("pgstore: %w: %w", record.ErrUnavailable, err)
	}
	return m, err
}

// migrationLock keeps those who migrate apart; the number means nothing.
const migrationLock = 0x70617a7a6f

func migrate(ctx context.Context, tx pgx.Tx, schema string, opts *MigrateOptions) (m Migration, err error) {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return m, err
	}
	if err := prepare(ctx, tx, schema); err != nil {
		return m, err
	}
	err = tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+schema+".migrations").Scan(&m.From)
	switch {
	case err != nil:
		return m, err
	case m.From > SchemaVersion:
		return m, newer(m.From)
	}
	for m.To = m.From; m.To < SchemaVersion; m.To++ {
		if err := change(ctx, tx, schema, m.To+1); err != nil {
			return m, err
		}
	}
	if err := persist(ctx, tx, schema, opts.Unlogged); err != nil {
		return m, err
	}
	if err := tell(ctx, tx, schema, opts.Tell); err != nil {
		return m, err
	}
	if opts.Role == "" {
		return m, nil
	}
	return m, run(ctx, tx, grants(schema, quoted(opts.Role)))
}

// prepare makes the schema and the list of versions, unless they are there: then it takes
// no rights to create any.
func prepare(ctx context.Context, tx pgx.Tx, schema string) error {
	var found bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", schema+".migrations").Scan(&found); err != nil || found {
		return err
	}
	return run(ctx, tx, "CREATE SCHEMA IF NOT EXISTS "+schema+";"+
		"CREATE TABLE "+schema+".migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())")
}

func change(ctx context.Context, tx pgx.Tx, schema string, version int) error {
	text, err := changes.ReadFile(fmt.Sprintf("schema/%d.sql", version))
	if err != nil {
		return err
	}
	if err := run(ctx, tx, strings.ReplaceAll(string(text), "@", schema+".")); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+schema+".migrations (version) VALUES ($1)", version)
	return err
}

// persist makes the tables logged or unlogged, if they are not.
func persist(ctx context.Context, tx pgx.Tx, schema string, unlogged Setting) error {
	for _, table := range []string{schema + ".sessions", schema + ".users"} {
		var is bool
		err := tx.QueryRow(ctx, "SELECT relpersistence = 'u' FROM pg_class WHERE oid = to_regclass($1)", table).Scan(&is)
		if err != nil {
			return err
		}
		wanted := unlogged.of(is)
		if is == wanted {
			continue
		}
		persistence := "LOGGED"
		if wanted {
			persistence = "UNLOGGED"
		}
		if err := run(ctx, tx, "ALTER TABLE "+table+" SET "+persistence); err != nil {
			return err
		}
	}
	return nil
}

// tells is the condition that the table $3 tells of changes by the triggers of
// schema/tell.sql.
const tells = `(SELECT count(*) = 3 FROM pg_trigger WHERE tgrelid = to_regclass($3) AND tgenabled IN ('O', 'A')
	AND tgname IN ('tell_of_update', 'tell_of_delete', 'tell_of_truncate'))`

// tell has the tables tell of changes or not, if they do otherwise.
func tell(ctx context.Context, tx pgx.Tx, schema string, setting Setting) error {
	var is bool
	err := tx.QueryRow(ctx, "SELECT "+strings.ReplaceAll(tells, "$3", "$1"), schema+".sessions").Scan(&is)
	wanted := setting.of(is)
	if err != nil || is == wanted {
		return err
	}
	if err := run(ctx, tx, "DROP FUNCTION IF EXISTS "+schema+".tell_of_change() CASCADE"); err != nil || !wanted {
		return err
	}
	text, err := changes.ReadFile("schema/tell.sql")
	if err != nil {
		return err
	}
	return run(ctx, tx, strings.ReplaceAll(string(text), "@", schema+"."))
}

// grants are the rights of an app.
func grants(schema, role string) string {
	return strings.NewReplacer("@schema", schema, "@role", role, "@", schema+".").Replace(
		"GRANT USAGE ON SCHEMA @schema TO @role;" +
			"GRANT SELECT ON @migrations TO @role;" +
			"GRANT SELECT, INSERT, UPDATE, DELETE ON @sessions, @users TO @role")
}

// run runs statements that have no parameters.
func run(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// checkVersion makes sure that the tables are those of this package.
func checkVersion(ctx context.Context, on rower, schema string) error {
	var version int
	err := on.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+schema+".migrations").Scan(&version)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000"):
		return fmt.Errorf("%w: there are none in the schema %s; `pazzo migrate` makes them", ErrSchema, schema)
	case err != nil:
		return fmt.Errorf("pgstore: %w: %w", record.ErrUnavailable, explain(err))
	case version > SchemaVersion:
		return newer(version)
	case version < SchemaVersion:
		return fmt.Errorf("%w: they have version %d, this program needs %d; `pazzo migrate` upgrades them", ErrSchema, version, SchemaVersion)
	}
	return nil
}

func newer(version int) error {
	return fmt.Errorf("%w: they have version %d, this program knows %d; upgrade it", ErrSchema, version, SchemaVersion)
}
