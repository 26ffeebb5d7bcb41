package seed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// source is the seed's tables as of one moment, read in portions by one
// connection that can change nothing.
type source struct {
	conn   *pgxpool.Conn
	tx     pgx.Tx
	schema string
	zone   string
	// columns are those of each table; a table that is not there has none.
	columns map[string]map[string]string
}

func open(ctx context.Context, pool *pgxpool.Pool, schema, zone string) (*source, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to Postgres: %w", err)
	}
	s := &source{conn: conn, schema: schema, zone: zone, columns: make(map[string]map[string]string)}
	if err := s.begin(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("reading the tables of whatsapp-flows-server: %w", err)
	}
	return s, nil
}

func (s *source) begin(ctx context.Context) (err error) {
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return err
	}
	// It pauses while what it read is stored. And it reads whole tables, which have
	// none of the indexes that our pool's plans count on (store.Open): a dry run that
	// may only nest loops compares each webhook with each answer.
	if _, err = s.tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL datestyle = 'ISO'; "+
		"SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"); err != nil {
		return err
	}
	var known bool
	if err := s.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE lower(name) = lower($1))", s.zone).Scan(&known); err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("--time-zone is %q, expected a name such as UTC or America/Sao_Paulo", s.zone)
	}
	for _, t := range tables {
		if s.columns[t.name], err = columnsOf(ctx, s.tx, s.schema, t.name); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) close() {
	// Closing ends the transaction, which has nothing to commit.
	if s.conn != nil {
		_ = s.conn.Conn().Close(context.Background())
		s.conn.Release()
		s.conn = nil
	}
}

func (s *source) has(table string) bool { return len(s.columns[table]) > 0 }

func (s *source) name(table string) string { return pgx.Identifier{s.schema, table}.Sanitize() }

// text is a column as text, jsonb too; null when an older migration lacks it.
func (s *source) text(table, column string) string {
	if s.columns[table][column] == "" {
		return "NULL::text"
	}
	return "t." + column + "::text"
}

func (s *source) uuid(table, column string) string {
	if s.columns[table][column] == "" {
		return "NULL::uuid"
	}
	return "t." + column + "::uuid"
}

// is is a column of boolean; false for null.
func (s *source) is(table, column string) string {
	if s.columns[table][column] == "" {
		return "false"
	}
	return "coalesce(t." + column + ", false)"
}

// at is a time: the first of the columns that holds one of the years that are
// stored here, in the zone that the seed ran in; null for none.
func (s *source) at(table string, columns ...string) string {
	var all []string
	for _, column := range columns {
		zone := ""
		switch s.columns[table][column] {
		case "timestamp without time zone":
			zone = " AT TIME ZONE '" + strings.ReplaceAll(s.zone, "'", "''") + "'"
		case "timestamp with time zone":
		default:
			continue
		}
		c := "t." + column
		all = append(all, "CASE WHEN isfinite("+c+") AND "+c+" >= '2000-01-02' AND "+c+" < '9999-12-30' THEN "+c+zone+" END")
	}
	if len(all) == 0 {
		return "NULL::timestamptz"
	}
	return "coalesce(" + strings.Join(all, ", ") + ")"
}

// extra are columns that no migration of the seed makes.
func (s *source) extra(table string) []string {
	var all []string
	for column := range s.columns[table] {
		if !slices.Contains(known[table], column) {
			all = append(all, column)
		}
	}
	slices.Sort(all)
	return all
}

// known are the columns that the migrations make.
var known = map[string][]string{
	"flows": {"id", "name", "version", "flow_json", "description", "status", "meta_flow_id", "template_name", "created_at", "updated_at"},
	"flow_sessions": {"id", "flow_id", "flow_token", "phone_number", "current_screen", "session_data", "status", "started_at", "completed_at",
		"last_activity_at", "error_message", "updated_at"},
	"flow_responses": {"id", "session_id", "flow_id", "flow_token", "phone_number", "response_data", "raw_webhook_payload", "received_at"},
	"webhook_events": {"id", "event_type", "raw_payload", "signature", "signature_valid", "processed", "callback_sent", "callback_url",
		"callback_status_code", "callback_error", "received_at", "processed_at", "callback_sent_at"},
}

// read hands the rows of a query to use, a portion at a time. Each cursor has a
// name of its own, because statements are prepared by their text.
func read[R any](ctx context.Context, s *source, cursor, query string, scan func(pgx.CollectableRow) (R, error), use func([]R) error) error {
	if _, err := s.tx.Exec(ctx, "DECLARE "+cursor+" NO SCROLL CURSOR FOR "+query); err != nil {
		return fmt.Errorf("reading whatsapp-flows-server's tables: %w", err)
	}
	for {
		rows, err := s.tx.Query(ctx, fmt.Sprintf("FETCH %d FROM %s", batchRows, cursor))
		if err != nil {
			return fmt.Errorf("reading whatsapp-flows-server's tables: %w", err)
		}
		portion, err := pgx.CollectRows(rows, scan)
		if err != nil {
			return fmt.Errorf("reading whatsapp-flows-server's tables: %w", err)
		}
		if len(portion) == 0 {
			break
		}
		if err := use(portion); err != nil {
			return err
		}
	}
	_, err := s.tx.Exec(ctx, "CLOSE "+cursor)
	return err
}

// originals are whole rows, as JSON.
func (s *source) originals(ctx context.Context, table string, ids [][16]byte) (map[[16]byte]string, error) {
	rows, err := s.tx.Query(ctx, "SELECT t.id, to_jsonb(t)::text FROM "+s.name(table)+" t WHERE t.id = ANY ($1::uuid[])", ids)
	if err != nil {
		return nil, err
	}
	all := make(map[[16]byte]string, len(ids))
	var id [16]byte
	var row string
	_, err = pgx.ForEachRow(rows, []any{&id, &row}, func() error { all[id] = row; return nil })
	return all, err
}
