package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
)

// FlowMessage is an interactive message that opens a flow. It can be sent within
// 24 hours of the user's last message.
type FlowMessage struct {
	To     string // phone number with country code, or business-scoped user id such as US.1349…
	Header string // may be empty
	Body   string // required
	Footer string // may be empty
	CTA    string // required: the button; at most 30 characters, no emoji, advises Meta
	FlowID string // required
	Token  string // required: which user this is, in every request of the flow
	Draft  bool   // of a flow that is not published: only to numbers that may test it

	// Action is data_exchange, after which the phone asks the endpoint for the
	// first screen, or navigate, with which the message names it.
	Action string
	Screen string                     // for navigate; empty: the first one
	Data   map[string]json.RawMessage // of that screen
}

type text struct {
	Text string `json:"text"`
}

// SendFlow sends a message from a phone number and returns the message's id
// (wamid).
func (c *Client) SendFlow(ctx context.Context, phoneNumber string, m FlowMessage) (string, error) {
	if m.Body == "" || m.CTA == "" || m.FlowID == "" || m.Token == "" {
		return "", errors.New("a flow message needs a body, a button, a flow and a token")
	}
	parameters := map[string]any{"flow_message_version": "3", "flow_token": m.Token, "flow_id": m.FlowID, "flow_cta": m.CTA, "mode": "published", "flow_action": m.Action}
	if m.Draft {
		parameters["mode"] = "draft"
	}
	switch m.Action {
	case flowjson.DataExchange:
		if m.Screen != "" || len(m.Data) > 0 {
			return "", errors.New("a message with data_exchange names no screen and no data: the endpoint answers them")
		}
	case flowjson.Navigate:
		payload := map[string]any{}
		if m.Screen != "" {
			payload["screen"] = m.Screen
		}
		if len(m.Data) > 0 { // an empty object is refused
			payload["data"] = m.Data
		}
		if len(payload) > 0 {
			parameters["flow_action_payload"] = payload
		}
	default:
		return "", fmt.Errorf("the action of a flow message is %q, expected data_exchange or navigate", m.Action)
	}
	interactive := map[string]any{"type": "flow", "body": text{m.Body}, "action": map[string]any{"name": "flow", "parameters": parameters}}
	if m.Header != "" {
		interactive["header"] = map[string]string{"type": "text", "text": m.Header}
	}
	if m.Footer != "" {
		interactive["footer"] = text{m.Footer}
	}
	return c.send(ctx, phoneNumber, m.To, map[string]any{"type": "interactive", "interactive": interactive})
}

// TemplateMessage is a template with a button that opens a flow. The template
// names the flow, its action and first screen.
type TemplateMessage struct {
	To       string
	Name     string
	Language string                     // en_US
	Body     []string                   // parameters of its body, in order
	Button   int                        // index of the flow button, from 0
	Token    string                     // required
	Data     map[string]json.RawMessage // of the first screen, for a template with navigate
}

// SendTemplate sends a template from a phone number and returns the message's id
// (wamid).
func (c *Client) SendTemplate(ctx context.Context, phoneNumber string, m TemplateMessage) (string, error) {
	if m.Name == "" || m.Language == "" || m.Token == "" {
		return "", errors.New("a template needs a name, a language and a token")
	}
	components := []any{}
	if len(m.Body) > 0 {
		parameters := []any{}
		for _, value := range m.Body {
			parameters = append(parameters, map[string]string{"type": "text", "text": value})
		}
		components = append(components, map[string]any{"type": "body", "parameters": parameters})
	}
	action := map[string]any{"flow_token": m.Token}
	if len(m.Data) > 0 {
		action["flow_action_data"] = m.Data
	}
	components = append(components, map[string]any{"type": "button", "sub_type": "flow", "index": fmt.Sprint(m.Button),
		"parameters": []any{map[string]any{"type": "action", "action": action}}})
	template := map[string]any{"name": m.Name, "language": map[string]string{"code": m.Language}, "components": components}
	return c.send(ctx, phoneNumber, m.To, map[string]any{"type": "template", "template": template})
}

func (c *Client) send(ctx context.Context, phoneNumber, to string, message map[string]any) (string, error) {
	if err := checkID("phone number", phoneNumber); err != nil {
		return "", err
	}
	to, err := RecipientID(to)
	if err != nil {
		return "", err
	}
	key := "to"
	if strings.Contains(to, ".") { // a business-scoped user id
		key = "recipient"
	}
	message["messaging_product"], message["recipient_type"], message[key] = "whatsapp", "individual", to
	var answer struct {
		Messages []struct {
			ID string `json:"id"`
		} `json:"messages"`
	}
	if err := c.postJSON(ctx, phoneNumber+"/messages", message, false, &answer); err != nil {
		return "", err
	}
	if len(answer.Messages) != 1 || answer.Messages[0].ID == "" {
		return "", errors.New("the message was taken, but Meta's answer holds no id of it: look whether it arrived before you send it again")
	}
	return answer.Messages[0].ID, nil
}

// RecipientID is a recipient in the form in which Meta takes it, and names it in
// webhooks: a phone number is digits from the country code on, a business-scoped
// user id (CC.…) is as it is. What would reach another number, or none, is refused.
func RecipientID(to string) (string, error) {
	to = strings.TrimSpace(to)
	if len(to) > 3 && to[2] == '.' && isLetter(to[0]) && isLetter(to[1]) && strings.Trim(to[3:], alphanumeric+".") == "" && len(to) <= 200 {
		return to, nil
	}
	// Neither the number nor a part of it is repeated: it is personal data.
	if strings.Contains(to, "(0)") {
		return "", errors.New("the recipient is a phone number with (0), which is dialled within its country only: leave it out, as in +4915112345678")
	}
	digits := strings.NewReplacer(" ", "", "\u00a0", "", "-", "", "(", "", ")", "").Replace(strings.TrimPrefix(to, "+"))
	if strings.Trim(digits, "0123456789") != "" || len(digits) < 5 || len(digits) > 15 {
		return "", errors.New("the recipient is neither a phone number with its country code, such as +4915112345678, nor a business-scoped user id, such as US.1349120865530")
	}
	if digits[0] == '0' { // no country code does
		return "", errors.New("the recipient is a phone number that begins with 0: begin with its country code, without 00 and without the 0 of dialling within the country, as in +4915112345678")
	}
	return digits, nil
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func isLetter(b byte) bool { return b >= 'A' && b <= 'Z' }
