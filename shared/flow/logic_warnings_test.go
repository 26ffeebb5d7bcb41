package flow

import (
	"slices"
	"strings"
	"testing"
)

const lostWarning = "without a flow token these answers do not reach the result: "

// What params name explicitly is lost only where the session gives it.
func TestAnswersThatAreLostWithoutAToken(t *testing.T) {
	for _, test := range []struct{ name, params, lost string }{
		{"params of this screen's answers", "{code: form.code, n: screen.CODE.note, m: session.both}", ""},
		{"params of answers of others", "{a: screen.RECOMMEND.score, b: session.call, c: \"'x' + session.reason\"}", "score of RECOMMEND; call of PROMOTER; reason of DETRACTOR"},
		{"no params", "{}", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			def := surveyWith(t, "screens: {PROMOTER: {close: true}, CODE: {complete: {params: "+test.params+"}}}")
			var got string
			for _, w := range def.Warnings() {
				if after, ok := strings.CutPrefix(w, lostWarning); ok {
					got += after
				}
			}
			equal(t, "lost", got, test.lost)
			equal(t, "incomplete", def.StatelessIncomplete(request(t, DataExchange, "CODE", "", "")), test.lost != "")
		})
	}
	def := surveyWith(t, "screens: {RECOMMEND: {next: [{when: form.again, close: true}, {screen: PROMOTER}]}, PROMOTER: {close: true}, CODE: {close: true}}")
	equal(t, "of a flow that closes", strings.Contains(strings.Join(def.Warnings(), "\n"), lostWarning), false)
}

func TestWarningsTakeRulesIntoAccount(t *testing.T) {
	const (
		days    = "screen RECOMMEND needs data.days: add logic or use endpoint next"
		reasons = "screen DETRACTOR needs data.reasons: add logic or use endpoint next"
		day     = "screen RECOMMEND: choosing an option of Dropdown day sends data_exchange: without logic it is treated like Continue"
		option  = "[{'id': '1', 'title': 'x'}]"
		given   = `data: {days: "` + option + `"}`
		branch  = `next: [{when: form.again, screen: DETRACTOR, data: {reasons: "` + option + `"}}, {screen: PROMOTER}]`
	)
	for _, test := range []struct {
		name, rules string
		want        []string
	}{
		{"no rules", "", []string{days, day, reasons}},
		{"data of the screens", `screens: {RECOMMEND: {` + given + `, next: {screen: DETRACTOR}}, DETRACTOR: {data: {reasons: "` + option + `"}}}`, nil},
		{"data by every rule that leads there", `{init: {screen: RECOMMEND, data: {days: "` + option + `"}}, screens: {RECOMMEND: {` + branch + `}, DETRACTOR: {back: {screen: RECOMMEND, data: {days: "` + option + `"}}}, PROMOTER: {back: {screen: RECOMMEND, data: {days: "` + option + `"}}}, CODE: {back: {screen: DETRACTOR, data: {reasons: "` + option + `"}}}}}`, nil},
		{"BACK shows the screen too", `screens: {RECOMMEND: {` + given + `, ` + branch + `}}`, []string{reasons}},
		{"a rule of init that gives nothing", `{init: [{when: user.id == '', screen: RECOMMEND}, {screen: RECOMMEND, data: {days: "` + option + `"}}], screens: {RECOMMEND: {` + branch + `}}}`, []string{days, reasons}},
		{"rules that may not hold", `screens: {RECOMMEND: {` + given + `, next: {when: form.again, screen: DETRACTOR}}, DETRACTOR: {data: {reasons: "` + option + `"}}}`,
			[]string{"screen RECOMMEND: no rule of next may hold (logic.yaml:1:74): then the routing model decides; a last rule without when makes it certain"}},
		{"back of a screen without refresh_on_back", `screens: {RECOMMEND: {` + given + `, next: {screen: DETRACTOR}, back: {close: true}}, DETRACTOR: {data: {reasons: "` + option + `"}}}`,
			[]string{"screen RECOMMEND has rules for back, but no refresh_on_back: BACK never comes from it"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := surveyWith(t, test.rules).Warnings()
			got = slices.DeleteFunc(got, func(w string) bool { return strings.HasPrefix(w, lostWarning) })
			equal(t, "warnings", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		})
	}
}
