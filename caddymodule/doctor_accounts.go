package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// provisionOnly provisions a configuration, with storage and logs of its own: an
// internal certificate authority, say, would be made in the real one.
func provisionOnly(config caddy.Config) error {
	dir, err := os.MkdirTemp("", "waf-doctor-")
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	if config.StorageRaw, err = json.Marshal(map[string]string{"module": "file_system", "root": dir}); err != nil {
		return err
	}
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}}}
	return caddy.Validate(&config)
}

// errNoRoom says nothing of the configuration.
var errNoRoom = errors.New("no directory for what it would store")

// secrets reads the secrets of an account as its provisioning does.
func (a *examinedAccount) secrets(env setting.Source) doctor.Finding {
	name := a.label(secretsName)
	wrong := func(err error) doctor.Finding {
		return doctor.Failed(name, err.Error(), "the edge does not start", "set what is named")
	}
	c := a.credentials
	var err error
	if c.appSecrets, err = resolveSecrets("app_secret", a.AppSecrets, env, "META_APP_SECRET"); err != nil {
		return wrong(err)
	}
	if len(c.appSecrets) == 0 {
		return wrong(missing("app_secret", "META_APP_SECRET"))
	}
	if c.tokenSecrets, err = resolveSecrets("token_secret", a.TokenSecrets, env, "FLOW_TOKEN_SECRET"); err != nil {
		return wrong(err)
	}
	if a.RequireSignedTokens && len(c.tokenSecrets) == 0 {
		return wrong(fmt.Errorf("require_signed_tokens: %w", missing("token_secret", "FLOW_TOKEN_SECRET")))
	}
	verify, err := resolveSecret("verify_token", a.VerifyToken, env, "META_VERIFY_TOKEN")
	if err != nil {
		return wrong(err)
	}
	c.verifyToken = secret(verify)
	if a.defaultFlow, err = resolveText("default_flow", a.DefaultFlow); err == nil && a.defaultFlow == "" {
		a.defaultFlow, _, err = env.Lookup("DEFAULT_FLOW_NAME")
	}
	if err != nil {
		return wrong(err)
	}
	for _, app := range c.appSecrets {
		if len(app) != 32 || strings.Trim(string(app), "0123456789abcdef") != "" {
			return doctor.Warned(name, fmt.Sprintf("an app secret has %d characters, expected the 32 hexadecimal digits that Meta shows", len(app)),
				"with another secret than Meta's every request gets 432", "copy it from the app's settings at Meta (App settings, Basic)")
		}
	}
	return doctor.Fine(name, "%d app secrets, %d token secrets, verify token %s", len(c.appSecrets), len(c.tokenSecrets), map[bool]string{true: "set", false: "not set"}[verify != ""])
}

// keys reads the private keys of an account.
func (a *examinedAccount) keys(env setting.Source) doctor.Finding {
	name := a.label(keysName)
	wrong := func(err error) doctor.Finding {
		return doctor.Failed(name, err.Error(), "no request of WhatsApp can be opened, and the edge does not start", "mend the key; `caddy whatsapp-flows keys show FILE` tells more")
	}
	c := a.credentials
	if err := a.readKeys(keyReader{a.name, c, nil}, env); err != nil {
		return wrong(err)
	}
	if len(c.keys) == 0 {
		if c.directory != "" {
			return wrong(fmt.Errorf("there is no private key in %s: make one with `caddy whatsapp-flows keys create --dir %s`", c.directory, c.directory))
		}
		return doctor.Failed(name, missing("private_key", "PRIVATE_KEY").Error(), "no flow can be served", "make one with `caddy whatsapp-flows keys create flow.pem`")
	}
	var all []string
	for _, key := range c.keys {
		all = append(all, fmt.Sprintf("%s (%s)", key.fingerprint, key.source))
	}
	evidence := strings.Join(all, ", ")
	if err := a.pairs(env); err != nil {
		return doctor.Failed(name, err.Error(), "who registers that public key has WhatsApp encrypt what the edge cannot open", "write it anew from the private key: `caddy whatsapp-flows keys show` compares both")
	}
	for _, key := range c.keys {
		if key.weakness != "" {
			return doctor.Warned(name, evidence+"; "+key.source+": "+key.weakness, "its passphrase protects little", "write it anew with `caddy whatsapp-flows keys convert`")
		}
	}
	return doctor.Fine(name, "%s", evidence)
}

