package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// Account is one business of the installation.
type Account struct {
	Name  string `json:"name" example:"default"`
	Flows int    `json:"flows" doc:"Flows that are not deleted"`
}

func registerAccounts(a *api) {
	register(a, huma.Operation{
		OperationID: "listAccounts", Method: http.MethodGet, Path: "/api/accounts", Tags: []string{"Accounts"},
		Summary: "List accounts", Description: "The accounts that the token may see: those it names, and for a token of all accounts those that have flows, sessions or answers, and `default`.",
	}, Read, a.listAccounts)
}

type listAccountsInput struct{}

func (a *api) listAccounts(ctx context.Context, _ *listAccountsInput) (*answer[[]Account], error) {
	// From one account to the next by index: the tables may have millions of rows.
	const sql = `
		WITH RECURSIVE answered AS (
			(SELECT account FROM flow_responses ORDER BY account LIMIT 1)
			UNION ALL
			SELECT (SELECT account FROM flow_responses r WHERE r.account > a.account ORDER BY account LIMIT 1) FROM answered a WHERE a.account IS NOT NULL
		), used AS (
			(SELECT account FROM flow_sessions ORDER BY account LIMIT 1)
			UNION ALL
			SELECT (SELECT account FROM flow_sessions s WHERE s.account > u.account ORDER BY account LIMIT 1) FROM used u WHERE u.account IS NOT NULL
		)
		SELECT account, count(id) FILTER (WHERE deleted_at IS NULL)
		FROM (SELECT account, id, deleted_at FROM flows
			UNION ALL SELECT account, NULL, NULL FROM answered
			UNION ALL SELECT account, NULL, NULL FROM used
			UNION ALL SELECT unnest($1::text[]), NULL, NULL) known
		WHERE account IS NOT NULL AND ($2::text[] IS NULL OR account = ANY ($2))
		GROUP BY account ORDER BY account COLLATE "C"`
	named := []string(a.accounts(ctx))
	if named == nil {
		named = []string{settings.DefaultAccount}
	}
	rows, err := a.Pool.Query(ctx, sql, named, []string(a.accounts(ctx)))
	if err != nil {
		return nil, err
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Account])
	return ok(accounts), err
}
