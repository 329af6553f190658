// Package pgtest runs a real PostgreSQL server, and PgBouncer in front of one, for tests
// and benchmarks.
//
// Everything listens on 127.0.0.1 only, on ports that are chosen afresh, keeps its files in
// a temporary directory of its own, and ends with the test. On Linux it ends with the
// process as well, even if that is killed. PostgreSQL refuses to run as root, so that a
// test that does runs it as the user postgres or nobody.
//
// The programs are those on PATH or Debian's, in /usr/lib/postgresql/*/bin; the environment
// variable PAZZO_PG_BIN names another directory. A missing program fails the test; it
// never skips it.
package pgtest
