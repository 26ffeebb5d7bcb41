package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// SubscribedApps lists the apps that get the webhooks of a WhatsApp Business
// Account.
func (c *Client) SubscribedApps(ctx context.Context, waba string) ([]Named, error) {
	if err := checkID("WhatsApp Business Account", waba); err != nil {
		return nil, err
	}
	type entry struct {
		App Named `json:"whatsapp_business_api_data"`
	}
	entries, err := list[entry](ctx, c, waba+"/subscribed_apps", nil)
	if err != nil {
		return nil, err
	}
	apps := make([]Named, len(entries))
	for i, e := range entries {
		apps[i] = e.App
	}
	return apps, nil
}

// SubscribeApp lets the token's app get the webhooks of a WhatsApp Business
// Account.
func (c *Client) SubscribeApp(ctx context.Context, waba string) error {
	if err := checkID("WhatsApp Business Account", waba); err != nil {
		return err
	}
	var done succeeded
	if err := c.postJSON(ctx, waba+"/subscribed_apps", nil, true, &done); err != nil {
		return err
	}
	return done.check("subscribing the app to the account " + waba)
}

// AccountObject is the object under which an app subscribes to what happens in
// WhatsApp Business Accounts.
const AccountObject = "whatsapp_business_account"

// Subscription is which fields of an object go to an app's webhook.
type Subscription struct {
	Object      string   `json:"object"`
	CallbackURL string   `json:"callback_url"`
	Active      bool     `json:"active"`
	Fields      []string `json:"-"`
}

// UnmarshalJSON takes fields as names, and as objects with a name and a version.
func (s *Subscription) UnmarshalJSON(text []byte) error {
	type plain Subscription
	var wire struct {
		plain
		Fields []json.RawMessage `json:"fields"`
	}
	if err := json.Unmarshal(text, &wire); err != nil {
		return err
	}
	*s = Subscription(wire.plain)
	for _, raw := range wire.Fields {
		var named struct {
			Name string `json:"name"`
		}
		var name string
		if json.Unmarshal(raw, &name) != nil {
			if err := json.Unmarshal(raw, &named); err != nil {
				return err
			}
			name = named.Name
		}
		s.Fields = append(s.Fields, name)
	}
	return nil
}

// AppToken is the token of an app itself, which the calls on its subscriptions
// want. It is as secret as the app secret.
func AppToken(app, secret string) string { return app + "|" + secret }

// Subscriptions lists what an app is subscribed to. The client's token must be
// an AppToken.
func (c *Client) Subscriptions(ctx context.Context, app string) ([]Subscription, error) {
	if err := checkID("app", app); err != nil {
		return nil, err
	}
	return list[Subscription](ctx, c, app+"/subscriptions", nil)
}

// Subscribe makes what happens in WhatsApp Business Accounts go to callbackURL,
// which Meta calls at once with verifyToken and which must answer. It replaces
// the fields the app was subscribed to. The client's token must be an AppToken.
func (c *Client) Subscribe(ctx context.Context, app, callbackURL, verifyToken string, fields []string) error {
	if err := checkID("app", app); err != nil {
		return err
	}
	form := url.Values{"object": {AccountObject}, "callback_url": {callbackURL}, "verify_token": {verifyToken}, "fields": {strings.Join(fields, ",")}, "include_values": {"true"}}
	var done succeeded
	if err := c.postForm(ctx, app+"/subscriptions", form, &done); err != nil {
		return err
	}
	return done.check(fmt.Sprintf("subscribing the app %s to %s", app, strings.Join(fields, ",")))
}

// TokenInfo is what Meta says of a token.
type TokenInfo struct {
	AppID       string `json:"app_id"`
	Application string `json:"application"`
	Type        string `json:"type"` // SYSTEM_USER, USER, APP
	Valid       bool   `json:"is_valid"`
	// Expires and DataExpires are in seconds since the Unix epoch; 0: never.
	Expires     int64    `json:"expires_at"`
	DataExpires int64    `json:"data_access_expires_at"`
	Scopes      []string `json:"scopes"`
	Granular    []struct {
		Scope   string   `json:"scope"`
		Targets []string `json:"target_ids"` // empty: all
	} `json:"granular_scopes"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Subcode int    `json:"subcode"`
	} `json:"error"`
}

// The scopes a token needs.
const (
	ScopeManagement = "whatsapp_business_management"
	ScopeMessaging  = "whatsapp_business_messaging"
)

// Lacks lists the scopes the token needs and has not.
func (t TokenInfo) Lacks() []string {
	return slices.DeleteFunc([]string{ScopeManagement, ScopeMessaging}, func(s string) bool { return slices.Contains(t.Scopes, s) })
}

// DebugToken asks what the client's own token is. Meta takes it in the query
// only: a proxy of META_GRAPH_URL must not log it.
func (c *Client) DebugToken(ctx context.Context) (TokenInfo, error) {
	var answer struct {
		Data TokenInfo `json:"data"`
	}
	err := c.get(ctx, "debug_token", url.Values{"input_token": {c.token}}, &answer)
	if e := answer.Data.Error; e != nil {
		e.Message = c.redact(e.Message)
	}
	return answer.Data, err
}