// pairs compares PUBLIC_KEY, and the public key beside each file, with the private
// ones.
func (a *examinedAccount) pairs(env setting.Source) error {
	text, from, err := env.Lookup("PUBLIC_KEY")
	if err != nil {
		return err
	}
	if text != "" && a.name == defaultAccount {
		if err := a.holds(from, []byte(text), a.fingerprints()); err != nil {
			return err
		}
	}
	for _, key := range a.credentials.keys {
		beside := strings.TrimSuffix(key.source, ".pem") + ".pub"
		if !strings.HasSuffix(key.source, ".pem") {
			continue
		}
		text, err := env.ReadFile(beside)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = a.holds(beside, text, []string{key.fingerprint})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *examinedAccount) holds(from string, text []byte, fingerprints []string) error {
	key, err := flowcrypto.ReadPublicKey(text)
	if key == nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if is := flowcrypto.Fingerprint(key); !slices.Contains(fingerprints, is) {
		return fmt.Errorf("%s is the public key %s, which belongs to no private key here", from, is)
	}
	return nil
}

// files are those that the account's secrets and keys come from.
func (a *examinedAccount) files(env setting.Source) (paths []string) {
	values := slices.Concat(a.AppSecrets, a.TokenSecrets, []string{a.VerifyToken})
	for _, key := range a.PrivateKeys {
		values = append(values, key.PEM, key.Passphrase)
	}
	if a.KeyDirectory != nil {
		values = append(values, a.KeyDirectory.Passphrase)
	}
	for _, value := range values {
		for _, placeholder := range namedPlaceholder.FindAllString(value, -1) {
			if path, ok := strings.CutPrefix(strings.Trim(placeholder, "{}"), "file."); ok {
				paths = append(paths, path)
			}
		}
	}
	for _, variable := range []struct {
		name string
		used bool
	}{
		{"META_APP_SECRET", len(a.AppSecrets) == 0}, {"FLOW_TOKEN_SECRET", len(a.TokenSecrets) == 0}, {"META_VERIFY_TOKEN", a.VerifyToken == ""},
		{"PRIVATE_KEY", a.KeyDirectory == nil && len(a.PrivateKeys) == 0}, {"PASSPHRASE", a.KeyDirectory == nil && len(a.PrivateKeys) == 0},
		{"REDIS_URL", true}, {"META_ACCESS_TOKEN", true},
	} {
		if path, _ := env.LookupEnv(variable.name + "_FILE"); variable.used && path != "" {
			paths = append(paths, path)
		}
	}
	if dir := a.credentials.directory; dir != "" {
		files, _ := keyring.List(dir) // it was read a moment ago
		for _, file := range files {
			paths = append(paths, file.Path)
			if file.Passphrase != "" {
				paths = append(paths, file.Passphrase)
			}
		}
	}
	for i, path := range paths {
		paths[i] = filepath.Clean(path)
	}
	return paths
}

// literals looks for secrets that stand in the configuration itself.
func (e *examined) literals() doctor.Finding {
	var found []string
	look := func(of, option string, values ...string) {
		for _, value := range values {
			if value != "" && !namedPlaceholder.MatchString(value) {
				found = append(found, of+option)
				return
			}
		}
	}
	for _, a := range e.accounts {
		of := ""
		if !a.single {
			of = "account " + a.name + ": "
		}
		look(of, "app_secret", a.AppSecrets...)
		look(of, "token_secret", a.TokenSecrets...)
		look(of, "verify_token", a.VerifyToken)
		for _, key := range a.PrivateKeys {
			look(of, "private_key", key.PEM, key.Passphrase)
		}
		if a.KeyDirectory != nil {
			look(of, "passphrase of private_keys", a.KeyDirectory.Passphrase)
		}
	}
	look("redis: ", "password", e.app.Redis.Password, e.app.Redis.SentinelPassword)
	if len(found) > 0 {
		return doctor.Warned(literalsName, "written into the configuration: "+strings.Join(slices.Compact(found), ", "),
			"who may ask the admin API for the configuration, or read the Caddyfile, has it", "put it into a file and write {file.PATH}, or leave the option out and set the variable")
	}
	return doctor.Fine(literalsName, "all come from files or the environment")
}

// running compares the keys of the configuration with those of the edge that runs.
func (d examination) running(e *examined) []doctor.Finding {
	body, err := d.admin(d.config, d.adapter, "/whatsapp_flows/keys")
	if err != nil {
		return []doctor.Finding{doctor.Skip(runningName, "no edge answers at the admin address of this configuration")}
	}
	defer body.Close() //nolint:errcheck // only read
	var report keyring.Report
	if err := json.NewDecoder(body).Decode(&report); err != nil {
		return []doctor.Finding{doctor.Skip(runningName, "what answers at the admin address is another version")}
	}
	var found []doctor.Finding
	for _, a := range e.accounts {
		found = append(found, a.runs(report))
	}
	return found
}

func (a *examinedAccount) runs(report keyring.Report) doctor.Finding {
	name := a.label(runningName)
	is, ok := report.Find(a.name)
	if !ok {
		return doctor.Warned(name, "the running edge has no account "+a.name, "what this configuration says is not what runs", "`caddy reload`")
	}
	var have, shares []string
	for i, key := range is.Keys {
		have = append(have, key.Fingerprint)
		shares = append(shares, fmt.Sprintf("key %d opened %d requests in 24 h (%.0f %%)", i+1, key.OpenedDay, 100*key.ShareDay))
	}
	if !slices.Equal(have, a.fingerprints()) {
		return doctor.Failed(name, fmt.Sprintf("the edge runs with %s, the configuration has %s", orNone(have), orNone(a.fingerprints())),
			"phones that have the other public key get 421", "`caddy whatsapp-flows keys reload`, or `caddy reload` after a change of the Caddyfile")
	}
	return doctor.Fine(name, "those of the configuration; %s", orNone(shares))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
