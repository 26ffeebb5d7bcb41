package graphtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// request is a call that is being answered; s.mu is held meanwhile.
type request struct {
	*Server
	Call
	token Token
	key   string // the token itself
	head  http.Header
}

// route finds the endpoint.
func (r request) route() (any, error) {
	if r.Path == "debug_token" {
		return r.debugToken()
	}
	id, edge, _ := strings.Cut(r.Path, "/")
	var endpoint func() (any, error)
	switch {
	case r.accounts[id] != nil:
		a := r.accounts[id]
		if r.token.Accounts != nil && !slices.Contains(r.token.Accounts, id) {
			break
		}
		endpoint = map[string]func() (any, error){
			"GET ": r.account(a), "GET phone_numbers": r.listNumbers(a), "GET flows": r.listFlows(a), "POST flows": r.createFlow(a),
			"GET subscribed_apps": r.subscribedApps(a), "POST subscribed_apps": r.subscribe(a),
		}[r.Method+" "+edge]
	case r.numbers[id] != nil:
		n := r.numbers[id]
		endpoint = map[string]func() (any, error){
			"GET ": r.number(n), "GET whatsapp_business_encryption": r.getKey(n), "POST whatsapp_business_encryption": r.setKey(n),
			"POST messages": r.send(n),
		}[r.Method+" "+edge]
	case r.flows[id] != nil:
		f := r.flows[id]
		if r.token.Accounts != nil && !slices.Contains(r.token.Accounts, f.account.ID) {
			break
		}
		endpoint = map[string]func() (any, error){
			"GET ": r.flow(f), "POST ": r.updateFlow(f), "GET assets": r.assets(f), "POST assets": r.upload(f),
			"POST publish": r.publish(f), "POST deprecate": r.deprecate(f),
		}[r.Method+" "+edge]
	case r.apps[id] != nil:
		a := r.apps[id]
		endpoint = map[string]func() (any, error){"GET subscriptions": r.subscriptions(a), "POST subscriptions": r.subscribeFields(a)}[r.Method+" "+edge]
	}
	if endpoint == nil {
		return nil, &refused{status: 400, code: 100, subcode: 33, message: fmt.Sprintf("Unsupported %s request. Object with ID '%s' does not exist, cannot be loaded due to missing permissions, or does not support this operation", strings.ToLower(r.Method), id)}
	}
	return endpoint()
}

// needs refuses a token without a scope.
func (r request) needs(scope string) error {
	if !slices.Contains(r.token.Scopes, scope) {
		return &refused{status: 403, code: 200, message: "(#200) You do not have the necessary permissions required to call this API: " + scope}
	}
	return nil
}

// parameters refuses other parameters in the query, and a body of another type
// or, if kind is empty, any.
func (r request) parameters(kind string, allowed ...string) error {
	for name := range r.Query {
		if !slices.Contains(allowed, name) {
			return bad("unexpected parameter %s", name)
		}
	}
	if r.Kind != kind || kind == "" && len(r.Body) > 0 {
		return bad("the body is of the type %q, expected %q", r.Kind, kind)
	}
	return nil
}

// object decodes a body of JSON without keys that v has not.
func (r request) object(v any) error {
	if err := r.parameters("application/json"); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return bad("the body: %v", err)
	}
	return nil
}

// form decodes a body that is urlencoded.
func (r request) form(allowed ...string) (url.Values, error) {
	if err := r.parameters("application/x-www-form-urlencoded"); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return nil, bad("the body: %v", err)
	}
	for name := range values {
		if !slices.Contains(allowed, name) {
			return nil, bad("unexpected parameter %s", name)
		}
	}
	return values, nil
}

// pick keeps the fields that were asked for, and id, as Meta does.
func (r request) pick(all map[string]any, node string) (map[string]any, error) {
	picked := map[string]any{"id": all["id"]}
	for _, name := range strings.Split(r.Query.Get("fields"), ",") {
		if name == "" {
			continue
		}
		value, known := all[name]
		if !known {
			return nil, bad("Tried accessing nonexisting field (%s) on node type (%s)", name, node)
		}
		if value != nil {
			picked[name] = value
		}
	}
	return picked, nil
}

// page is one page of a list, with Meta's cursors.
func page[T any](r request, all []T) (any, error) {
	limit, after := 25, 0
	if text := r.Query.Get("limit"); text != "" {
		if _, err := fmt.Sscan(text, &limit); err != nil || limit < 1 {
			return nil, bad("limit is %q", text)
		}
	}
	if r.PageSize > 0 {
		limit = min(limit, r.PageSize)
	}
	if text := r.Query.Get("after"); text != "" {
		if _, err := fmt.Sscanf(text, "cursor%d", &after); err != nil || after > len(all) {
			return nil, bad("the cursor after is %q", text)
		}
	}
	end := min(after+limit, len(all))
	answer := map[string]any{"data": all[after:end]}
	if end > after {
		paging := map[string]any{"cursors": map[string]string{"before": fmt.Sprintf("cursor%d", after), "after": fmt.Sprintf("cursor%d", end)}}
		if end < len(all) {
			paging["next"] = fmt.Sprintf("%s/%s/%s?access_token=%s&after=cursor%d", r.URL(), r.Version, r.Path, url.QueryEscape(r.key), end)
		}
		answer["paging"] = paging
	}
	return answer, nil
}
