package records

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span is a stretch of time: Since is in it, Until is not. Zero is open.
type Span struct{ Since, Until time.Time }

// query is the WHERE of a statement and its arguments.
type query struct {
	// account is the account whose rows are wanted, in SQL. Conditions name it
	// instead of the row's own column: subqueries then run once, not for each row.
	account string
	where   []string
	args    []any
}

// arg adds an argument and returns its placeholder.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// and adds a condition; each %s in it stands for the next of args.
func (q *query) and(condition string, args ...any) {
	marks := make([]any, len(args))
	for i, v := range args {
		marks[i] = q.arg(v)
	}
	q.where = append(q.where, fmt.Sprintf(condition, marks...))
}

// andText adds a condition on a text unless it is empty.
func (q *query) andText(condition, value string) {
	if value != "" {
		q.and(condition, value)
	}
}

func (q *query) within(column string, s Span) {
	if !s.Since.IsZero() {
		q.and(column+" >= %s", s.Since)
	}
	if !s.Until.IsZero() {
		q.and(column+" < %s", s.Until)
	}
}

// after goes on behind a place in a list that is ordered by column and id, both
// descending. The first condition says what the second implies: Postgres does
// not skip partitions by a comparison of rows.
func (q *query) after(column, id string, p *Place) {
	if p != nil {
		q.and(column+" <= %s", p.At)
		q.and("("+column+", "+id+") < (%s, %s)", p.At, p.ID)
	}
}

func (q *query) conditions() string {
	if len(q.where) == 0 {
		return "true"
	}
	return strings.Join(q.where, " AND ")
}

// accountsOf is a subquery with a column account: those asked for, or all that
// table has rows of. The latter it finds by as many steps through an index that
// begins with the account, however many rows there are.
//
// Lists take their page of each account and merge: then every page is read in
// the order of one index, whatever the number of accounts.
func (q *query) accountsOf(accounts Accounts, table string) string {
	if accounts != nil {
		return "SELECT unnest(" + q.arg([]string(accounts)) + "::text[]) AS account"
	}
	return `WITH RECURSIVE known(account) AS (
			SELECT (SELECT min(account) FROM ` + table + `)
			UNION ALL
			SELECT (SELECT min(t.account) FROM ` + table + ` t WHERE t.account > known.account) FROM known WHERE known.account IS NOT NULL)
		SELECT account FROM known WHERE account IS NOT NULL`
}

// allowed limits a statement to accounts.
func (q *query) allowed(column string, accounts Accounts) {
	if accounts != nil {
		q.and(column+" = ANY (%s)", []string(accounts))
	}
}
