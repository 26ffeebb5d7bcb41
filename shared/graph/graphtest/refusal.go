package graphtest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// refused is an answer in Meta's form of an error.
type refused struct {
	status, code, subcode int
	message               string
	details               string
	transient             bool
}

func (r *refused) Error() string { return r.message }

func bad(format string, args ...any) error {
	return &refused{status: 400, code: 100, message: "(#100) " + fmt.Sprintf(format, args...)}
}

func writeError(w http.ResponseWriter, r *refused) {
	e := map[string]any{"message": r.message, "type": "OAuthException", "code": r.code, "fbtrace_id": "Atrace"}
	if r.subcode != 0 {
		e["error_subcode"] = r.subcode
	}
	if r.transient {
		e["is_transient"] = true
	}
	if r.details != "" {
		e["error_data"] = map[string]string{"messaging_product": "whatsapp", "details": r.details}
	}
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(map[string]any{"error": e}) //nolint:errcheck // the client went away
}
