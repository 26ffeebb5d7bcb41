package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// tokenKeys are the tokens' hashes: comparing those takes the same time however
// much of a token is right, and whatever its length.
type tokenKeys [][sha256.Size]byte

func hashTokens(tokens []settings.APIToken) tokenKeys {
	keys := make(tokenKeys, len(tokens))
	for i, t := range tokens {
		keys[i] = sha256.Sum256([]byte(t.Secret))
	}
	return keys
}

// find returns the place of a token, or -1. It compares all of them.
func (k tokenKeys) find(token string) int {
	given, found := sha256.Sum256([]byte(token)), -1
	for i := range k {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(k[i][:], given[:]), i, found)
	}
	return found
}

type contextKey int

const (
	tokenKey contextKey = iota
	callKey
)

// authenticate lets nobody without a token through to next.
func (a *api) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(a.keys) == 0 {
			newProblem(http.StatusForbidden, "API_DISABLED",
				"The API is off because no token is set: give the worker API_TOKEN or API_TOKENS").write(w)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
			a.refused(noToken, nil)
			unauthorized("Authentication token required: send the header Authorization: Bearer <token>").write(w)
			return
		}
		i := a.keys.find(token)
		if i < 0 {
			a.refused(wrongToken, nil)
			unauthorized("Invalid authentication token").write(w)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey, &a.Tokens[i])))
	})
}

// accountFilter is a list of accounts; nil means all. As an argument of SQL:
// ($1::text[] IS NULL OR account = ANY ($1)).
type accountFilter []string

// call is what is known of one request.
type call struct {
	token    *settings.APIToken
	asked    string // account that the request names; empty if none
	accounts accountFilter
	notes    []zap.Field
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey).(*call) }

// accounts are those the request is about: the one it names, else all that its
// token may see.
func (a *api) accounts(ctx context.Context) accountFilter { return callOf(ctx).accounts }

// account is the one a write goes to, and where names are looked up: the one
// that the request names, else the token's only one, else the default account.
func (a *api) account(ctx context.Context) (string, error) {
	c := callOf(ctx)
	switch {
	case c.asked != "":
		return c.asked, nil
	case len(c.token.Accounts) == 1:
		return c.token.Accounts[0], nil
	case c.token.Sees(settings.DefaultAccount):
		return settings.DefaultAccount, nil
	}
	return "", badRequest("Which account? Add ?account= with one of %s", strings.Join(c.token.Accounts, ", "))
}

// note adds fields to the log line of a write: names and numbers, never what a
// user answered.
func (a *api) note(ctx context.Context, fields ...zap.Field) {
	c := callOf(ctx)
	c.notes = append(c.notes, fields...)
}

// admit checks what needs no knowledge of the operation.
func (a *api) admit(scope Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		c := &call{token: r.Context().Value(tokenKey).(*settings.APIToken)}
		if reason, p := c.check(ctx.Operation(), r, scope); p != nil {
			if reason != "" {
				a.refused(reason, c.token)
			}
			p.write(w)
			return
		}
		// The server's own limit is too short for a flow of 10 MiB on a slow line.
		// Where the writer knows no deadlines there is no limit either.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bodyTime + 2*a.answerWithin + chunkTime))
		ctx = huma.WithValue(ctx, callKey, c)
		next(ctx)
		if scope == Admin && ctx.Status() < http.StatusBadRequest {
			a.Log.Info("changed through the API", append([]zap.Field{
				zap.String("operation", ctx.Operation().OperationID), zap.String("token", c.token.Name),
				zap.Strings("token_accounts", c.token.Accounts), zap.Int("status", ctx.Status())}, c.notes...)...)
		}
	}
}

// check also gives the reason of a refusal that is the token's.
func (c *call) check(op *huma.Operation, r *http.Request, scope Scope) (reason string, p *problem) {
	if scope == Admin && !c.token.Admin {
		return noScope, forbidden("This token may only read")
	}
	query, p := checkQuery(op, r)
	if p != nil {
		return "", p
	}
	c.asked = r.PathValue("account")
	if named := query.Get("account"); named != "" {
		if c.asked != "" && c.asked != named {
			return "", badRequest("The path names the account %s and ?account= names %s: leave one out", c.asked, named)
		}
		c.asked = named
	}
	c.accounts = c.token.Accounts
	if c.asked != "" {
		if !flowName.MatchString(c.asked) || len(c.asked) > 255 {
			return "", badRequest("%.64q is no name of an account, expected letters, digits, dots, dashes and underscores", c.asked)
		}
		if !c.token.Sees(c.asked) {
			return noAccount, forbidden("This token is not for the account %s", c.asked)
		}
		c.accounts = accountFilter{c.asked}
	}
	if op.RequestBody != nil && r.ContentLength != 0 {
		return "", checkContentType(r.Header.Get("Content-Type"))
	}
	return "", nil
}

// checkQuery refuses what cannot be read, and parameters that the operation does
// not have: a filter that is misspelt would go unnoticed.
func checkQuery(op *huma.Operation, r *http.Request) (url.Values, *problem) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The query cannot be read, expected name=value pairs separated by &, with %%3B for ; and %%25 for %%")
	}
	var known []string
	for _, p := range op.Parameters {
		if p.In == "query" {
			known = append(known, p.Name)
		}
	}
	slices.Sort(known)
	for name, values := range query {
		if !slices.Contains(known, name) {
			expected := strings.Join(known, ", ")
			if expected == "" {
				expected = "none"
			}
			return nil, badRequest("There is no parameter %.64q here, expected %s", name, expected)
		}
		if !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0) {
			return nil, badRequest("The parameter %s is not text in UTF-8", name)
		}
		if values[0] == "" && name != "cursor" && name != "search" {
			return nil, badRequest("The parameter %s is empty: give it a value, or leave it out", name)
		}
		if len(values) > 1 {
			return nil, badRequest("The parameter %s comes %d times, expected once", name, len(values))
		}
	}
	return query, nil
}

func checkContentType(given string) *problem {
	kind, _, err := mime.ParseMediaType(given)
	if given == "" || err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return newProblem(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE",
		"The body is %.64q, expected JSON: send the header Content-Type: application/json", given)
}
