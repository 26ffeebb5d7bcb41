package setting

import (
	"reflect"
	"strings"
	"testing"
)

func TestIDsBelongToAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		want  map[string][]string
		err   string
	}{
		"nothing":                         {"", map[string][]string{}, ""},
		"of the only account":             {"2,1", map[string][]string{"default": {"2", "1"}}, ""},
		"of two":                          {"1, shop=2\nshop=3", map[string][]string{"default": {"1"}, "shop": {"2", "3"}}, ""},
		"one twice":                       {"1 default=1", map[string][]string{"default": {"1"}}, ""},
		"a phone number":                  {"+55 11", nil, `IDS holds "+55", expected an id of digits`},
		"an account without an id":        {"shop=", nil, `IDS holds "shop="`},
		"an id without an account":        {"=12", nil, `IDS holds "=12"`},
		"an id of two accounts":           {"a=1,b=1", nil, "IDS gives the id 1 to both a and b"},
		"an id of the default and of one": {"1,b=1", nil, "IDS gives the id 1 to both default and b"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := source(map[string]string{"IDS": c.value}, nil).IDs("IDS")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, expected %q", err, c.err)
				}
			} else if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, %v; expected %v", got, err, c.want)
			}
		})
	}
}
