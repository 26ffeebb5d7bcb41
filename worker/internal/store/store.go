// Package store opens the worker's Postgres, brings its schema up to date and
// keeps its partitions: what every other part of the worker shares of the
// database.
package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Open connects a pool of at most maxConns connections (pgx's default when not
// positive) and checks that one answers. Errors never hold the password.
//
// Connections that a failover left on a read-only server are refused by
// Postgres itself when databaseURL says target_session_attrs=read-write.
func Open(ctx context.Context, databaseURL string, maxConns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		// pgx masks the password in its own message.
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	if maxConns > 0 {
		config.MaxConns = maxConns
	}
	setDefault(config.ConnConfig.RuntimeParams, "application_name", "whatsapp-flows-worker")
	// A transaction that a dead process left open must not pin the row versions
	// of the delivery queue, and one whose worker cannot be heard any more must not
	// hold its keys against the next try: that begins after 15 s. No transaction of
	// ours pauses for so long, but exports, which say so.
	setDefault(config.ConnConfig.RuntimeParams, "idle_in_transaction_session_timeout", "10000")
	for name, value := range serverSide {
		setDefault(config.ConnConfig.RuntimeParams, name, value)
	}
	for name, value := range byKey {
		setDefault(config.ConnConfig.RuntimeParams, name, value)
	}
	config.ConnConfig.DialFunc = dial()
	var pool atomic.Pointer[pgxpool.Pool]
	config.ShouldPing = pingFirst(&pool)
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	opened, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening Postgres: %w", err)
	}
	pool.Store(opened)
	if err := opened.Ping(ctx); err != nil {
		opened.Close()
		return nil, fmt.Errorf("connecting to Postgres: %w", err)
	}
	return opened, nil
}

// byKey are the planner's settings for what every batch and every claim does: it
// finds a few rows by their keys, by statements that are planned once, while their
// tables may hold nothing, and run until they hold millions. A plan that reads a
// whole table, or hashes it, is right for a moment only. (jit: plans without an
// index have a cost that would have them compiled each time.)
var byKey = map[string]string{"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

// Reading is the configuration of a pool beside this one for statements that may
// read much: they are planned as Postgres thinks best.
func Reading(pool *pgxpool.Pool) *pgxpool.Config {
	own := pool.Config()
	for name := range byKey {
		delete(own.ConnConfig.RuntimeParams, name)
	}
	return own
}

func setDefault(params map[string]string, name, value string) {
	if _, ok := params[name]; !ok {
		params[name] = value
	}
}
