package graphtest

import (
	"encoding/pem"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// account is a WhatsApp Business Account.
type account struct {
	ID         string
	health     graph.Health
	numbers    []*number
	flows      []*flow
	subscribed []string // ids of apps
}

type number struct {
	graph.Number
	key     graph.PublicKey
	health  graph.Health
	account *account
}

// app is a Meta app.
type app struct {
	graph.Named
	Secret        string
	subscriptions []graph.Subscription
	verifyToken   string
}

// AddAccount adds a WhatsApp Business Account that is healthy.
func (s *Server) AddAccount(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[id] = &account{ID: id, health: healthy("WABA", id)}
}

func healthy(kind, id string) graph.Health {
	return graph.Health{CanSend: graph.Available, Entities: []graph.Entity{{Type: kind, ID: id, CanSend: graph.Available}}}
}

// AddNumber adds a phone number to an account: what n leaves out is as that of a
// number in order.
func (s *Server) AddNumber(accountID string, n graph.Number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for field, usual := range map[*string]string{&n.Verification: "VERIFIED", &n.Quality: "GREEN", &n.Platform: "CLOUD_API", &n.Status: "CONNECTED", &n.NameStatus: "APPROVED", &n.Name: "Shop", &n.Display: "+1 555-078-3881"} {
		if *field == "" {
			*field = usual
		}
	}
	a := s.accounts[accountID]
	added := &number{Number: n, account: a, health: healthy("PHONE_NUMBER", n.ID)}
	a.numbers = append(a.numbers, added)
	s.numbers[n.ID] = added
}

// SetKey sets a number's public key from outside.
func (s *Server) SetKey(numberID string, key graph.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[numberID].key = key
}

// Key is a number's public key.
func (s *Server) Key(numberID string) graph.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.numbers[numberID].key
}

// SetHealth sets the health of an account, number or flow.
func (s *Server) SetHealth(id string, h graph.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.accounts[id] != nil:
		s.accounts[id].health = h
	case s.numbers[id] != nil:
		s.numbers[id].health = h
	default:
		s.flows[id].Health = h
	}
}

// AddApp adds an app. verifyToken is what its webhook answers to.
func (s *Server) AddApp(id, name, secret, verifyToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[id] = &app{Named: graph.Named{ID: id, Name: name}, Secret: secret, verifyToken: verifyToken}
}

// SetSubscription subscribes an app to fields from outside.
func (s *Server) SetSubscription(appID string, sub graph.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[appID].subscriptions = []graph.Subscription{sub}
}

// SubscribedApps are the ids of the apps an account is subscribed to.
func (s *Server) SubscribedApps(accountID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accounts[accountID].subscribed)
}

// Subscriptions are what an app is subscribed to.
func (s *Server) Subscriptions(appID string) []graph.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.apps[appID].subscriptions)
}

func (r request) account(a *account) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "fields")); err != nil {
			return nil, err
		}
		return r.pick(map[string]any{"id": a.ID, "health_status": a.health}, "WhatsAppBusinessAccount")
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *number) fields() map[string]any {
	return map[string]any{"id": n.ID, "display_phone_number": n.Display, "verified_name": n.Name, "code_verification_status": n.Verification,
		"quality_rating": n.Quality, "platform_type": n.Platform, "status": n.Status, "name_status": n.NameStatus, "health_status": n.health}
}

func (r request) number(n *number) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "fields")); err != nil {
			return nil, err
		}
		return r.pick(n.fields(), "WhatsAppBusinessPhoneNumber")
	}
}

func (r request) listNumbers(a *account) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "fields", "limit", "after")); err != nil {
			return nil, err
		}
		all := []map[string]any{}
		for _, n := range a.numbers {
			picked, err := r.pick(n.fields(), "WhatsAppBusinessPhoneNumber")
			if err != nil {
				return nil, err
			}
			all = append(all, picked)
		}
		return page(r, all)
	}
}

func (r request) getKey(n *number) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeMessaging), r.parameters("")); err != nil {
			return nil, err
		}
		if n.key.PEM == "" {
			return map[string]any{}, nil
		}
		return n.key, nil
	}
}

