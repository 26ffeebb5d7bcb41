package api

import (
	"net/http"
	"slices"
)

// cors answers browsers' questions whether a page of another origin may call.
// Without origins it says nothing, and browsers refuse.
func (a *api) cors(next http.Handler) http.Handler {
	if len(a.Origins) == 0 {
		return next
	}
	everyone := slices.Contains(a.Origins, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, h := r.Header.Get("Origin"), w.Header()
		allowed := origin != "" && (everyone || slices.Contains(a.Origins, origin))
		if everyone {
			h.Set("Access-Control-Allow-Origin", "*") // browsers send no credentials then
		} else {
			h.Add("Vary", "Origin")
			if allowed {
				h.Set("Access-Control-Allow-Origin", origin)
				h.Set("Access-Control-Allow-Credentials", "true")
			}
		}
		if r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != "" {
			if allowed {
				h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, If-None-Match")
				h.Set("Access-Control-Max-Age", "600")
			}
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if allowed {
			h.Set("Access-Control-Expose-Headers", "ETag, Location, Allow, Retry-After, Content-Disposition")
		}
		next.ServeHTTP(w, r)
	})
}
