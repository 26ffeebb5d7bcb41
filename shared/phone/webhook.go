package phone

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Completion is what Meta's webhook tells about a finished flow. Empty fields
// are left out of it, as Meta leaves out what it may not tell.
type Completion struct {
	WABA          string // WhatsApp Business Account id
	PhoneNumberID string // of the business
	DisplayPhone  string // of the business
	Phone         string // the user's number (wa_id); absent for users known by name only
	UserID        string // the user's business-scoped id (BSUID)
	Name          string // the user's profile name
	MessageID     string // wamid of the reply
	ContextID     string // wamid of the flow message that was answered
	Time          time.Time
	// Params become response_json: the params of the endpoint's SUCCESS, or the
	// payload of a complete action with flow_token added.
	Params json.RawMessage
}

// CompletionWebhook is the body Meta posts to the messages webhook when a flow
// ends with params: one nfm_reply. As on Meta's wire, slashes are escaped and
// everything beyond ASCII is \uXXXX in lower case. Sign it with
// hubsignature.Sign; post it twice to see what duplicates do.
func CompletionWebhook(c Completion) []byte {
	type profile struct {
		Name string `json:"name"`
	}
	type contact struct {
		Profile *profile `json:"profile,omitempty"`
		WaID    string   `json:"wa_id,omitempty"`
		UserID  string   `json:"user_id,omitempty"`
	}
	type origin struct {
		From string `json:"from,omitempty"`
		ID   string `json:"id"`
	}
	type nfmReply struct {
		Name         string `json:"name"`
		Body         string `json:"body"`
		ResponseJSON string `json:"response_json"`
	}
	type interactive struct {
		Type     string   `json:"type"`
		NFMReply nfmReply `json:"nfm_reply"`
	}
	type message struct {
		Context     *origin     `json:"context,omitempty"`
		From        string      `json:"from,omitempty"`
		ID          string      `json:"id"`
		Timestamp   string      `json:"timestamp"`
		Type        string      `json:"type"`
		Interactive interactive `json:"interactive"`
	}
	type value struct {
		Product  string            `json:"messaging_product"`
		Metadata map[string]string `json:"metadata"`
		Contacts []contact         `json:"contacts"`
		Messages []message         `json:"messages"`
	}
	type change struct {
		Value value  `json:"value"`
		Field string `json:"field"`
	}
	type entry struct {
		ID      string   `json:"id"`
		Changes []change `json:"changes"`
	}
	type webhook struct {
		Object string  `json:"object"`
		Entry  []entry `json:"entry"`
	}

	who := contact{WaID: c.Phone, UserID: c.UserID}
	if c.Name != "" {
		who.Profile = &profile{Name: c.Name}
	}
	reply := message{
		From: c.Phone, ID: c.MessageID, Timestamp: strconv.FormatInt(c.Time.Unix(), 10), Type: "interactive",
		Interactive: interactive{Type: "nfm_reply", NFMReply: nfmReply{Name: "flow", Body: "Sent", ResponseJSON: string(c.Params)}},
	}
	if c.ContextID != "" {
		// context.from is the author of the quoted message: the business.
		reply.Context = &origin{From: c.DisplayPhone, ID: c.ContextID}
	}
	body, err := encode(webhook{Object: "whatsapp_business_account", Entry: []entry{{ID: c.WABA, Changes: []change{{
		Field: "messages",
		Value: value{
			Product:  "whatsapp",
			Metadata: map[string]string{"display_phone_number": c.DisplayPhone, "phone_number_id": c.PhoneNumberID},
			Contacts: []contact{who},
			Messages: []message{reply},
		},
	}}}}})
	if err != nil {
		// Strings and nothing else always have an encoding.
		panic(fmt.Sprintf("phone: encoding a webhook: %v", err))
	}
	return wire(body)
}

// wire escapes JSON as Meta writes it. Slashes and characters beyond ASCII
// occur inside strings only, so no parsing is needed.
func wire(body []byte) []byte {
	out := make([]byte, 0, len(body)+len(body)/8)
	for len(body) > 0 {
		r, size := utf8.DecodeRune(body)
		body = body[size:]
		switch {
		case r == '/':
			out = append(out, `\/`...)
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