func (r request) setKey(n *number) func() (any, error) {
	return func() (any, error) {
		form, err := r.form("business_public_key")
		if err := first(r.needs(graph.ScopeMessaging), err); err != nil {
			return nil, err
		}
		text := form.Get("business_public_key")
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, bad("Param business_public_key must be a valid 2048-bit RSA public key in PEM format.")
		}
		n.key = graph.PublicKey{PEM: text, Signature: graph.SignatureValid}
		return done, nil
	}
}

func (r request) subscribedApps(a *account) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("", "limit", "after")); err != nil {
			return nil, err
		}
		all := []any{}
		for _, id := range a.subscribed {
			named := graph.Named{ID: id}
			if known := r.apps[id]; known != nil {
				named.Name = known.Name
			}
			all = append(all, map[string]any{"whatsapp_business_api_data": named})
		}
		return page(r, all)
	}
}

func (r request) subscribe(a *account) func() (any, error) {
	return func() (any, error) {
		if err := first(r.needs(graph.ScopeManagement), r.parameters("")); err != nil {
			return nil, err
		}
		if !slices.Contains(a.subscribed, r.token.AppID) {
			a.subscribed = append(a.subscribed, r.token.AppID)
		}
		return done, nil
	}
}

// own refuses all but the app's own token.
func (r request) own(a *app) error {
	if r.key != graph.AppToken(a.ID, a.Secret) {
		return &refused{status: 400, code: 15, message: "(#15) This method must be called with an app access_token."}
	}
	return nil
}

func (r request) subscriptions(a *app) func() (any, error) {
	return func() (any, error) {
		if err := first(r.own(a), r.parameters("", "limit", "after")); err != nil {
			return nil, err
		}
		all := []any{}
		for _, s := range a.subscriptions {
			fields := []any{}
			for _, name := range s.Fields {
				fields = append(fields, map[string]string{"name": name, "version": r.Version})
			}
			all = append(all, map[string]any{"object": s.Object, "callback_url": s.CallbackURL, "active": s.Active, "fields": fields})
		}
		return page(r, all)
	}
}

// fieldNames are some that an app may subscribe to.
var fieldNames = []string{"messages", "flows", "account_update", "account_alerts", "phone_number_quality_update", "message_template_status_update"}

func (r request) subscribeFields(a *app) func() (any, error) {
	return func() (any, error) {
		form, err := r.form("object", "callback_url", "verify_token", "fields", "include_values")
		if err := first(r.own(a), err); err != nil {
			return nil, err
		}
		fields := strings.Split(form.Get("fields"), ",")
		switch unknown := slices.IndexFunc(fields, func(f string) bool { return !slices.Contains(fieldNames, f) }); {
		case form.Get("object") != graph.AccountObject:
			return nil, bad("Param object must be one of {whatsapp_business_account}")
		case unknown >= 0:
			return nil, bad("Param fields must be one of {%s}", strings.Join(fieldNames, ", "))
		case !strings.HasPrefix(form.Get("callback_url"), "https://"):
			return nil, bad("callback_url must be https")
		case form.Get("verify_token") != a.verifyToken:
			return nil, &refused{status: 400, code: 2200, message: "(#2200) Callback verification failed with the following errors: HTTP Status Code = 403"}
		}
		a.subscriptions = []graph.Subscription{{Object: graph.AccountObject, CallbackURL: form.Get("callback_url"), Active: true, Fields: fields}}
		return done, nil
	}
}

func (r request) debugToken() (any, error) {
	if err := r.parameters("", "input_token"); err != nil {
		return nil, err
	}
	token, known := r.tokens[r.Query.Get("input_token")]
	if !known {
		return map[string]any{"data": map[string]any{"is_valid": false, "scopes": []string{}, "error": map[string]any{"code": 190, "message": "Invalid OAuth access token"}}}, nil
	}
	data := map[string]any{"app_id": token.AppID, "type": "SYSTEM_USER", "is_valid": !token.Invalid, "expires_at": token.Expires,
		"data_access_expires_at": 0, "scopes": token.Scopes}
	if a := r.apps[token.AppID]; a != nil {
		data["application"] = a.Name
	}
	granular := []any{}
	for _, scope := range token.Scopes {
		granular = append(granular, map[string]any{"scope": scope, "target_ids": token.Accounts})
	}
	data["granular_scopes"] = granular
	return map[string]any{"data": data}, nil
}
