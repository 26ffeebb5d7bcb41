package records

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// maxExports is how many exports may run at once: each holds a connection to
	// Postgres and keeps old row versions from being removed.
	maxExports = 4

	// exportWithin bounds one export for the same reason.
	exportWithin = time.Hour

	// maxColumns bounds the columns that the answers of a CSV export have.
	maxColumns = 500

	// chunkSize is how many bytes are written at once.
	chunkSize = 64 << 10
)

// settings of an export's transaction: no limit of one statement, a client that
// reads slowly, and plans that give their first rows soon.
var settings = []string{"statement_timeout = 0", "idle_in_transaction_session_timeout = '2min'", "cursor_tuple_fraction = 0.0001"}

// fetchRows are read at a time: up to some hundred kilobytes.
const fetchRows = 500

var fetch = "FETCH " + strconv.Itoa(fetchRows) + " FROM walk"

// Format is the form of an export.
type Format string

// The formats of an export.
const (
	NDJSON Format = "ndjson" // one JSON object for each response, a line each
	CSV    Format = "csv"    // RFC 4180
)

// ErrBusy says that as many exports as are allowed are running.
var ErrBusy = fmt.Errorf("%d exports are running, which is the most at a time: try again when one has ended", maxExports)

// ErrTooManyColumns says that the answers have more keys than a table can show.
var ErrTooManyColumns = fmt.Errorf("the answers have more than %d different keys: name the ones wanted in columns, or narrow the export", maxColumns)

// ExportOptions say what an export looks like.
type ExportOptions struct {
	Format Format
	// Columns are the keys of answers that a CSV has, in that order; "key (title)"
	// is the title of what was chosen. Empty: all keys there are.
	Columns []string
	// ByteOrderMark begins a CSV with one, for Excel.
	ByteOrderMark bool
}

// Export is a file of responses, the earliest first, as they were at one moment.
// It holds some hundred rows at a time, and a connection of its own: it neither runs into
// the limits of the worker's other connections nor takes one away.
type Export struct {
	records  *Records
	conn     *pgx.Conn
	tx       pgx.Tx
	accounts Accounts
	filter   ResponseFilter
	options  ExportOptions
	columns  []string
}

