package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// WantedFields are those of which the edge stores what comes.
var WantedFields = []string{"messages", "flows"}

// Subscriber makes webhooks of an account come to the edge.
type Subscriber struct {
	Graph   *graph.Client
	Account string
	App     string // empty: that of the token

	// Own calls with the app's own token; nil leaves the app's fields alone.
	Own func(app string) (*graph.Client, error)
	// CallbackURL is where the edge takes webhooks; empty: as it is.
	CallbackURL string
	VerifyToken string
	// Replace takes the app's webhooks away from another URL.
	Replace bool
	DryRun  bool
}

// Subscribed is what was found and done.
type Subscribed struct {
	App         string   `json:"app"`
	Account     string   `json:"waba_id"`
	CallbackURL string   `json:"callback_url,omitempty"`
	Fields      []string `json:"fields,omitempty"` // afterwards
	Done        []string `json:"done"`
	Notes       []string `json:"notes,omitempty"`
}

// Subscribe does what is missing; done twice it does nothing.
func (s *Subscriber) Subscribe(ctx context.Context) (Subscribed, error) {
	r := Subscribed{Account: s.Account, Done: []string{}}
	info, err := s.Graph.DebugToken(ctx)
	if err != nil {
		return r, err
	}
	r.App = info.AppID
	if s.App != "" && s.App != info.AppID {
		return r, fmt.Errorf("the access token is of the app %s, but META_APP_ID is %s: an app subscribes only itself, so take the token of that app", info.AppID, s.App)
	}
	apps, err := s.Graph.SubscribedApps(ctx, s.Account)
	if err != nil {
		return r, err
	}
	if !slices.ContainsFunc(apps, func(a graph.Named) bool { return a.ID == r.App }) {
		if !s.DryRun {
			if err := s.Graph.SubscribeApp(ctx, s.Account); err != nil {
				return r, err
			}
		}
		r.Done = append(r.Done, fmt.Sprintf("subscribe the app %s to the account %s", r.App, s.Account))
	}
	if s.Own == nil {
		r.Notes = append(r.Notes, "the app's own fields were not looked at: "+strings.Join(WantedFields, " and ")+" must be subscribed in the app's settings, WhatsApp, Configuration")
		return r, nil
	}
	own, err := s.Own(r.App)
	if err != nil {
		return r, err
	}
	return r, s.fields(ctx, own, &r)
}

// fields subscribes the app to what is missing, and keeps what it had.
func (s *Subscriber) fields(ctx context.Context, own *graph.Client, r *Subscribed) error {
	have, err := s.subscription(ctx, own, r.App)
	if err != nil {
		return err
	}
	r.CallbackURL, r.Fields = have.CallbackURL, have.Fields
	var missing []string
	for _, field := range WantedFields {
		if !slices.Contains(have.Fields, field) {
			missing = append(missing, field)
		}
	}
	url := have.CallbackURL
	if s.CallbackURL != "" {
		url = s.CallbackURL
	}
	switch {
	case len(missing) == 0 && have.Active && url == have.CallbackURL:
		return nil
	case url == "":
		return errors.New("the app has no webhook yet: say where the edge takes it with --callback-url https://flows.example.com/webhooks/whatsapp")
	case have.CallbackURL != "" && url != have.CallbackURL && !s.Replace:
		return fmt.Errorf("the app's webhooks go to %s, and an app has one URL: --replace takes them from there", have.CallbackURL)
	case s.VerifyToken == "":
		return errors.New("neither META_VERIFY_TOKEN nor META_VERIFY_TOKEN_FILE is set: Meta calls the webhook with it before it subscribes, so set the one of the edge")
	}
	fields := append(slices.Clone(have.Fields), missing...)
	if !s.DryRun {
		if err := own.Subscribe(ctx, r.App, url, s.VerifyToken, fields); err != nil {
			return fmt.Errorf("is the edge reached at %s, with the same verify token? %w", url, err)
		}
		after, err := s.subscription(ctx, own, r.App)
		if err != nil {
			return err
		}
		r.CallbackURL, r.Fields = after.CallbackURL, after.Fields
		for _, field := range WantedFields {
			if !slices.Contains(after.Fields, field) {
				return fmt.Errorf("after the subscription Meta still does not list the field %s: look into the app's settings, WhatsApp, Configuration", field)
			}
		}
	}
	r.Done = append(r.Done, fmt.Sprintf("subscribe the app %s to %s at %s", r.App, strings.Join(fields, ", "), url))
	return nil
}

func (s *Subscriber) subscription(ctx context.Context, own *graph.Client, app string) (graph.Subscription, error) {
	all, err := own.Subscriptions(ctx, app)
	if err != nil {
		return graph.Subscription{}, err
	}
	i := slices.IndexFunc(all, func(s graph.Subscription) bool { return s.Object == graph.AccountObject })
	if i < 0 {
		return graph.Subscription{}, nil
	}
	return all[i], nil
}
