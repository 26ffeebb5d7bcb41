package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

// Action says what the client asks for.
type Action string

// The actions of a request. Meta's client sends the first four; Navigate and
// Complete are actions of Flow JSON that clients written against other servers
// post, and are taken for what they mean.
const (
	Ping         Action = "ping"          // Meta's health check
	Init         Action = "INIT"          // the user opened the flow
	DataExchange Action = "data_exchange" // the user went on from a screen
	Back         Action = "BACK"          // the user left a screen that has refresh_on_back
	Navigate     Action = "navigate"
	Complete     Action = "complete"
)

// Unused is the flow token Meta puts in when the sender of a message set none.
// Every user of such messages carries it, so it never identifies anyone.
const Unused = "unused"

// Request is a decrypted request. Its texts and the keys of Data are its own; the
// values of Data and Raw are parts of the plaintext, and so is what is made of
// them until it is encoded: Answers, a Reply, the session that Begin returns.
// Whoever overwrites the plaintext must be done with all of them.
type Request struct {
	Version        string // data API version, "3.0" or "4.0"; not checked
	Action         Action
	Screen         string // the screen it was sent from; empty or the wanted entry screen on INIT
	Token          string // flow token; empty if none came
	TokenSignature string // JWT of Meta's signature over the token; optional
	// Data is the payload by the author's keys, never nil. It is not changed.
	Data map[string]json.RawMessage
	// Raw is the plaintext as it came.
	Raw []byte
}

// ParseRequest reads the plaintext of an envelope (Meta: "Implementing your
// Flow endpoint"). It is lenient where clients are known to differ: version may
// be a number, unknown fields are ignored, data may be absent or null. Every
// error means HTTP 400; none repeats what the user typed.
func ParseRequest(plaintext []byte) (*Request, error) {
	raw := plaintext
	if !utf8.Valid(plaintext) {
		// Answers go into Redis, replies and Postgres, which all demand UTF-8.
		plaintext = bytes.ToValidUTF8(plaintext, []byte("\ufffd"))
	}
	if err := isObject(plaintext); err != nil {
		return nil, fmt.Errorf("the request is not a JSON object: %w", err)
	}
	top := membersOf(plaintext)
	r := &Request{Version: version(top.version), Raw: raw}
	action, err := text("action", top.action)
	if err != nil {
		return nil, err
	}
	switch r.Action = Action(action); r.Action {
	case Ping, Init, DataExchange, Back, Navigate, Complete:
	case "":
		return nil, errors.New("the request has no action, expected ping, INIT, data_exchange or BACK")
	default:
		return nil, fmt.Errorf("the request's action is %q, expected ping, INIT, data_exchange or BACK", clip(action))
	}
	if r.Screen, err = text("screen", top.screen); err != nil {
		return nil, err
	}
	if r.Token, err = text("flow_token", top.token); err != nil {
		return nil, err
	}
	if r.TokenSignature, err = text("flow_token_signature", top.tokenSignature); err != nil {
		return nil, err
	}
	switch kind := kindOf(top.data); kind {
	case "nothing", "null":
		r.Data = map[string]json.RawMessage{}
	case "object":
		r.Data = object(top.data)
	default:
		return nil, fmt.Errorf("the request's data is %s, expected an object", article(kind))
	}
	return r, nil
}

// members are the members of a request that count, as they came.
type members struct {
	version, action, screen, token, tokenSignature, data json.RawMessage
}

// membersOf reads a valid object: of members with one name the last counts.
func membersOf(plaintext []byte) (m members) {
	for c := within(plaintext); c.more(); {
		name := c.name()
		switch value := c.value(); string(name) {
		case "version":
			m.version = value
		case "action":
			m.action = value
		case "screen":
			m.screen = value
		case "flow_token":
			m.token = value
		case "flow_token_signature":
			m.tokenSignature = value
		case "data":
			m.data = value
		}
	}
	return m
}

