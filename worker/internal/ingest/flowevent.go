package ingest

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/webhook"
)

// flowEvent is what Meta reports of a flow: a change of the webhook field flows.
type flowEvent struct {
	id      uuid.UUID
	account string
	waba    string
	at      time.Time // Meta's, else the edge's
	value   string    // JSON as it came
	*webhook.FlowEvent
}

func newFlowEvent(c *webhook.Change, account string, received time.Time) *flowEvent {
	e := &flowEvent{id: newID(), account: account, waba: cut(clean(c.WABA), longestID), at: received, value: "{}", FlowEvent: c.Flow}
	if at, ok := c.Time.Time(); ok {
		e.at = at
	}
	return e
}

// keepValues gives each flow event its bytes. Those that Postgres' JSON parser
// would refuse are in the raw webhook only.
func (h *hook) keepValues() {
	for i, value := range webhook.ReadElements(h.body).Flows {
		if i == len(h.flowEvents) {
			return
		}
		if storable := clean(string(value)); isJSON(storable) {
			h.flowEvents[i].value = storable
		}
	}
}

func isJSON(s string) bool {
	is, _ := kindOfJSON([]byte(s))
	return is
}

func (r rows) queueFlowEvents(b *pgx.Batch) {
	type placed struct {
		*flowEvent
		hook     *hook
		position int32
	}
	var all []placed
	for _, h := range r.hooks {
		for i, e := range h.flowEvents {
			all = append(all, placed{e, h, int32(i)}) //nolint:gosec // a body of 4 MiB has no more
		}
	}
	if len(all) == 0 {
		return
	}
	words := func(of func(placed) string) []pgtype.Text {
		return column(all, func(e placed) pgtype.Text { return text(cut(clean(of(e)), 1000)) })
	}
	number := func(of func(placed) *float64) []pgtype.Float8 {
		return column(all, func(e placed) pgtype.Float8 {
			if n := of(e); n != nil {
				return pgtype.Float8{Float64: *n, Valid: true}
			}
			return pgtype.Float8{}
		})
	}
	b.Queue(insertFlowEvents,
		column(all, func(e placed) pgtype.UUID { return id(e.id) }),
		column(all, func(e placed) string { return e.account }),
		column(all, func(e placed) pgtype.UUID { return id(e.hook.id) }),
		column(all, func(e placed) time.Time { return e.hook.at }),
		column(all, func(e placed) int32 { return e.position }),
		column(all, func(e placed) time.Time { return e.at }),
		words(func(e placed) string { return e.waba }),
		words(func(e placed) string { return e.FlowID }),
		column(all, func(e placed) string { return cut(clean(e.Event), 100) }),
		words(func(e placed) string { return e.Message }),
		words(func(e placed) string { return e.Warning }),
		words(func(e placed) string { return e.OldStatus }),
		words(func(e placed) string { return e.NewStatus }),
		words(func(e placed) string { return e.AlertState }),
		number(func(e placed) *float64 { return e.Threshold }),
		number(func(e placed) *float64 { return e.ErrorRate }),
		number(func(e placed) *float64 { return e.Availability }),
		number(func(e placed) *float64 { return e.P50Latency }),
		number(func(e placed) *float64 { return e.P90Latency }),
		column(all, func(e placed) pgtype.Int8 {
			if n := e.RequestsCount; n != nil && *n >= 0 && *n < 1<<53 {
				return pgtype.Int8{Int64: int64(*n), Valid: true}
			}
			return pgtype.Int8{}
		}),
		column(all, func(e placed) string { return e.value }))
}
