package graphtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Message is a message that was sent.
type Message struct {
	From      string // phone number id
	To        string // number or business-scoped user id
	ID        string
	FlowID    string // of an interactive message
	Template  string // else its name, "name/language"
	Token     string
	Mode      string          // published, draft
	Action    string          // navigate, data_exchange
	Screen    string          // of navigate
	Data      json.RawMessage // of the first screen
	Body, CTA string
}

// Messages are all messages that were sent.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

type sentText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// sentMessage is a message to send, with all keys that are known.
type sentMessage struct {
	Product       string `json:"messaging_product"`
	RecipientType string `json:"recipient_type"`
	To            string `json:"to"`
	Recipient     string `json:"recipient"`
	Type          string `json:"type"`
	Interactive   *struct {
		Type   string    `json:"type"`
		Header *sentText `json:"header"`
		Body   sentText  `json:"body"`
		Footer *sentText `json:"footer"`
		Action struct {
			Name       string `json:"name"`
			Parameters struct {
				Version string `json:"flow_message_version"`
				Token   string `json:"flow_token"`
				FlowID  string `json:"flow_id"`
				CTA     string `json:"flow_cta"`
				Mode    string `json:"mode"`
				Action  string `json:"flow_action"`
				Payload *struct {
					Screen string                     `json:"screen"`
					Data   map[string]json.RawMessage `json:"data"`
				} `json:"flow_action_payload"`
			} `json:"parameters"`
		} `json:"action"`
	} `json:"interactive"`
	Template *struct {
		Name     string `json:"name"`
		Language struct {
			Code string `json:"code"`
		} `json:"language"`
		Components []struct {
			Type       string `json:"type"`
			SubType    string `json:"sub_type"`
			Index      string `json:"index"`
			Parameters []struct {
				Type   string `json:"type"`
				Text   string `json:"text"`
				Action *struct {
					Token string                     `json:"flow_token"`
					Data  map[string]json.RawMessage `json:"flow_action_data"`
				} `json:"action"`
			} `json:"parameters"`
		} `json:"components"`
	} `json:"template"`
}

func (r request) send(n *number) func() (any, error) {
	return func() (any, error) {
		var m sentMessage
		if err := first(r.needs(graph.ScopeMessaging), r.object(&m)); err != nil {
			return nil, err
		}
		sent := Message{From: n.ID, To: m.To + m.Recipient}
		switch {
		case m.Product != "whatsapp" || m.RecipientType != "individual":
			return nil, bad("The parameter messaging_product is required.")
		case (m.To == "") == (m.Recipient == ""):
			return nil, bad("The parameter to is required.")
		case strings.Trim(m.To, "0123456789") != "":
			return nil, &refused{status: 400, code: 131009, message: "(#131009) Parameter value is not valid", details: "to is no phone number"}
		case m.Type == "interactive" && m.Interactive != nil && m.Template == nil:
			if err := r.interactive(n, &m, &sent); err != nil {
				return nil, err
			}
		case m.Type == "template" && m.Template != nil && m.Interactive == nil:
			if err := m.templateOf(&sent); err != nil {
				return nil, err
			}
		default:
			return nil, &refused{status: 400, code: 131051, message: "(#131051) Unsupported message type"}
		}
		sent.ID = fmt.Sprintf("wamid.FAKE%d", len(r.messages)+1)
		r.messages = append(r.messages, sent)
		contact := map[string]string{"input": sent.To, "wa_id": m.To}
		if m.To == "" {
			contact = map[string]string{"input": sent.To, "user_id": m.Recipient}
		}
		return map[string]any{"messaging_product": "whatsapp", "contacts": []any{contact}, "messages": []any{map[string]string{"id": sent.ID}}}, nil
	}
}

func (r request) interactive(n *number, m *sentMessage, sent *Message) error {
	no := func(details string) error {
		return &refused{status: 400, code: 131009, message: "(#131009) Parameter value is not valid", details: details}
	}
	i, p := m.Interactive, m.Interactive.Action.Parameters
	f := r.flows[p.FlowID]
	switch {
	case i.Type != "flow" || i.Action.Name != "flow" || p.Version != "3":
		return no("interactive must be a flow of version 3")
	case i.Body.Text == "" || p.CTA == "":
		return &refused{status: 400, code: 131008, message: "(#131008) Required parameter is missing", details: "body and flow_cta"}
	case i.Header != nil && (i.Header.Type != "text" || i.Header.Text == "") || i.Footer != nil && i.Footer.Text == "":
		return no("header or footer")
	case f == nil || f.account != n.account:
		return no("flow_id is of no flow of this account")
	case p.Mode == "draft" && f.Status != graph.Draft || p.Mode == "published" && !slices.Contains([]string{graph.Published, graph.Throttled, graph.Blocked}, f.Status) && len(f.Versions) == 0:
		return no("the flow is " + f.Status + " and the mode " + p.Mode)
	case p.Mode != "draft" && p.Mode != "published":
		return no("mode")
	case f.Status == graph.Blocked:
		return &refused{status: 400, code: 132068, message: "(#132068) Flow is blocked"}
	case f.Status == graph.Deprecated:
		return no("the flow is deprecated")
	case p.Action == "data_exchange" && p.Payload != nil:
		return no("flow_action_payload must not be given with data_exchange")
	case p.Action != "data_exchange" && p.Action != "navigate":
		return no("flow_action")
	case p.Payload != nil && p.Payload.Data != nil && len(p.Payload.Data) == 0:
		return no("flow_action_payload.data is empty")
	}
	sent.FlowID, sent.Token, sent.Mode, sent.Action, sent.Body, sent.CTA = p.FlowID, p.Token, p.Mode, p.Action, i.Body.Text, p.CTA
	if p.Payload != nil {
		sent.Screen = p.Payload.Screen
		sent.Data = encode(p.Payload.Data)
	}
	return nil
}

func (m *sentMessage) templateOf(sent *Message) error {
	t := m.Template
	if t.Name == "" || t.Language.Code == "" {
		return &refused{status: 400, code: 132001, message: "(#132001) Template name does not exist in the translation"}
	}
	sent.Template = t.Name + "/" + t.Language.Code
	for _, c := range t.Components {
		switch {
		case c.Type == "body" && c.SubType == "" && c.Index == "":
			for _, p := range c.Parameters {
				if p.Type != "text" || p.Text == "" {
					return &refused{status: 400, code: 132012, message: "(#132012) Parameter format does not match format in the created template"}
				}
				sent.Body += p.Text + ";"
			}
		case c.Type == "button" && c.SubType == "flow" && c.Index != "" && strings.Trim(c.Index, "0123456789") == "" && len(c.Parameters) == 1 && c.Parameters[0].Type == "action" && c.Parameters[0].Action != nil:
			sent.Token = c.Parameters[0].Action.Token
			sent.Data = encode(c.Parameters[0].Action.Data)
		default:
			return &refused{status: 400, code: 132012, message: "(#132012) Parameter format does not match format in the created template"}
		}
	}
	return nil
}

func encode(data map[string]json.RawMessage) json.RawMessage {
	if data == nil {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	return text
}
