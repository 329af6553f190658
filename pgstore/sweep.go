package pgstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// sweepRows is how many rows one statement deletes, so that it is short and keeps few
// locks.
const sweepRows = 500

// sweepUntil deletes expired rows until ctx ends. What others are deleting is skipped; a
// failure is left to the next time, since nobody misses what it would have done: an
// expired row is absent to every reader.
func (s *server) sweepUntil(ctx context.Context, every time.Duration) {
	for {
		timer := time.NewTimer(every/2 + rand.N(every))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		for _, table := range s.tables {
			for s.sweepSome(ctx, table) == sweepRows {
			}
		}
	}
}

// sweepSome deletes some expired rows of a table, and returns how many.
func (s *server) sweepSome(ctx context.Context, table statements) int64 {
	ctx, cancel := context.WithTimeout(ctx, 10*s.timeout)
	defer cancel()
	tag, err := s.pool.Exec(ctx, table.sweep, sweepRows)
	if err != nil {
		return 0
	}
	return tag.RowsAffected()
}
