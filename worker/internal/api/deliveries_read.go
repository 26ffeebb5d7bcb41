package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/deliveries"
)

const deliveryTag = "Deliveries"

func registerDeliveries(a *api) {
	register(a, readOperation("listDeliveries", "/api/deliveries", deliveryTag, "List deliveries",
		"What goes, or went, to callback endpoints, the latest created first: what is on its way and what is finished in one list."), Read, a.listDeliveries)
	register(a, readOperation("getDelivery", "/api/deliveries/{id}", deliveryTag, "Get a delivery",
		"With every attempt and the beginning of what the receiver answered."), Read, a.getDelivery)
	base := func(id, path, summary, text string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: "/api/deliveries/" + path, Tags: []string{deliveryTag},
			Summary: summary, Description: text, Errors: errs}
	}
	register(a, base("replayDelivery", "{id}/replay", "Send a delivery again",
		"One that is open is due now. A finished one is sent again under the same webhook-id, with the same body, and all its attempts before it."+aboutForeign, 409), Admin, a.replayDelivery)
	register(a, base("replayDeliveries", "replay", "Send many deliveries again",
		"Finished ones, the earliest first, spread over time and after what is live. Asked for once more, it goes on with what is left."+aboutForeign, 415), Admin, a.replayDeliveries)
	register(a, base("cancelDelivery", "{id}/cancel", "Cancel a delivery",
		"One that is open. An attempt that is under way is not called back."+aboutForeign, 409), Admin, a.cancelDelivery)
}

const aboutForeign = " What goes to an endpoint of every account, such as `env`, only a token of all accounts may send again or cancel."

// DeliveryFilter is what lists of deliveries can be narrowed by.
type DeliveryFilter struct {
	State     string `query:"state" enum:"due,leased,delivered,dead,cancelled" doc:"leased: being sent; dead: given up"`
	Endpoint  string `query:"endpoint" maxLength:"255" doc:"Name or id of the callback endpoint"`
	EventType string `query:"eventType" maxLength:"64" doc:"Such as flow.completed"`
	Flow      string `query:"flow" maxLength:"255" doc:"Name of the flow"`
	EventID   string `query:"eventId" format:"uuid" doc:"The webhook-id"`
	Since     moment `query:"since" doc:"Created at this time or later"`
	Until     moment `query:"until" doc:"Created before this time"`
}

func (in *DeliveryFilter) filter() (deliveries.Filter, error) {
	f := deliveries.Filter{State: in.State, Endpoint: in.Endpoint, EventType: in.EventType, Flow: in.Flow, Since: in.Since.time, Until: in.Until.time}
	_, errSpan := span(in.Since, in.Until)
	var errID error
	if in.EventID != "" {
		if f.EventID, errID = uuid.Parse(in.EventID); errID != nil {
			errID = badRequest("query.eventId is no id, expected a UUID")
		}
	}
	return f, errors.Join(checkTexts(in), errSpan, errID)
}

type listDeliveriesInput struct {
	Page
	DeliveryFilter
}

type deliveryPlace struct {
	ID uuid.UUID `json:"d"`
}

func (a *api) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*list[deliveries.Delivery], error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	var place deliveryPlace
	if further, err := in.after(&place); err != nil {
		return nil, err
	} else if further && place.ID == uuid.Nil {
		return nil, badCursor()
	}
	found, err := deliveries.List(ctx, a.Pool, deliveries.Scope{Accounts: a.accounts(ctx)}, f, place.ID, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return listed(in.Page, found, func(last deliveries.Delivery) any { return deliveryPlace{last.ID} }), nil
}

// DeliveryPath names a delivery.
type DeliveryPath struct {
	ID       string `path:"id" format:"uuid" doc:"Id of the delivery, or its webhook-id"`
	Endpoint string `query:"endpoint" maxLength:"255" doc:"With a webhook-id that went to several endpoints: which of them, by name or id"`
}

type getDeliveryInput struct {
	DeliveryPath
	ShowBody bool `query:"body" doc:"Also the beginning of what is sent: it holds personal data"`
}

// delivery finds the one that a path means. own leaves out what the token may
// only see.
func (a *api) delivery(ctx context.Context, path DeliveryPath, own bool) (*deliveries.Delivery, error) {
	id, err := recordPath{path.ID}.parse()
	if err != nil {
		return nil, err
	}
	if err := checkTexts(&path); err != nil {
		return nil, err
	}
	scope := deliveries.Scope{Accounts: a.accounts(ctx), Own: own && callOf(ctx).token.Accounts != nil}
	d, err := deliveries.Get(ctx, a.Pool, scope, id, path.Endpoint)
	return d, deliveryError(err, path.ID)
}

func (a *api) getDelivery(ctx context.Context, in *getDeliveryInput) (*answer[deliveries.Detail], error) {
	d, err := a.delivery(ctx, in.DeliveryPath, false)
	if err != nil {
		return nil, err
	}
	detail, err := deliveries.Show(ctx, a.Pool, d, in.ShowBody)
	if err != nil {
		return nil, err
	}
	return ok(*detail), nil
}

// deliveryError is an error of package deliveries as the API says it.
func deliveryError(err error, id string) error {
	var ambiguous *deliveries.AmbiguousError
	switch {
	case errors.Is(err, deliveries.ErrNotFound):
		return notFound("There is no delivery %s", id)
	case errors.As(err, &ambiguous):
		return conflict("The webhook-id %s went to several endpoints: add ?endpoint= with one of them", id).with(ambiguous.Endpoints)
	case errors.Is(err, deliveries.ErrEndpointGone), errors.Is(err, deliveries.ErrOff), errors.Is(err, deliveries.ErrSuperseded), errors.Is(err, deliveries.ErrFinished):
		return conflict("Delivery %s: %s", id, err.Error())
	}
	return err
}
