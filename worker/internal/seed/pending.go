package seed

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/ingest"
)

// finish counts the answers that only webhooks held and those that were not
// delivered, and makes the deliveries of the latter if that was asked for.
func (i *importer) finish(ctx context.Context) error {
	if i.DryRun {
		return i.foresee(ctx)
	}
	const sql = `
		SELECT count(*) FILTER (WHERE found), count(*) FILTER (WHERE NOT delivered AND NOT queued)
		FROM (SELECT bool_or(found) AS found, bool_or(delivered) AS delivered, bool_or(queued_at IS NOT NULL) AS queued
			FROM ` + Schema + `.callbacks WHERE account = $1 GROUP BY response_id) r`
	if i.DeliverPending {
		if err := i.deliverPending(ctx); err != nil {
			return err
		}
	}
	if err := i.Pool.QueryRow(ctx, sql, i.Account).Scan(&i.report.Found, &i.report.Undelivered); err != nil {
		return fmt.Errorf("counting what was not delivered: %w", err)
	}
	return nil
}

// wanted refuses to deliver to nobody.
func (i *importer) wanted(ctx context.Context) error {
	var some bool
	err := i.Pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM callback_endpoints WHERE status <> 'off' AND account IN ('*', $1))", i.Account).Scan(&some)
	if err != nil {
		return fmt.Errorf("looking for callback endpoints: %w", err)
	}
	if !some {
		return errors.New("--deliver-pending has nobody to deliver to: set CALLBACK_WEBHOOK_URL, or add a receiver with `worker callbacks add`, and import again. Nothing was imported")
	}
	return nil
}

func (i *importer) deliverPending(ctx context.Context) error {
	const next = `
		SELECT response_id FROM ` + Schema + `.callbacks WHERE account = $1 GROUP BY response_id
		HAVING NOT bool_or(delivered) AND NOT bool_or(queued_at IS NOT NULL) ORDER BY response_id LIMIT $2`
	for {
		some, made := 0, int64(0)
		err := transact(ctx, i.Pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, next, i.Account, batchRows)
			if err != nil {
				return err
			}
			ids, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id uuid.UUID, err error) {
				err = row.Scan((*[16]byte)(&id))
				return id, err
			})
			if some = len(ids); err != nil || some == 0 {
				return err
			}
			if made, err = ingest.DeliverPast(ctx, tx, ids); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "UPDATE "+Schema+".callbacks SET queued_at = now() WHERE response_id = ANY ($1::uuid[])", uuids(ids))
			return err
		})
		if err != nil {
			return fmt.Errorf("making the deliveries of what was not delivered: %w", err)
		}
		if some == 0 {
			return nil
		}
		i.report.Queued += made
	}
}

// foresee counts the same in the seed's tables, of every answer with an id.
func (i *importer) foresee(ctx context.Context) error {
	s := i.source
	if s.columns["webhook_events"]["signature_valid"] == "" || s.columns["webhook_events"]["callback_sent"] == "" {
		return nil
	}
	stored, bare := "SELECT NULL::text AS wamid WHERE false", "SELECT NULL::text AS flow_token WHERE false"
	if s.columns["flow_responses"]["raw_webhook_payload"] != "" {
		from := " FROM " + s.name("flow_responses")
		stored = "SELECT DISTINCT raw_webhook_payload::jsonb ->> 'id' AS wamid" + from
		bare = "SELECT DISTINCT flow_token::text" + from + " WHERE raw_webhook_payload::jsonb ->> 'id' IS NULL AND flow_token NOT IN ('', 'unused')"
	}
	sql := `
		WITH messages AS (
			SELECT m.message ->> 'id' AS wamid, m.message -> 'interactive' -> 'nfm_reply' ->> 'response_json' AS response, coalesce(w.callback_sent, false) AS sent
			FROM ` + s.name("webhook_events") + ` w
			CROSS JOIN LATERAL jsonb_path_query(w.raw_payload::jsonb, '$.entry[*].changes[*].value.messages[*]') AS m(message)
			WHERE w.signature_valid AND m.message ->> 'id' <> '' AND m.message -> 'interactive' -> 'nfm_reply' ->> 'response_json' IS NOT NULL
				AND coalesce(m.message -> 'interactive' -> 'nfm_reply' ->> 'name', '') IN ('', 'flow')),
		replies AS ( -- a response may be no JSON; a token with escapes is looked for as it is
			SELECT *, substring(response FROM '"flow_token"\s*:\s*"([^"\\]*)"') AS token FROM messages),
		stored AS (` + stored + `),
		bare AS MATERIALIZED (` + bare + `), -- whose messages were not kept: their tokens tell
		answers AS (
			SELECT r.wamid, bool_or(r.sent) AS sent,
				bool_or(CASE WHEN s.wamid IS NOT NULL OR b.flow_token IS NOT NULL THEN true WHEN r.token IS NOT NULL THEN false
					ELSE EXISTS (SELECT FROM bare WHERE position('"' || bare.flow_token || '"' IN r.response) > 0) END) AS stored
			FROM replies r LEFT JOIN stored s ON s.wamid = r.wamid LEFT JOIN bare b ON b.flow_token = r.token GROUP BY r.wamid)
		SELECT count(*) FILTER (WHERE NOT stored), count(*) FILTER (WHERE NOT stored OR NOT sent) FROM answers`
	if err := s.tx.QueryRow(ctx, sql).Scan(&i.report.Found, &i.report.Undelivered); err != nil {
		return fmt.Errorf("counting what was not delivered: %w", err)
	}
	return nil
}
