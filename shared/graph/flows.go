package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
)

// Flow is a flow as Meta has it.
type Flow struct {
	ID               string             `json:"id"`
	Name             string             `json:"name"`
	Status           string             `json:"status"` // of the constants below
	Categories       []string           `json:"categories"`
	ValidationErrors []validate.Problem `json:"validation_errors"` // of the Flow JSON, in its lines
	JSONVersion      string             `json:"json_version"`
	DataAPIVersion   string             `json:"data_api_version"` // empty: no endpoint is asked
	EndpointURI      string             `json:"endpoint_uri"`
	Preview          *Preview           `json:"preview,omitempty"`
	Account          *Named             `json:"whatsapp_business_account,omitempty"`
	Application      *Named             `json:"application,omitempty"` // nil: no app is linked
	Health           *Health            `json:"health_status,omitempty"`
}

// The statuses of a flow.
const (
	Draft      = "DRAFT"
	Published  = "PUBLISHED"
	Deprecated = "DEPRECATED" // for good
	Blocked    = "BLOCKED"    // its endpoint fails: it can be neither sent nor opened
	Throttled  = "THROTTLED"  // its endpoint is slow or fails: 10 messages an hour
)

// Live says whether messages with the flow can be sent, at least some.
func (f *Flow) Live() bool { return f.Status == Published || f.Status == Throttled }

// Named is an object that is only referred to.
type Named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Preview is a page that shows a flow without a phone.
type Preview struct {
	URL     string `json:"preview_url"`
	Expires string `json:"expires_at"`
}

// Those of a list are without health, which Meta works out for each flow by
// itself.
const (
	flowListFields = "id,name,status,categories,validation_errors,json_version,data_api_version,endpoint_uri,whatsapp_business_account,application"
	flowFields     = flowListFields + ",preview,health_status"
)

// Flows lists the flows of a WhatsApp Business Account, without Preview and
// Health.
func (c *Client) Flows(ctx context.Context, waba string) ([]Flow, error) {
	if err := checkID("WhatsApp Business Account", waba); err != nil {
		return nil, err
	}
	return list[Flow](ctx, c, waba+"/flows", url.Values{"fields": {flowListFields}})
}

// Flow reads all of a flow but its Flow JSON.
func (c *Client) Flow(ctx context.Context, id string) (*Flow, error) {
	if err := checkID("flow", id); err != nil {
		return nil, err
	}
	f := new(Flow)
	if err := c.get(ctx, id, url.Values{"fields": {flowFields}}, f); err != nil {
		return nil, err
	}
	return f, nil
}

// NewFlow is a flow to create. Categories are required by Meta.
type NewFlow struct {
	Name        string   `json:"name"`
	Categories  []string `json:"categories"`
	CloneID     string   `json:"clone_flow_id,omitempty"` // copies that flow's Flow JSON and endpoint
	EndpointURI string   `json:"endpoint_uri,omitempty"`
}

// Categories are those Meta knows.
var Categories = []string{"SIGN_UP", "SIGN_IN", "APPOINTMENT_BOOKING", "LEAD_GENERATION", "CONTACT_US", "CUSTOMER_SUPPORT", "SURVEY", "OTHER"}

// CreateFlow creates a draft and returns its id.
func (c *Client) CreateFlow(ctx context.Context, waba string, f NewFlow) (id string, err error) {
	if err := checkID("WhatsApp Business Account", waba); err != nil {
		return "", err
	}
	var answer struct {
		ID string `json:"id"`
	}
	if err := c.postJSON(ctx, waba+"/flows", f, false, &answer); err != nil {
		return "", err
	}
	if err := checkID("flow", answer.ID); err != nil {
		return "", fmt.Errorf("creating the flow %s: in Meta's answer %w", f.Name, err)
	}
	return answer.ID, nil
}

// Metadata is what can be changed of a flow besides its Flow JSON; what is empty
// is left as it is.
type Metadata struct {
	Name          string   `json:"name,omitempty"`
	Categories    []string `json:"categories,omitempty"`
	EndpointURI   string   `json:"endpoint_uri,omitempty"`   // only for Flow JSON 3.0 or newer
	ApplicationID string   `json:"application_id,omitempty"` // the app whose secret signs requests to the endpoint
}

// UpdateFlow changes metadata.
func (c *Client) UpdateFlow(ctx context.Context, id string, m Metadata) error {
	if err := checkID("flow", id); err != nil {
		return err
	}
	var done succeeded
	if err := c.postJSON(ctx, id, m, true, &done); err != nil {
		return err
	}
	return done.check("changing the flow " + id)
}

// UploadJSON replaces the Flow JSON of a draft, byte for byte; a published flow
// becomes a draft again, while its old messages keep the old one. Meta takes a
// Flow JSON with mistakes too and returns them: such a flow cannot be published.
func (c *Client) UploadJSON(ctx context.Context, id string, flowJSON []byte) ([]validate.Problem, error) {
	if err := checkID("flow", id); err != nil {
		return nil, err
	}
	if len(flowJSON) > flowjson.MaxSize {
		return nil, fmt.Errorf("the Flow JSON has %d bytes, more than the %d MiB that Meta accepts", len(flowJSON), flowjson.MaxSize>>20)
	}
	body, kind, err := assetForm(flowJSON)
	if err != nil {
		return nil, err
	}
	var answer struct {
		succeeded
		ValidationErrors []validate.Problem `json:"validation_errors"`
	}
	if err := c.do(ctx, call{method: http.MethodPost, path: id + "/assets", kind: kind, body: body, repeatable: true}, &answer); err != nil {
		return nil, err
	}
	if len(answer.ValidationErrors) > 0 {
		return answer.ValidationErrors, nil
	}
	return nil, answer.check("uploading the Flow JSON of " + id)
}

