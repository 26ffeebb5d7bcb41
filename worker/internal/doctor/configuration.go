package doctor

import (
	"io/fs"
	"net/url"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

// The names of the findings.
const (
	Configuration = "configuration"
	Access        = "configuration: API"
	SecretFiles   = "secret files: modes"
)

// Configured says whether the worker would start with the environment.
func Configured(src setting.Source) []doctor.Finding {
	s, err := settings.ReadServe(src)
	if err != nil {
		return []doctor.Finding{
			doctor.Failed(Configuration, oneLine(err), "the worker does not start", "set what is named; the README lists the variables"),
			doctor.Skip(Access, "see "+Configuration),
		}
	}
	found := []doctor.Finding{doctor.Fine(Configuration, "complete; listens on %s as worker %s", s.Listen, s.Name)}
	if len(s.API.Tokens) == 0 {
		return append(found, doctor.Skip(Access, "off: neither API_TOKEN nor API_TOKENS is set"))
	}
	for _, token := range s.API.Tokens {
		if token.Weak() {
			return append(found, doctor.Warned(Access, token.Name+" is short", "whoever guesses it reads every answer", "make a longer one, such as with openssl rand -hex 32"))
		}
	}
	for _, origin := range s.API.Origins {
		if origin == "*" {
			return append(found, doctor.Warned(Access, "CORS_ORIGINS is *", "any web page that somebody with a token visits may call the API with it", "name the origins that need it"))
		}
	}
	return append(found, doctor.Fine(Access, "%d tokens", len(s.API.Tokens)))
}

// secrets are the variables that hold some, each also as NAME_FILE.
var secrets = []string{"DATABASE_URL", "DB_PASSWORD", "REDIS_URL", "CALLBACK_SECRET", "CALLBACK_WEBHOOK_URL", "API_TOKEN", "API_TOKENS", "META_ACCESS_TOKEN", "META_APP_SECRET", "FLOW_TOKEN_SECRET"}

// SecretFilesOf looks at the files that variables name.
func SecretFilesOf(src setting.Source, stat func(string) (fs.FileInfo, error)) doctor.Finding {
	var paths []string
	for _, name := range secrets {
		if path, _ := src.LookupEnv(name + "_FILE"); path != "" {
			paths = append(paths, path)
		}
	}
	return doctor.Modes(SecretFiles, paths, stat)
}

// Secrets are the values to keep out of a report: each as it stands, each of a
// list, and the password of each URL.
func Secrets(src setting.Source) (values []string) {
	for _, name := range secrets {
		// What cannot be read cannot be shown either.
		value, _, err := src.Lookup(name)
		if err != nil || value == "" {
			continue
		}
		values = append(values, value)
		if name == "API_TOKENS" {
			values = append(values, tokensOf(value)...)
		} else {
			values = append(values, setting.List(value)...)
		}
		if u, err := url.Parse(value); err == nil {
			if password, is := u.User.Password(); is {
				values = append(values, password, url.QueryEscape(password))
			}
		}
	}
	return values
}

// tokensOf are the tokens of API_TOKENS, whose lines hold names of accounts too.
func tokensOf(lines string) (tokens []string) {
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) >= 3 {
			tokens = append(tokens, words[2])
		}
	}
	return tokens
}