// version takes the version as text, whatever it is: error notifications carry
// the client's internal value, which may be a number.
func version(raw json.RawMessage) string {
	switch kindOf(raw) {
	case "string":
		s, _ := stringOf(raw)
		return s
	case "number":
		return string(raw)
	}
	return ""
}

func text(name string, raw json.RawMessage) (string, error) {
	switch kind := kindOf(raw); kind {
	case "nothing", "null":
		return "", nil
	case "string":
		s, _ := stringOf(raw) // it is valid
		return s, nil
	default:
		return "", fmt.Errorf("the request's %s is %s, expected a string", name, article(kind))
	}
}

// clientErrors are the keys under which clients report what they refused. The
// first four are those of Meta's own runtime, the others are documented.
var clientErrors = map[string]bool{
	"response-decryption-error": true, "invalid-screen-transition": true,
	"payload-schema-error": true, "components-validation-error": true,

	"timeout_error": true, "missing_capability": true, "cannot_be_served": true,
	"no_http_response_error": true, "unexpected_http_status_code": true,
	"public-key-missing": true, "business-decryption-error": true,
	"public-key-signature-verification": true,
	"public-key-signiture-verification": true, // as some of Meta's pages spell it
}

// ErrorNotification says whether the client reports that it refused our
// previous answer, and why. Authors may have a field named error, so a text in
// data.error alone is not enough: data.error_message must be a text beside it,
// or the key one that clients are known to send.
func (r *Request) ErrorNotification() (key, message string, ok bool) {
	key, isText := stringOf(r.Data["error"])
	if !isText {
		return "", "", false
	}
	message, hasMessage := stringOf(r.Data["error_message"])
	if !hasMessage && !clientErrors[key] {
		return "", "", false
	}
	return key, message, true
}

// Stateless says that the request carries no token that identifies a session.
func (r *Request) Stateless() bool { return r.Token == "" || r.Token == Unused }

// Answers are the values the user gave with this request, by the author's
// payload keys. INIT brings none. Nulls, which no client should send, are left
// out at every level: the client refuses a reply that holds one.
func (r *Request) Answers() map[string]json.RawMessage {
	if r.Action == Init || r.Action == Ping {
		return nil
	}
	answers, copied := r.Data, false
	for key, value := range r.Data {
		if !hasNull(value) {
			continue
		}
		if !copied {
			answers, copied = maps.Clone(r.Data), true
		}
		if kindOf(value) == "null" {
			delete(answers, key)
		} else {
			answers[key] = withoutNulls(value)
		}
	}
	return answers
}

// Hash identifies a step within a session: two requests with the same hash ask
// the same of the same screen with the same answers. The order of keys and the
// spelling of strings do not matter; numbers count as they are written.
func (r *Request) Hash(flowName string) (sum [sha256.Size]byte) {
	h := sha256.New()
	var room [8 + 120]byte // a field with its length; most are shorter
	write := func(field string) {
		b := binary.BigEndian.AppendUint64(room[:0], uint64(len(field)))
		h.Write(append(b, field...))
	}
	write(flowName)
	write(r.Screen)
	write(string(r.Action))
	var names [16]string
	for _, key := range rawjson.SortedNames(names[:0], r.Data) {
		write(key)
		value := canonical(r.Data[key])
		h.Write(binary.BigEndian.AppendUint64(room[:0], uint64(len(value))))
		h.Write(value)
	}
	h.Sum(sum[:0])
	return sum
}

// canonical spells equal values equally: sorted keys, no white space, one
// spelling of each string. It serves comparison only.
func canonical(raw json.RawMessage) []byte {
	switch kindOf(raw) {
	case "number", "boolean", "null", "nothing":
		return bytes.TrimSpace(raw)
	case "string":
		if !bytes.ContainsRune(raw, '\\') {
			return bytes.TrimSpace(raw)
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return raw
	}
	out, err := encode(value)
	if err != nil {
		return raw
	}
	return out
}
