package erase

import (
	"context"
	"fmt"
	"time"
)

// importSchema is where `worker import seed` leaves the tables of
// whatsapp-flows-server, and its ledger.
const importSchema = "seed"

// imported counts what an import left beside: it is not ours to change, and may
// be what the business keeps on purpose.
func (e *Eraser) imported(ctx context.Context, s *subject, report *Report) error {
	var sessions, answers, others bool
	err := e.Pool.QueryRow(ctx, `SELECT to_regclass($1 || '.flow_sessions') IS NOT NULL, to_regclass($1 || '.flow_responses') IS NOT NULL,
		to_regclass($1 || '.webhook_events') IS NOT NULL OR to_regclass($1 || '.imported') IS NOT NULL`, importSchema).Scan(&sessions, &answers, &others)
	if err != nil {
		return fmt.Errorf("looking for what an import left: %w", err)
	}
	var n int64
	for table, there := range map[string]bool{"flow_sessions": sessions, "flow_responses": answers} {
		if !there {
			continue
		}
		var rows int64
		err := e.Pool.QueryRow(ctx, "SELECT count(*) FROM "+importSchema+"."+table+" WHERE phone_number = ANY ($1) OR flow_token = ANY ($2)",
			keys(s.who.phones), keys(s.who.tokens)).Scan(&rows)
		if err != nil {
			return fmt.Errorf("counting what an import left: %w", err)
		}
		n += rows
	}
	if sessions || answers || others {
		report.remain("tables of whatsapp-flows-server in the schema "+importSchema, n, time.Time{},
			"an import left them as they were, with its webhooks, which were not searched: drop the schema once you no longer need it")
	}
	return nil
}
