package api

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
)

type deliveryPathInput struct{ DeliveryPath }

func (a *api) replayDelivery(ctx context.Context, in *deliveryPathInput) (*answer[deliveries.Delivery], error) {
	return a.changeDelivery(ctx, in.DeliveryPath, func(d *deliveries.Delivery) error { return deliveries.Again(ctx, a.Pool, d) })
}

func (a *api) cancelDelivery(ctx context.Context, in *deliveryPathInput) (*answer[deliveries.Delivery], error) {
	return a.changeDelivery(ctx, in.DeliveryPath, func(d *deliveries.Delivery) error { return deliveries.Cancel(ctx, a.Pool, d) })
}

// changeDelivery answers with the delivery as it is after do.
func (a *api) changeDelivery(ctx context.Context, path DeliveryPath, do func(*deliveries.Delivery) error) (*answer[deliveries.Delivery], error) {
	d, err := a.delivery(ctx, path, true)
	if err != nil {
		return nil, err
	}
	a.note(ctx, zap.Stringer("delivery", d.ID), zap.String("callback", d.Endpoint))
	if err := do(d); err != nil {
		return nil, deliveryError(err, path.ID)
	}
	d, err = a.delivery(ctx, DeliveryPath{ID: d.ID.String()}, true)
	if err != nil {
		return nil, err
	}
	return ok(*d), nil
}

// ReplayInput says which deliveries are sent again.
type ReplayInput struct {
	State     string  `json:"state,omitempty" enum:"dead,delivered,cancelled" default:"dead"`
	Endpoint  string  `json:"endpoint,omitempty" maxLength:"255" doc:"Name or id of the callback endpoint; left out: every one"`
	EventType string  `json:"eventType,omitempty" maxLength:"64"`
	Flow      string  `json:"flow,omitempty" maxLength:"255"`
	EventID   string  `json:"eventId,omitempty" format:"uuid" doc:"The webhook-id"`
	Since     moment  `json:"since,omitempty" doc:"Created at this time or later"`
	Until     moment  `json:"until,omitempty" doc:"Created before this time"`
	Limit     int     `json:"limit,omitempty" minimum:"1" maximum:"1000000" default:"10000" doc:"Most of them"`
	Rate      float64 `json:"rate,omitempty" minimum:"0.001" maximum:"10000" default:"50" doc:"Most that become due in a second for one endpoint; a lower rateLimit of the endpoint counts"`
	DryRun    bool    `json:"dryRun,omitempty" doc:"Only count them"`

	FinishedBefore moment `json:"finishedBefore,omitempty" doc:"Finished before this time; left out: now. To go on with a replay, that of its answer, so that nothing is sent twice"`
}

type replayInput struct{ Body ReplayInput }

// Replayed is what a replay did, or would do.
type Replayed struct {
	Count     int        `json:"count" doc:"Deliveries that are sent again, or would be"`
	More      bool       `json:"more" doc:"There are more: ask once more, with finishedBefore as it is here"`
	LastRunAt *Timestamp `json:"lastRunAt" doc:"When the last of them becomes due"`
	DryRun    bool       `json:"dryRun"`

	FinishedBefore Timestamp `json:"finishedBefore" doc:"Those were left out that finished at this time or later"`
}

func (a *api) replayDeliveries(ctx context.Context, in *replayInput) (*answer[Replayed], error) {
	b := &in.Body
	query := DeliveryFilter{State: b.State, Endpoint: b.Endpoint, EventType: b.EventType, Flow: b.Flow, EventID: b.EventID, Since: b.Since, Until: b.Until}
	f, err := query.filter()
	if err != nil {
		return nil, err
	}
	r := deliveries.Replay{Filter: f, Rate: b.Rate, Limit: b.Limit, DryRun: b.DryRun, FinishedBefore: b.FinishedBefore.time}
	if math.IsNaN(r.Rate) || r.Rate <= 0 {
		r.Rate = deliveries.DefaultRate
	}
	scope := deliveries.Scope{Accounts: a.accounts(ctx), Own: callOf(ctx).token.Accounts != nil}
	done, err := r.Run(ctx, a.Pool, scope)
	a.note(ctx, zap.Int("deliveries", done.Count), zap.String("callback", f.Endpoint), zap.String("state", f.State), zap.Bool("dry_run", b.DryRun))
	if err != nil && done.Count == 0 {
		return nil, err
	}
	out := Replayed{Count: done.Count, More: done.More, DryRun: b.DryRun, FinishedBefore: Timestamp(done.FinishedBefore)}
	if err != nil {
		// What is put back is put back: the client is told, and asks once more.
		a.Log.Error("a replay broke off", zap.Int("deliveries", done.Count), zap.Error(storeError(err)))
		out.More = true
	}
	if !done.LastRunAt.Equal(time.Time{}) {
		out.LastRunAt = optionalTime(&done.LastRunAt)
	}
	return ok(out), nil
}