// Export begins an export: what can be wrong with it shows here, before a byte
// is written. The caller closes it.
func (r *Records) Export(ctx context.Context, accounts Accounts, f ResponseFilter, o ExportOptions) (_ *Export, err error) {
	select {
	case r.exports <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	e := &Export{records: r, accounts: accounts, filter: f, options: o, columns: o.Columns}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err := e.begin(ctx); err != nil {
		return nil, fmt.Errorf("beginning an export: %w", err)
	}
	if o.Format == CSV && len(e.columns) == 0 {
		if e.columns, err = e.findColumns(ctx); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Export) begin(ctx context.Context) (err error) {
	config := e.records.pool.Config().ConnConfig
	config.RuntimeParams["application_name"] = "whatsapp-flows-worker export"
	if e.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	e.tx, err = e.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	for _, setting := range settings {
		if _, err := e.tx.Exec(ctx, "SET LOCAL "+setting); err != nil {
			return err
		}
	}
	if e.accounts != nil {
		return nil
	}
	rows, err := e.tx.Query(ctx, (&query{}).accountsOf(nil, "flow_responses"))
	if err != nil {
		return err
	}
	e.accounts, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// Close ends the transaction and the connection. It may be called twice.
func (e *Export) Close() {
	if e.records == nil {
		return
	}
	if e.conn != nil {
		// Ends the transaction too, and stops a query that is still running.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.conn.Close(ctx)
	}
	<-e.records.exports
	e.records = nil
}

// scan visits the responses of one account in any order. The fastest plan will
// do, and rows are read as Postgres sends them.
func (e *Export) scan(ctx context.Context, account string, visit func(*Response) error) error {
	sql, args := e.sql(account)
	_, err := e.visit(ctx, visit, sql, args...)
	return err
}

// walk visits the responses of one account in their order. A cursor makes
// Postgres follow the index of that order, whereas a plain query of everything
// would sort all of it first, on disk.
func (e *Export) walk(ctx context.Context, account string, visit func(*Response) error) error {
	sql, args := e.sql(account)
	sql = "DECLARE walk NO SCROLL CURSOR FOR " + sql + " ORDER BY r." + e.filter.column() + ", r.id"
	if _, err := e.tx.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("reading responses: %w", err)
	}
	for {
		n, err := e.visit(ctx, visit, fetch)
		if err != nil {
			return err
		}
		if n < fetchRows {
			break
		}
	}
	if _, err := e.tx.Exec(ctx, "CLOSE walk"); err != nil {
		return fmt.Errorf("reading responses: %w", err)
	}
	return nil
}

func (e *Export) sql(account string) (string, []any) {
	q := &query{account: "$1", args: []any{account}}
	q.and("r.account = $1")
	e.filter.narrow(q, "r")
	return "SELECT " + responseColumns + " FROM flow_responses r LEFT JOIN flow_sessions s ON s.id = r.session_id WHERE " + q.conditions(), q.args
}

// visit runs a statement and counts its rows.
func (e *Export) visit(ctx context.Context, visit func(*Response) error, sql string, args ...any) (n int, err error) {
	rows, err := e.tx.Query(ctx, sql, args...)
	if err != nil {
		return 0, fmt.Errorf("reading responses: %w", err)
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var r Response
		if err := r.scan(rows); err != nil {
			return n, fmt.Errorf("reading responses: %w", err)
		}
		if err := visit(&r); err != nil {
			return n, err
		}
	}
	if err := rows.Err(); err != nil {
		return n, fmt.Errorf("reading responses: %w", err)
	}
	return n, nil
}

// findColumns are the keys of all answers, sorted, each followed by its titles
// if any has one. flow_token has a column of its own.
func (e *Export) findColumns(ctx context.Context) ([]string, error) {
	keys := make(map[string]bool) // whether titles are known
	look := func(r *Response) error {
		o, _, err := e.records.titles.find(ctx, r)
		if err != nil {
			return err
		}
		eachMember(r.ResponseData, func(key, value []byte) {
			titled, known := keys[string(key)]
			if known && (titled || len(o) == 0) || string(key) == "flow_token" {
				return
			}
			keys[string(key)] = titled || titleOf(o[string(key)], value) != nil
		})
		if len(keys) > maxColumns {
			return ErrTooManyColumns
		}
		return nil
	}
	for _, account := range e.accounts {
		if err := e.scan(ctx, account, look); err != nil {
			return nil, err
		}
	}
	columns := make([]string, 0, len(keys))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		columns = append(columns, key)
		if keys[key] {
			columns = append(columns, key+titleSuffix)
		}
	}
	return columns, nil
}

// Write writes the file and counts its responses. After an error what was
// written is no complete file, and must not be taken for one.
func (e *Export) Write(ctx context.Context, w io.Writer) (responses int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, exportWithin, errors.New("an export may take an hour: narrow it by time"))
	defer cancel()
	buffer := make([]byte, 0, 2*chunkSize)
	row := appendJSON
	if e.options.Format == CSV {
		t := newTable(e.columns)
		if e.options.ByteOrderMark {
			buffer = append(buffer, byteOrderMark...)
		}
		buffer = t.header(buffer)
		row = func(b []byte, r *Response) ([]byte, error) { return t.row(b, r), nil }
	}
	put := func(r *Response) (err error) {
		if err := e.records.titles.addTo(ctx, r); err != nil {
			return err
		}
		if buffer, err = row(buffer, r); err != nil {
			return err
		}
		responses++
		if len(buffer) >= chunkSize {
			_, err = w.Write(buffer)
			buffer = buffer[:0]
		}
		return err
	}
	for _, account := range e.accounts {
		if err == nil {
			err = e.walk(ctx, account, put)
		}
	}
	if err == nil {
		_, err = w.Write(buffer)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return responses, err
}

// appendJSON writes a response as one line. Answers stay as they came, but for
// white space.
func appendJSON(b []byte, r *Response) ([]byte, error) {
	line := bytes.NewBuffer(b)
	encoder := json.NewEncoder(line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("encoding response %s: %w", r.ID, err)
	}
	return line.Bytes(), nil
}
