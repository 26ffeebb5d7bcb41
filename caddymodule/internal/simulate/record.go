package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
)

// RecordOptions are the flags of `record`.
type RecordOptions struct {
	Session   string // its id
	API       string // where the worker's API stands, such as https://flows.example.com
	TokenFile string // else API_TOKEN
	CA        string
	Out       string // a file; empty is the standard output
}

const recordTimeout = 30 * time.Second

// Record writes a stored session as a script and returns the exit code.
func Record(ctx context.Context, o RecordOptions, w World) int {
	code, err := record(ctx, o, w)
	if err != nil {
		fmt.Fprintln(w.Err, "record:", err)
	}
	return code
}

func record(ctx context.Context, o RecordOptions, w World) (int, error) {
	if err := checkURL("--api", o.API); err != nil || o.API == "" {
		return Misused, errors.Join(err, missingAPI(o.API))
	}
	s := subject{World: w}
	token, err := s.secret("--api-token-file", o.TokenFile, "API_TOKEN")
	if err != nil {
		return Misused, err
	}
	if len(token) == 0 {
		return Misused, errors.New("no token of the API: set API_TOKEN or API_TOKEN_FILE, or give --api-token-file")
	}
	t, err := newTransport(o.CA, 1)
	if err != nil {
		return Misused, err
	}
	defer t.close()
	recorded, err := fetchSession(ctx, t, o, string(token))
	if err != nil {
		return Failed, err
	}
	c, notes, err := conversation.FromSession(recorded)
	if err != nil {
		return Failed, err
	}
	text, err := conversation.Write([]conversation.Conversation{c}, append([]string{"Recorded of the flow " + recorded.Session.Flow + ". It holds what its user has entered."}, notes...))
	if err != nil {
		return Failed, err
	}
	if o.Out == "" {
		_, err = w.Out.Write(text)
	} else {
		err = os.WriteFile(o.Out, text, 0o600) // personal data
	}
	if err != nil {
		return Failed, err
	}
	return Passed, nil
}

func missingAPI(api string) error {
	if api != "" {
		return nil
	}
	return errors.New("no --api: give the URL of the worker's API, such as https://flows.example.com")
}

func fetchSession(ctx context.Context, t *transport, o RecordOptions, token string) (*conversation.Recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	address := strings.TrimSuffix(o.API, "/") + "/api/sessions/" + url.PathEscape(o.Session) + "/steps"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := t.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the worker's API: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the API's answer: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("the API answers %d: the token is not one of API_TOKEN or API_TOKENS, or not for this account", response.StatusCode)
	case http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return nil, fmt.Errorf("the API answers %d: there is no session %s for this token; GET /api/sessions lists them", response.StatusCode, o.Session)
	default:
		return nil, fmt.Errorf("the API answers %d, expected 200", response.StatusCode)
	}
	var answer struct {
		Data *conversation.Recorded `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Data == nil {
		return nil, errors.New("the answer is not that of the worker's API: it has no data")
	}
	return answer.Data, nil
}
