package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
)

// receivers looks at how the receivers of callbacks do. Their URLs, which often
// are secrets, are not shown.
func receivers(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	rows, err := pool.Query(ctx, "SELECT account, name, status, coalesce(status_reason, ''), failing_since IS NOT NULL FROM callback_endpoints ORDER BY account, name")
	if err != nil {
		return unasked(Callbacks, err)
	}
	var account, name, status, reason string
	var failing bool
	var all, disabled, suffering []string
	_, err = pgx.ForEachRow(rows, []any{&account, &name, &status, &reason, &failing}, func() error {
		label := account + "/" + name
		all = append(all, label+" "+status)
		switch {
		case status == "disabled":
			disabled = append(disabled, fmt.Sprintf("%s is disabled: %s", label, reason))
		case status == "active" && failing:
			suffering = append(suffering, label+" fails")
		}
		return nil
	})
	switch {
	case err != nil:
		return unasked(Callbacks, err)
	case len(disabled) > 0:
		return doctor.Failed(Callbacks, strings.Join(append(disabled, suffering...), "; "), "nothing is sent to it; deliveries wait", "mend the receiver, then `worker callbacks resume NAME`")
	case len(suffering) > 0:
		return doctor.Warned(Callbacks, strings.Join(suffering, "; "), "deliveries are tried again for days, then the receiver is disabled", "see why with `worker deliveries list`, and try it with `worker callbacks test NAME`")
	case len(all) == 0:
		return doctor.Skip(Callbacks, "none: answers are stored and nothing is delivered")
	}
	return doctor.Fine(Callbacks, "%s", strings.Join(all, ", "))
}

// lateAfter is how long a delivery to a healthy receiver may be due.
const lateAfter = 5 * time.Minute

// queue looks at what is due to receivers that take it.
func queue(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var open int
	var seconds float64
	err := pool.QueryRow(ctx, `SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(d.run_at) FILTER (
			WHERE d.state = 'due' AND NOT d.replay AND e.status = 'active' AND e.failing_since IS NULL AND d.run_at < clock_timestamp())), 0)::float8
		FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id`).Scan(&open, &seconds)
	if err != nil {
		return unasked(Queue, err)
	}
	late := time.Duration(seconds * float64(time.Second))
	evidence := fmt.Sprintf("%d open deliveries", open)
	if late >= lateAfter {
		return doctor.Warned(Queue, fmt.Sprintf("%s, one to a healthy receiver is late by %s", evidence, late.Round(time.Second)), "callbacks come late",
			"start a worker, or another one; is the receiver slow (`worker deliveries list`)?")
	}
	return doctor.Fine(Queue, "%s, none of them late", evidence)
}

func deadEntries(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var n int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM dead_entries WHERE requeued_at IS NULL").Scan(&n); err != nil {
		return unasked(DeadEntries, err)
	}
	if n > 0 {
		return doctor.Warned(DeadEntries, fmt.Sprintf("%d entries could not be stored", n), "what is in them is kept, but in no table", "see why with `worker dead list`, then `worker dead requeue`")
	}
	return doctor.Fine(DeadEntries, "none")
}

// tokens looks for flows that were sent without a token of their own in the last
// week: all users of them share one, so their answers cannot be told apart.
func tokens(ctx context.Context, pool *pgxpool.Pool) doctor.Finding {
	var without, all int
	err := pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE token_hash IS NULL), count(*)
		FROM flow_steps WHERE kind <> 'client_error' AND at > now() - interval '7 days'`).Scan(&without, &all)
	if err != nil {
		return unasked(UnusedTokens, err)
	}
	if without > 0 {
		return doctor.Warned(UnusedTokens, fmt.Sprintf("%d of %d steps of the last week came with the token `unused`, or none", without, all),
			"such users have no session: what they fill in on several screens is not kept together, and an answer cannot be tied to its message", "send each message with a flow_token of its own: `worker meta send` does")
	}
	return doctor.Fine(UnusedTokens, "all %d steps of the last week had a token", all)
}
