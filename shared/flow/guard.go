package flow

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/rawjson"
)

// GuardError says where a reply breaks a rule of the client. It never holds a
// value of the reply's data.
type GuardError struct {
	Path string // "screen", "data.items[2].title"; empty for the reply itself
	Want string // "string", "an array of at most 20 items"
	Got  string // "number", "nothing"
}

func (e *GuardError) Error() string {
	path := e.Path
	if path == "" {
		path = "the reply"
	}
	return path + ": expected " + e.Want + ", got " + e.Got
}

// Guard holds a reply against the rules by which WhatsApp's client refuses one,
// so that the fault shows here, with its place, instead of on a phone as
// "something went wrong": screen a string, data an object, no null anywhere,
// error_message a string, extension_message_response and its params objects;
// then a known screen that an edge joins to the current one, and data that fits
// the screen's model. def may be nil: then only the rules that need no
// definition hold, among them that INIT opens the screen the message named.
//
// It returns the reply, with flow_token added to the params of one that ends
// the flow, because the client does not add it. Other top-level members, such
// as version, are left out: the client ignores them. The error is a
// *GuardError.
func Guard(def *Definition, req *Request, reply []byte) (Reply, error) {
	if !utf8.Valid(reply) {
		return Reply{}, &GuardError{Want: "JSON in UTF-8", Got: "another encoding"}
	}
	if err := isObject(reply); err != nil {
		return Reply{}, &GuardError{Want: "a JSON object", Got: err.Error()}
	}
	screen, data := screenAndData(reply)
	var r Reply
	var ok bool
	if r.Screen, ok = stringOf(screen); !ok {
		return Reply{}, &GuardError{"screen", "string", kindOf(screen)}
	}
	if kindOf(data) != "object" {
		return Reply{}, &GuardError{"data", "object", kindOf(data)}
	}
	if hasNull(data) {
		return Reply{}, &GuardError{nullPath("data", data), "a value, or the key left out", "null"}
	}
	r.Data = object(data)
	if err := checkReserved(r.Data); err != nil {
		return Reply{}, err
	}
	if r.Ends() {
		return withToken(r, req), nil
	}
	if err := checkScreen(def, req, r.Screen); err != nil {
		return Reply{}, err
	}
	if def != nil {
		if err := checkData(def.flow.Screen(r.Screen), r.Data); err != nil {
			return Reply{}, err
		}
	}
	return r, nil
}

// checkReserved checks the two members of data that are no screen data.
func checkReserved(data map[string]json.RawMessage) error {
	if raw, ok := data[errorMessageKey]; ok && kindOf(raw) != "string" {
		return &GuardError{"data." + errorMessageKey, "string", kindOf(raw)}
	}
	raw, ok := data[extensionKey]
	if !ok {
		return nil
	}
	if kindOf(raw) != "object" {
		return &GuardError{"data." + extensionKey, "object", kindOf(raw)}
	}
	if params, ok := memberOf(raw, "params"); ok && kindOf(params) != "object" {
		return &GuardError{"data." + extensionKey + ".params", "object", kindOf(params)}
	}
	return nil
}

func withToken(r Reply, req *Request) Reply {
	raw, ok := r.Params()
	if !ok || req.Token == "" {
		return r
	}
	if _, ok := memberOf(raw, flowTokenKey); ok {
		return r
	}
	params, extension := object(raw), object(r.Data[extensionKey])
	params[flowTokenKey] = quote(req.Token)
	extension["params"] = rawjson.AppendObject(nil, params)
	r.Data[extensionKey] = rawjson.AppendObject(nil, extension)
	return r
}

// checkScreen holds the screen of a reply against the routing model: the client
// accepts the same screen, and a step along an edge in either direction.
func checkScreen(def *Definition, req *Request, screen string) error {
	if screen == "" {
		return &GuardError{"screen", "the id of a screen", "an empty string"}
	}
	var same string // the screen itself, where that is allowed
	var after, before []string
	switch {
	case req.Action == Init && req.Screen != "":
		if def == nil || def.IsEntry(req.Screen) {
			same = req.Screen
		}
	case def == nil:
		return nil
	case req.Action == Init:
		after = def.entries
	default:
		same, after, before = req.Screen, def.flow.RoutingModel[req.Screen], def.before[req.Screen]
	}
	if (def == nil || def.HasScreen(screen)) && (screen == same || slices.Contains(after, screen) || slices.Contains(before, screen)) {
		return nil
	}
	allowed := slices.Concat(after, before)
	if same != "" {
		allowed = slices.Insert(allowed, 0, same)
	}
	want := "SUCCESS or " + strings.Join(allowed, " or ")
	if len(allowed) == 0 {
		want = fmt.Sprintf("SUCCESS (the message opens %s, which is no entry screen)", clip(req.Screen))
	}
	return &GuardError{"screen", want, screenName(screen)}
}

var screenID = regexp.MustCompile(`^[A-Za-z0-9_]{1,80}$`)

// screenName repeats a screen's name if it can be nothing else.
func screenName(s string) string {
	if screenID.MatchString(s) {
		return s
	}
	return "a string that is no screen id"
}

// checkData holds data, without the two reserved members, against a model. A
// screen that declares none takes no key at all.
func checkData(target *flowjson.Screen, data map[string]json.RawMessage) error {
	for _, key := range target.Keys {
		value, ok := data[key]
		if !ok {
			return &GuardError{"data." + key, string(target.Data[key].Type), "nothing"}
		}
		if err := misfit(target.Data[key], value); err != nil {
			return err.at("data." + key)
		}
	}
	// The first by name, so that one fault has one wording.
	unknown, found := "", false
	for key := range data {
		if _, declared := target.Data[key]; declared || key == errorMessageKey || key == extensionKey {
			continue
		}
		if !found || key < unknown {
			unknown, found = key, true
		}
	}
	if found {
		return &GuardError{"data." + clip(unknown), fmt.Sprintf("no such key, screen %s does not declare it", target.ID), kindOf(data[unknown])}
	}
	return nil
}
