package callback

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// transaction is one whose BEGIN travels with its first statements and whose
// COMMIT with its last, each a round trip saved.
type transaction struct {
	conn  *pgxpool.Conn
	begun bool
	done  bool
}

// inTransaction commits when f has not done so, and rolls back when it fails.
func inTransaction(ctx context.Context, pool *pgxpool.Pool, f func(*transaction) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx := &transaction{conn: conn}
	if err = f(tx); err == nil && tx.begun && !tx.done {
		err = tx.commit(ctx, &pgx.Batch{})
	}
	if err == nil || conn.Conn().IsClosed() {
		return err
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// If it does not get there the pool closes the connection, which ends the
	// transaction as well.
	_, _ = conn.Exec(ending, "ROLLBACK")
	return err
}

// SendBatch is for package payload.
func (tx *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if !tx.begun {
		tx.begun = true
		b.QueuedQueries = append([]*pgx.QueuedQuery{{SQL: "BEGIN"}}, b.QueuedQueries...)
	}
	return tx.conn.SendBatch(ctx, b)
}

func (tx *transaction) send(ctx context.Context, b *pgx.Batch) error {
	return tx.SendBatch(ctx, b).Close()
}

var errRolledBack = errors.New("the transaction was rolled back")

// commit runs the last statements.
func (tx *transaction) commit(ctx context.Context, b *pgx.Batch) error {
	tx.done = true
	b.Queue("COMMIT").Query(func(rows pgx.Rows) error {
		rows.Close()
		if rows.Err() == nil && rows.CommandTag().String() != "COMMIT" {
			return errRolledBack
		}
		return rows.Err()
	})
	return tx.send(ctx, b)
}
