package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI adds to Caddy's admin API what `caddy whatsapp-flows keys` asks a
// running edge:
//
//	GET  /whatsapp_flows/keys    the keys of each account and what they are used for
//	POST /whatsapp_flows/reload  secrets and keys are read anew
//
// Neither tells anything secret. Caddy makes it before the apps, so it asks for
// them when it is asked.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.whatsapp_flows", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the routes of the admin API.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/whatsapp_flows/keys", Handler: answering(http.MethodGet, func() (any, error) { return reportKeys(time.Now()) })},
		{Pattern: "/whatsapp_flows/reload", Handler: answering(http.MethodPost, func() (any, error) { return reloadCredentials() })},
	}
}

// answering is a handler of one method that answers JSON.
func answering(method string, answer func() (any, error)) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			w.Header().Set("Allow", method)
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s is not allowed, expected %s", r.Method, method)}
		}
		found, err := answer()
		if errors.Is(err, errNotServing) {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
		}
		if err != nil {
			// The operator's own files: what is wrong with them is no secret.
			return caddy.APIError{HTTPStatus: http.StatusUnprocessableEntity, Err: err}
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(found)
	})
}

// Interface guards
var _ caddy.AdminRouter = (*adminAPI)(nil)
