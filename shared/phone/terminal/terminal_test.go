package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/handset"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/screen"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the screens that are shown into testdata")

func example(t *testing.T, name string) *flow.Definition {
	t.Helper()
	read := func(file string) []byte {
		text, err := os.ReadFile("../../../examples/" + name + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	definition, err := flow.Load(read("flow.json"), read("logic.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return definition
}

// sit sits down at a terminal and types these lines.
func sit(t *testing.T, definition *flow.Definition, fault phonetest.Fault, open func(*handset.Handset) (*phone.Reply, error), lines ...string) (string, terminal.Result, *phonetest.Endpoint, error) {
	t.Helper()
	endpoint := &phonetest.Endpoint{Definition: definition, Fault: fault}
	p := &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: "tok", Flow: definition, Send: endpoint.Send}
	hand := handset.New(p, screen.Load(definition))
	var out bytes.Buffer
	term := &terminal.Terminal{Hand: hand, In: strings.NewReader(strings.Join(lines, "\n") + "\n"), Out: &out, Reports: true, Echo: true}
	if len(lines) == 0 {
		term.In = strings.NewReader("")
	}
	result, err := term.Run(t.Context(), func(ctx context.Context) (*phone.Reply, error) {
		if open != nil {
			return open(hand)
		}
		return hand.Open(ctx, "")
	})
	return out.String(), result, endpoint, err
}

func TestAWholeFlowInTheTerminal(t *testing.T) {
	out, result, _, err := sit(t, example(t, "survey"), phonetest.Fault{}, nil,
		"", "", "daily", "1", "", // nothing is chosen; no such option; the first
		"1,2,3,4", "1,2,3", "y", "Much", "", // four are more than the client takes
		":back", ":back", "2", "", // to the first screen, and on by another branch
		"distance", "Alfama", "",
		"y", "2", "", // no, change my answer
		"", "", "",
		"", "1", "")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !result.Ended || result.Refused != 0 || !strings.Contains(string(result.Params), `"district":"Alfama"`) {
		t.Errorf("params are %s, %d refused", result.Params, result.Refused)
	}
	golden(t, "testdata/survey.txt", out)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has other screens; run with -update and read the difference. It shows\n%s", file, got)
	}
}

// everything is a flow that asks nobody, with what the examples do not have.
const everything = `{"version":"7.3","screens":[
	{"id":"FIRST","title":"First","data":{"n":{"type":"number","__example__":1},"items":{"type":"array","items":{"type":"object"},"__example__":[]}},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextBody","text":["one","two"],"markdown":true},
		{"type":"Image","src":"aaaa","alt-text":"a cat"},
		{"type":"TextInput","name":"pin","label":"PIN","input-type":"passcode","required":true,"helper-text":"four digits","min-chars":4},
		{"type":"CalendarPicker","name":"stay","mode":"range","label":{"start-date":"From","end-date":"To"}},
		{"type":"Dropdown","name":"size","label":"Size","data-source":"${data.items}","on-select-action":{"name":"update_data","payload":{"n":5}}},
		{"type":"TextCaption","text":"` + "`'n is ' ${data.n}`" + `"},
		{"type":"PhotoPicker","name":"photos","label":"Photos"},
		{"type":"EmbeddedLink","text":"Terms","on-click-action":{"name":"open_url","url":"https://example.com/terms"}},
		{"type":"Footer","label":"Go","left-caption":"left","right-caption":"right","on-click-action":{"name":"navigate","next":{"type":"screen","name":"LIST"},"payload":{"pin":"${form.pin}"}}}]}},
	{"id":"LIST","title":"List","data":{"pin":{"type":"string","__example__":""}},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"NavigationList","name":"list","label":"Where to?","list-items":[
			{"id":"a","main-content":{"title":"Alfama","description":"old"},"on-click-action":{"name":"navigate","next":{"type":"screen","name":"LAST"},"payload":{"where":"a"}}},
			{"id":"b","main-content":{"title":"Belém"},"on-click-action":{"name":"navigate","next":{"type":"screen","name":"LAST"},"payload":{"where":"b"}}}]}]}},
	{"id":"LAST","title":"Last","terminal":true,"data":{"where":{"type":"string","__example__":""}},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"OptIn","name":"sure","label":"Sure?","required":true},
		{"type":"Footer","label":"Send","on-click-action":{"name":"complete","payload":{"where":"${data.where}","pin":"${screen.FIRST.form.pin}","stay":"${screen.FIRST.form.stay}","size":"${screen.FIRST.form.size}"}}}]}}]}`

func TestAFlowThatAsksNobody(t *testing.T) {
	definition, err := flow.Load([]byte(everything), nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func(h *handset.Handset) (*phone.Reply, error) {
		return h.OpenOn("FIRST", map[string]any{"n": 1, "items": []any{map[string]any{"id": "s", "title": "Small"}, map[string]any{"id": "l", "title": "Large"}}})
	}
	out, result, endpoint, err := sit(t, definition, phonetest.Fault{}, open,
		"12ab", "1234", "tomorrow", "2026-11-26 2026-11-24", "2026-11-24 2026-11-26", "2", "cat.jpg", "",
		":help", "9", "5", "x", ":back", "", // 5 is the link; there is no screen to go back to
		":back", "", "", "", "", "", ":tap Go", "2", "n", "", "y", "")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := `{"flow_token":"tok","pin":"1234","size":"l","stay":{"end-date":"2026-11-26","start-date":"2026-11-24"},"where":"b"}`; string(result.Params) != want {
		t.Errorf("params are %s, want %s", result.Params, want)
	}
	if len(endpoint.Requests()) != 0 {
		t.Error("the endpoint was asked")
	}
	golden(t, "testdata/everything.txt", out)
}

// kinds is a flow with each kind of component that Flow JSON has.
var kinds = `{"version":"7.3","screens":[
	{"id":"TEXTS","title":"全部","data":{},"layout":{"type":"SingleColumnLayout","children":[
		{"type":"TextHeading","text":"Heading"},{"type":"TextSubheading","text":"Subheading"},{"type":"TextBody","text":"Body"},{"type":"TextCaption","text":"Caption"},
		{"type":"Image","src":"aaaa","alt-text":"a cat"},
		{"type":"ImageCarousel","images":[{"src":"aaaa","alt-text":"one"},{"src":"bbbb","alt-text":"two"}]},
		{"type":"EmbeddedLink","text":"Link","on-click-action":{"name":"open_url","url":"https://example.com"}},
		{"type":"If","condition":"'a' == ${form.none}","then":[{"type":"TextBody","text":"then"}],"else":[{"type":"TextBody","text":"else"}]},
		{"type":"Switch","value":"${form.none}","cases":{"a":[{"type":"TextBody","text":"case a"}],"default":[{"type":"TextBody","text":"case default"}]}},
		{"type":"Footer","label":"On","center-caption":"center","on-click-action":{"name":"navigate","next":{"type":"screen","name":"RICH"},"payload":{}}}]}},
	{"id":"RICH","title":"Rich","layout":{"type":"SingleColumnLayout","children":[
		{"type":"RichText","text":["# A title","","- one","- two"]},
		{"type":"Footer","label":"On","on-click-action":{"name":"navigate","next":{"type":"screen","name":"INPUTS"},"payload":{}}}]}},
	{"id":"INPUTS","title":"Inputs","layout":{"type":"SingleColumnLayout","children":[{"type":"Form","name":"f","children":[
		{"type":"TextInput","name":"text","label":"Text","helper-text":"Helper"},{"type":"TextInput","name":"number","label":"Number","input-type":"number"},
		{"type":"TextInput","name":"email","label":"Email","input-type":"email"},{"type":"TextInput","name":"password","label":"Password","input-type":"password"},
		{"type":"TextInput","name":"passcode","label":"Passcode","input-type":"passcode"},{"type":"TextInput","name":"phone","label":"Phone","input-type":"phone"},
		{"type":"TextArea","name":"area","label":"Area"},
		{"type":"CheckboxGroup","name":"boxes","label":"Boxes","description":"What the boxes are for","data-source":[{"id":"a","title":"A","description":"first","metadata":"1 €"},{"id":"b","title":"B","enabled":false}]},
		{"type":"RadioButtonsGroup","name":"radio","label":"Radio","required":true,"data-source":[{"id":"a","title":"A"}]},
		{"type":"ChipsSelector","name":"chips","label":"Chips","description":"What the chips are for","data-source":[{"id":"a","title":"A"},{"id":"b","title":"B"}]},
		{"type":"Dropdown","name":"drop","label":"Dropdown","data-source":[` + options + `]},
		{"type":"OptIn","name":"opt","label":"Opt in","on-click-action":{"name":"open_url","url":"https://example.com/terms"}},
		{"type":"DatePicker","name":"date","label":"Date"},
		{"type":"CalendarPicker","name":"day","label":"Day"},
		{"type":"CalendarPicker","name":"days","mode":"range","title":"Your stay","description":"When do you come?","label":{"start-date":"From","end-date":"To"},"helper-text":{"start-date":"first night","end-date":"last"},"required":{"start-date":true,"end-date":false}},
		{"type":"DocumentPicker","name":"documents","label":"Documents","description":"The signed contract"},
		{"type":"Footer","label":"On","left-caption":"left","right-caption":"right","on-click-action":{"name":"navigate","next":{"type":"screen","name":"PHOTO"},"payload":{}}}]}]}},
	{"id":"PHOTO","title":"Photo","layout":{"type":"SingleColumnLayout","children":[
		{"type":"PhotoPicker","name":"photos","label":"Photos"},
		{"type":"Footer","label":"On","on-click-action":{"name":"navigate","next":{"type":"screen","name":"LIST"},"payload":{}}}]}},
	{"id":"LIST","title":"List","layout":{"type":"SingleColumnLayout","children":[
		{"type":"NavigationList","name":"list","label":"Where to?","description":"Tap one","list-items":[
			{"id":"a","badge":"New","tags":["old","steep"],"main-content":{"title":"Alfama","description":"the old town","metadata":"by tram"},"end":{"title":"2 €","description":"a ride","metadata":"each"}},
			{"id":"b","main-content":{"title":"Belém"}}],"on-click-action":{"name":"navigate","next":{"type":"screen","name":"LAST"},"payload":{}}}]}},
	{"id":"LAST","title":"Last","terminal":true,"layout":{"type":"SingleColumnLayout","children":[
		{"type":"Footer","label":"Send","on-click-action":{"name":"complete","payload":{"days":"${screen.INPUTS.form.days}","drop":"${screen.INPUTS.form.drop}"}}}]}}]}`

// options are more than are drawn.
var options = func() string {
	var list []string
	for i := range 24 {
		list = append(list, fmt.Sprintf(`{"id":"o%d","title":"Option %d"}`, i, i+1))
	}
	return strings.Join(list, ",")
}()

func TestEveryKindOfComponentIsDrawn(t *testing.T) {
	definition, err := flow.Load([]byte(kinds), nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func(h *handset.Handset) (*phone.Reply, error) { return h.OpenOn("TEXTS", nil) }
	out, result, _, err := sit(t, definition, phonetest.Fault{}, open,
		"", "", // the texts
		"", "", "", "", "", "", "", "", "1", "", "23", "", "", "", "2026-11-24", "", ":draw all", "",
		"", "", "1", "")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := `{"days":{"start-date":"2026-11-24"},"drop":"o22","flow_token":"tok"}`; string(result.Params) != want {
		t.Errorf("params are %s, want %s", result.Params, want)
	}
	for _, kind := range strings.Fields("TextHeading TextSubheading TextBody TextCaption RichText Image ImageCarousel TextInput TextArea CheckboxGroup RadioButtonsGroup ChipsSelector Dropdown OptIn EmbeddedLink DatePicker CalendarPicker NavigationList If Switch PhotoPicker DocumentPicker Footer Form") {
		if !strings.Contains(kinds, `"type":"`+kind+`"`) {
			t.Errorf("the flow has no %s", kind)
		}
	}
	golden(t, "testdata/kinds.txt", out)
}

// What was done in the terminal is a script that does it again.
func TestWhatWasDoneIsAScript(t *testing.T) {
	again := func(t *testing.T, definition *flow.Definition, fault phonetest.Fault, steps []conversation.Step) {
		t.Helper()
		text, err := conversation.Write([]conversation.Conversation{{Name: "again", Steps: steps}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		read, err := conversation.Read(text)
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		endpoint := &phonetest.Endpoint{Definition: definition, Fault: fault}
		p := &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: "other", Flow: definition, Send: endpoint.Send}
		if _, err := (&conversation.Player{Phone: p}).Play(t.Context(), read[0]); err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
	}
	does := func(steps []conversation.Step) string {
		var all []string
		for _, s := range steps {
			all = append(all, s.Do+s.Shows+s.Refused)
		}
		return strings.Join(all, " ")
	}
	t.Run("with an endpoint", func(t *testing.T) {
		definition := example(t, "survey")
		out, result, _, err := sit(t, definition, phonetest.Fault{}, nil, "1", "", "1,2", "y", "Much", "", ":b", ":back", "2", "", "distance", "Alfama", "", "y", "2", "", "", "", "", "", "1", "")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := does(result.Steps); result.Lost != 0 || got != "initVISITS tapREGULAR tapFINISH backREGULAR backVISITS tapRARE tapFINISH tapRARE tapFINISH tap" {
			t.Errorf("the steps are %s, %d lost\n%s", got, result.Lost, out)
		}
		again(t, definition, phonetest.Fault{}, result.Steps)
	})
	t.Run("without one", func(t *testing.T) {
		definition, err := flow.Load([]byte(everything), nil)
		if err != nil {
			t.Fatal(err)
		}
		data := map[string]any{"n": 1, "items": []any{map[string]any{"id": "s", "title": "Small"}, map[string]any{"id": "l", "title": "Large"}}}
		endpoint := &phonetest.Endpoint{Definition: definition}
		hand := handset.New(&phone.Phone{Token: "tok", Flow: definition, Send: endpoint.Send}, screen.Load(definition))
		lines := []string{"1234", "2026-11-24 2026-11-26", "2", "", "", ":b", "", "-", "", "", "", "2", "y", ""}
		term := &terminal.Terminal{Hand: hand, In: strings.NewReader(strings.Join(lines, "\n") + "\n"), Out: io.Discard, Opens: conversation.Step{Do: conversation.DoOpen, From: "FIRST", Send: data}}
		result, err := term.Run(t.Context(), func(context.Context) (*phone.Reply, error) { return hand.OpenOn("FIRST", data) })
		if err != nil || does(result.Steps) != "openFIRST tapLIST backFIRST tapLIST tapLAST tap" || string(result.Params) != `{"flow_token":"tok","pin":"1234","size":"l","where":"b"}` {
			t.Errorf("%v, %s, %s", err, does(result.Steps), result.Params)
		}
		again(t, definition, phonetest.Fault{}, result.Steps)
	})
	t.Run("with refusals", func(t *testing.T) {
		definition := example(t, "csat-feedback")
		fault := phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
			if _, _, reported := r.ErrorNotification(); reported || r.Action == flow.Init {
				return good
			}
			return []byte(`{"screen":"COMMENT","data":{}}`)
		}}
		_, result, _, err := sit(t, definition, fault, nil, "1", "", ":quit")
		if err != nil || does(result.Steps) != "initRATING tappayload-schema-error" {
			t.Errorf("%v, %s", err, does(result.Steps))
		}
		again(t, definition, fault, result.Steps)
	})
}

func TestTextIsDrawnAndNotObeyed(t *testing.T) {
	for text, want := range map[string]string{
		"a\x1b[2Jb\u009bc\x7fd\re": "a [2Jb c d e", "Olá ✓ 全部 😀\tx": "Olá ✓ 全部 😀\tx",
		"gnp.\u202exe": "gnp. xe", "a\u2066b\u2028c": "a b c", "two\nlines": "two lines", "\xff": " ",
	} {
		if got := terminal.Printable(text); got != want {
			t.Errorf("%q is drawn as %q, want %q", text, got, want)
		}
	}
	if got := terminal.PrintableLines("a\x1b\n\tb\r\n"); got != "a \n\tb \n" {
		t.Errorf("lines are drawn as %q", got)
	}
}

// An answer may have ten megabytes, and need not have a blank.
func TestALongWordIsBroken(t *testing.T) {
	definition := example(t, "csat-feedback")
	long := strings.Repeat("全", 1_000_000)
	fault := phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
		if r.Action == flow.Init {
			return good
		}
		return []byte(`{"screen":"COMMENT","data":{"score":"x ` + long + ` y"}}`)
	}}
	out, _, _, err := sit(t, definition, fault, nil, "1", "", ":quit")
	if err != nil || strings.Count(out, "全") != 1_000_000 || !strings.Contains(out, "\n│ # "+strings.Repeat("全", 33)+"\n") {
		t.Errorf("%v, %d bytes:\n%.2000s", err, len(out), out)
	}
}

func TestWhatTheTerminalSaysOfFaults(t *testing.T) {
	definition := example(t, "csat-feedback")
	missing := phonetest.Fault{Alter: func(r *flow.Request, good []byte) []byte {
		if r.Action == flow.DataExchange && r.Screen == "RATING" {
			if _, _, reported := r.ErrorNotification(); !reported {
				return []byte(`{"screen":"COMMENT","data":{}}`)
			}
		}
		return good
	}}
	t.Run("an answer that is refused, and reported", func(t *testing.T) {
		out, result, endpoint, err := sit(t, definition, missing, nil, "1", "", ":quit")
		if err != nil || result.Ended || result.Refused != 1 || !strings.Contains(out, "payload-schema-error") || !strings.Contains(out, "The phone has told the endpoint so.") {
			t.Errorf("%v, %d refused:\n%s", err, result.Refused, out)
		}
		requests := endpoint.Requests()
		if key, _, ok := requests[len(requests)-1].ErrorNotification(); !ok || key != "payload-schema-error" {
			t.Errorf("reported: %v, %s", ok, key)
		}
	})
	t.Run("a flow that does not open", func(t *testing.T) {
		_, result, _, err := sit(t, definition, phonetest.Fault{Status: 500}, nil)
		if refusal, ok := errors.AsType[*phone.RefusalError](err); !ok || refusal.Key != phone.KeyUnexpectedStatus || result.Refused != 1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a token that is dead", func(t *testing.T) {
		_, _, _, err := sit(t, definition, phonetest.Fault{Status: 427, Alter: func(*flow.Request, []byte) []byte { return []byte(`{"error_msg":"over"}`) }}, nil)
		if dead, ok := errors.AsType[*phone.TokenError](err); !ok || dead.Message != "over" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("input that ends early", func(t *testing.T) {
		if _, _, _, err := sit(t, definition, phonetest.Fault{}, nil, "1"); !errors.Is(err, terminal.ErrInputEnded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("text that would move the cursor", func(t *testing.T) {
		out, _, _, _ := sit(t, definition, phonetest.Fault{Alter: func(_ *flow.Request, _ []byte) []byte {
			return []byte(`{"screen":"RATING","data":{"error_message":"\u001b[2J\u009bboo"}}`)
		}}, nil)
		if strings.ContainsAny(out, "\x1b\u009b") {
			t.Errorf("it wrote %q", out)
		}
	})
}

func TestTheEndOfTheProgramDoesNotWaitForTheKeyboard(t *testing.T) {
	definition := example(t, "csat-feedback")
	endpoint := &phonetest.Endpoint{Definition: definition}
	p := &phone.Phone{PublicKey: &phonetest.Key().PublicKey, AppSecret: []byte(phonetest.AppSecret), Token: "tok", Flow: definition, Send: endpoint.Send}
	hand := handset.New(p, screen.Load(definition))
	keyboard, fingers := io.Pipe()
	defer fingers.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	term := &terminal.Terminal{Hand: hand, In: keyboard, Out: &bytes.Buffer{}}
	_, err := term.Run(ctx, func(ctx context.Context) (*phone.Reply, error) {
		reply, err := hand.Open(ctx, "")
		cancel(stop)
		return reply, err
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("1\n\n:back\n2\n:edit 1\n:tap x\n-\n\\:a\n")
	f.Add("y\n1,2\n2026-11-24 2026-11-25\n[]\n")
	definition, err := flow.Load([]byte(everything), nil)
	if err != nil {
		f.Fatal(err)
	}
	screens := screen.Load(definition)
	f.Fuzz(func(_ *testing.T, lines string) {
		hand := handset.New(&phone.Phone{Token: "t", Flow: definition}, screens)
		term := &terminal.Terminal{Hand: hand, In: strings.NewReader(lines), Out: &bytes.Buffer{}}
		_, _ = term.Run(context.Background(), func(context.Context) (*phone.Reply, error) {
			return hand.OpenOn("FIRST", map[string]any{"n": 1, "items": []any{map[string]any{"id": "s", "title": "Small"}}})
		})
	})
}
