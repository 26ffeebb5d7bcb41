package settings

import (
	"slices"
	"strings"
	"testing"
)

func TestTokensOfTheAPI(t *testing.T) {
	s, err := ReadServe(with(env{
		"API_TOKEN": "one, two", "API_TOKENS_FILE": "/run/secrets/tokens", "file:/run/secrets/tokens": `
			# who may do what
			read  *             three   # the dashboard
			admin shop,bank-2   four
		`, "CORS_ORIGINS": "https://admin.example.com, http://localhost:3000/",
	}).source())
	if err != nil {
		t.Fatal(err)
	}
	want := []APIToken{
		{"API_TOKEN 1", "one", true, nil}, {"API_TOKEN 2", "two", true, nil},
		{"API_TOKENS_FILE line 2", "three", false, nil}, {"API_TOKENS_FILE line 3", "four", true, []string{"shop", "bank-2"}},
	}
	if len(s.API.Tokens) != len(want) {
		t.Fatalf("tokens = %+v", s.API.Tokens)
	}
	for i, got := range s.API.Tokens {
		if got.Name != want[i].Name || got.Secret != want[i].Secret || got.Admin != want[i].Admin || !slices.Equal(got.Accounts, want[i].Accounts) {
			t.Errorf("token %d = %+v, want %+v", i, got, want[i])
		}
	}
	if shop := s.API.Tokens[3]; !shop.Sees("shop") || shop.Sees("default") || !s.API.Tokens[2].Sees("anything") {
		t.Error("a token sees other accounts than its own")
	}
	if !slices.Equal(s.API.Origins, []string{"https://admin.example.com", "http://localhost:3000"}) {
		t.Errorf("origins = %v", s.API.Origins)
	}
}

func TestTheAPIIsOffAndClosedByDefault(t *testing.T) {
	s, err := ReadServe(with(env{"META_ACCESS_TOKEN": "EAAG-what-the-seed-took-for-a-password"}).source())
	if err != nil || len(s.API.Tokens) != 0 || s.API.Origins != nil {
		t.Errorf("%+v, %v", s.API, err)
	}
}

func TestMistakesInTokensAndOriginsHoldNoSecret(t *testing.T) {
	for _, c := range []struct {
		name string
		env  env
		want string
	}{
		{"two words", env{"API_TOKENS": "read geheim"}, "API_TOKENS: line 1 has 2 words"},
		{"a space between accounts", env{"API_TOKENS": "read shop, bank geheim"}, "line 1 has 4 words"},
		{"another scope", env{"API_TOKENS": "\nwrite * geheim"}, "line 2 does not begin with read or admin"},
		{"the token first", env{"API_TOKENS": "geheim read *"}, "line 1 does not begin with read or admin"},
		{"no account", env{"API_TOKENS": "read , geheim"}, "names an account that is none"},
		{"a path for an account", env{"API_TOKENS": "read a/b geheim"}, "names an account that is none"},
		{"a placeholder", env{"API_TOKENS": "admin * changeme"}, "placeholder"},
		{"the placeholder of the seed", env{"API_TOKEN": "your_secure_api_token_here"}, "API_TOKEN still holds the placeholder"},
		{"the same token twice", env{"API_TOKEN": "geheim", "API_TOKENS": "read * geheim"}, "API_TOKEN 1 and API_TOKENS line 1 are the same token"},
		{"both forms", env{"API_TOKENS": "read * geheim", "API_TOKENS_FILE": "/x"}, "both API_TOKENS and API_TOKENS_FILE"},
		{"an origin with a path", env{"CORS_ORIGINS": "https://example.com/admin"}, "CORS_ORIGINS"},
		{"an origin without scheme", env{"CORS_ORIGINS": "example.com"}, "CORS_ORIGINS"},
		{"everyone and someone", env{"CORS_ORIGINS": "*,https://example.com"}, "* beside other origins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadServe(with(c.env).source())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("err = %v, want %q", err, c.want)
			}
		})
	}
}
