package store

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// nameLock is the first key of the advisory locks that hold worker names.
const nameLock = 0x77616601

// maxSameName bounds the search for a free suffix.
const maxSameName = 1000

// Name is the consumer name that this process holds alone, by an advisory lock
// of a connection of its own.
type Name struct {
	Name string

	stop context.CancelFunc
	done sync.WaitGroup
}

// ClaimName takes base, or base-2, base-3, … when other live processes hold the
// former: a stable name lets a restarted worker find its own pending entries at
// once, and two processes under one name would read each other's.
//
// The lock falls with the process. Should only its connection fall, it is taken
// again; until then a second process may come to use the same name. The two then
// read each other's pending entries: that doubles work, but nothing is stored
// twice or missed, and nothing that the other one stored counts as lost.
func ClaimName(ctx context.Context, pool *pgxpool.Pool, base string) (*Name, error) {
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connecting to Postgres for the worker's name: %w", err)
	}
	for n := 1; n <= maxSameName; n++ {
		name := base
		if n > 1 {
			name = base + "-" + strconv.Itoa(n)
		}
		held, err := lockName(ctx, conn, name)
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, fmt.Errorf("locking the worker's name: %w", err)
		}
		if held {
			background, stop := context.WithCancel(context.WithoutCancel(ctx))
			held := &Name{Name: name, stop: stop}
			held.done.Go(func() { hold(background, pool, conn, name) })
			return held, nil
		}
	}
	_ = conn.Close(context.WithoutCancel(ctx))
	return nil, fmt.Errorf("%d workers named %q are running already: set WORKER_NAME", maxSameName, base)
}

// Release gives the name up. It may be called more than once.
func (n *Name) Release() {
	n.stop()
	n.done.Wait()
}

func lockName(ctx context.Context, conn *pgx.Conn, name string) (held bool, err error) {
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, hashtext($2))", int32(nameLock), name).Scan(&held)
	return held, err
}

// hold notices a lost connection and locks the name again.
func hold(ctx context.Context, pool *pgxpool.Pool, conn *pgx.Conn, name string) {
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if conn != nil {
			// Closing alone frees the lock only once the server notices.
			_, _ = conn.Exec(closing, "SELECT pg_advisory_unlock_all()")
			_ = conn.Close(closing)
		}
	}()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if conn != nil {
			if answers(ctx, conn) || ctx.Err() != nil {
				continue
			}
			conn = nil
		}
		conn = lockAgain(ctx, pool, name)
	}
}

// answers says whether a connection lives, and closes one that does not.
func answers(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	if conn.Ping(ctx) == nil {
		return true
	}
	_ = conn.Close(ctx)
	return false
}

// lockAgain takes the lock over a new connection; nil when that fails.
func lockAgain(ctx context.Context, pool *pgxpool.Pool, name string) *pgx.Conn {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return nil
	}
	if held, err := lockName(ctx, conn, name); err != nil || !held {
		_ = conn.Close(ctx)
		return nil
	}
	return conn
}