func assetForm(flowJSON []byte) (body []byte, kind string, err error) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", `form-data; name="file"; filename="flow.json"`)
	header.Set("Content-Type", "application/json")
	file, err := form.CreatePart(header)
	if err == nil {
		_, err = file.Write(flowJSON)
	}
	err = errors.Join(err, form.WriteField("name", "flow.json"), form.WriteField("asset_type", "FLOW_JSON"), form.Close())
	return b.Bytes(), form.FormDataContentType(), err
}

// Asset is a file of a flow.
type Asset struct {
	Name string `json:"name"`
	Type string `json:"asset_type"` // FLOW_JSON
	URL  string `json:"download_url"`
}

// DownloadJSON reads the Flow JSON of a flow as it was uploaded last.
func (c *Client) DownloadJSON(ctx context.Context, id string) ([]byte, error) {
	if err := checkID("flow", id); err != nil {
		return nil, err
	}
	assets, err := list[Asset](ctx, c, id+"/assets", nil)
	if err != nil {
		return nil, err
	}
	for _, asset := range assets {
		if asset.Type == "FLOW_JSON" {
			return c.download(ctx, id, asset.URL)
		}
	}
	return nil, fmt.Errorf("the flow %s has no Flow JSON at Meta yet", id)
}

// download gets a file from the host that Meta names. The link needs no token,
// and gets none; it is left out of errors, since whoever has it has the file.
func (c *Client) download(ctx context.Context, id, link string) ([]byte, error) {
	what := "downloading the Flow JSON of " + id
	target, err := url.Parse(link)
	if err != nil || target.Scheme != "https" && (target.Scheme != "http" || target.Host != c.base.Host) {
		return nil, fmt.Errorf("%s: Meta's link to it does not begin with https://", what)
	}
	for try := 1; ; try++ {
		body, passing, err := c.fetch(ctx, link)
		if err == nil || !passing || try >= c.tries || ctx.Err() != nil || c.pause(ctx, firstPause<<(try-1)) != nil {
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
			return body, err
		}
	}
}

func (c *Client) fetch(ctx context.Context, link string) (body []byte, passing bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, false, errors.New("the link to it is no URL")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, !hopeless(err), c.hide(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return nil, response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests, fmt.Errorf("%s answered %d", request.URL.Host, response.StatusCode)
	}
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxBody+1)); err != nil {
		return nil, true, c.hide(err)
	}
	if len(body) > maxBody {
		return nil, false, fmt.Errorf("it has more than %d MiB, which is more than Meta accepts", maxBody>>20)
	}
	return body, false, nil
}

// PublishFlow publishes a draft.
func (c *Client) PublishFlow(ctx context.Context, id string) error { return c.turn(ctx, id, "publish") }

// DeprecateFlow ends a published flow for good: it can be neither sent nor
// changed again, while messages already sent still open it.
func (c *Client) DeprecateFlow(ctx context.Context, id string) error {
	return c.turn(ctx, id, "deprecate")
}

func (c *Client) turn(ctx context.Context, id, what string) error {
	if err := checkID("flow", id); err != nil {
		return err
	}
	var done succeeded
	if err := c.postJSON(ctx, id+"/"+what, nil, false, &done); err != nil {
		return err
	}
	return done.check(what + " of the flow " + id)
}

// Health is whether something can send, and what stands in its way.
type Health struct {
	CanSend  string   `json:"can_send_message"` // AVAILABLE, LIMITED, BLOCKED
	Entities []Entity `json:"entities"`
}

// The states of health.
const (
	Available     = "AVAILABLE"
	Limited       = "LIMITED"
	HealthBlocked = "BLOCKED"
)

// Entity is one of those that must all be healthy for a message to go out.
type Entity struct {
	Type    string          `json:"entity_type"` // FLOW, PHONE_NUMBER, WABA, BUSINESS, APP
	ID      string          `json:"id"`
	CanSend string          `json:"can_send_message"`
	Errors  []HealthError   `json:"errors,omitempty"`
	More    json.RawMessage `json:"additional_info,omitempty"` // texts
}

// HealthError is why an entity cannot send, or not freely.
type HealthError struct {
	Code        int    `json:"error_code"`
	Description string `json:"error_description"`
	Solution    string `json:"possible_solution"`
}

// HealthStatus reads the health of a flow, phone number, WhatsApp Business
// Account or other object. It is nil if Meta says nothing of it.
func (c *Client) HealthStatus(ctx context.Context, id string) (*Health, error) {
	if err := checkID("object", id); err != nil {
		return nil, err
	}
	var answer struct {
		Health *Health `json:"health_status"`
	}
	err := c.get(ctx, id, url.Values{"fields": {"health_status"}}, &answer)
	return answer.Health, err
}
