package keyscommand

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

func publicOf(t *testing.T, bits int) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return string(flowcrypto.PublicPEM(&key.PublicKey))
}

func TestAKeyIsRegisteredForTheNumbersThatAreMeant(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string // numbers that get it
	}{
		"those of the environment":      {nil, nil, "101"},
		"one by name":                   {nil, []string{"--number", "102"}, "102"},
		"two by name":                   {nil, []string{"--number", "102", "--number", "101"}, "101 102"},
		"all of the business account":   {nil, []string{"--all-numbers"}, "101 102"},
		"those of the account by name":  {map[string]string{"META_PHONE_NUMBER_ID": "acme=101, default=102"}, nil, "102"},
		"of a file, without any edge":   {nil, []string{"--public", "PUBLIC", "--address", "nowhere:1"}, "101"},
		"an edge by its admin address":  {nil, []string{"--address", "localhost:2019"}, "101"},
		"the account is named, as well": {nil, []string{"--account", "default"}, "101"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, e := rotating(t)
			server := d.meta()
			for key, value := range c.env {
				d.env[key] = value
			}
			public := e.keys[0].PublicKey
			args := []string{"register"}
			for _, arg := range c.args {
				args = append(args, strings.ReplaceAll(arg, "PUBLIC", d.write("flow.pub", public)))
			}
			out := d.must(args...)
			var got []string
			for _, id := range []string{"101", "102"} {
				if server.Key(id).PEM == public {
					got = append(got, id)
				}
			}
			if strings.Join(got, " ") != c.want || strings.Count(out, "VALID, the same key") != len(got) {
				t.Errorf("registered for %v, expected %s; it says\n%s", got, c.want, out)
			}
		})
	}
}

func TestARegistrationThatDidNotTakeIsAnError(t *testing.T) {
	d, _ := rotating(t)
	server := d.meta()
	for name, c := range map[string]struct {
		prepare func()
		args    []string
		want    []string
	}{
		"a key of 4096 bits": {nil, []string{"--public", d.write("large.pub", publicOf(t, 4096))}, []string{"RSA key of 4096 bits, WhatsApp takes 2048 only"}},
		"a private key":      {nil, []string{"--public", keyFiles + "rsa_pkcs8_plain.pem"}, []string{"it is a private key"}},
		"a number of others": {nil, []string{"--number", "999"}, []string{"number 999", "no such object"}},
		"an id that is none": {nil, []string{"--number", "+15550101"}, []string{"+15550101"}},
		"reading back fails": {func() {
			server.Fail("GET 101/whatsapp_business_encryption", graphtest.Failure{Status: 403, Code: 10, Message: "no permission"})
		}, nil, []string{"the key is set, but cannot be read back"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.prepare != nil {
				c.prepare()
			}
			d.refused(c.want, append([]string{"register"}, c.args...)...)
		})
	}
}

// What Meta holds afterwards is not always what it took.
func TestWhatIsReadBackIsWhatCounts(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	ours, other := e.keys[0].PublicKey, publicOf(t, 2048)
	otherKey, err := flowcrypto.ReadPublicKey([]byte(other))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		held graph.PublicKey
		want []string
	}{
		"its signature does not fit": {graph.PublicKey{PEM: ours, Signature: graph.SignatureMismatch},
			[]string{"101  MISMATCH (the number was registered anew: set the key again), the same key", "number 101: WhatsApp holds the key, but it is MISMATCH"}},
		"nothing is said of it": {graph.PublicKey{PEM: ours},
			[]string{"101  without a signature status, the same key", "number 101: WhatsApp holds the key, but it is without a signature status"}},
		"another key": {graph.PublicKey{PEM: other, Signature: graph.SignatureValid},
			[]string{"number 101: WhatsApp took the key, but holds another: " + flowcrypto.Fingerprint(otherKey) + "  VALID"}},
		"none": {graph.PublicKey{}, []string{"number 101: WhatsApp took the key, but holds another: no key"}},
	} {
		t.Run(name, func(t *testing.T) {
			d.told = func(r *http.Request) {
				if r.Method == http.MethodPost {
					server.SetKey("101", c.held)
				}
			}
			out := d.refused(c.want, "register")
			if strings.Contains(out, "VALID, the same key") || strings.Contains(out, "NOT A KEY OF THE EDGE") {
				t.Errorf("it says\n%s", out)
			}
		})
	}
}

func TestStatusComparesWithWhatWhatsAppHolds(t *testing.T) {
	d, e := rotating(t)
	out := d.must("status")
	for _, part := range []string{"account default at localhost:2019", "key 1  " + e.keys[0].Fingerprint, "never used", "META_ACCESS_TOKEN is not set"} {
		if !strings.Contains(out, part) {
			t.Errorf("it says\n%s\nexpected %q", out, part)
		}
	}
	server := d.meta()
	delete(d.env, "META_PHONE_NUMBER_ID")
	if out := d.must("status"); !strings.Contains(out, "WhatsApp is not asked: which phone numbers?") {
		t.Errorf("without numbers it says\n%s", out)
	}
	d.env["META_PHONE_NUMBER_ID"] = "101"
	second := d.edge("10.0.0.2:2019", d.path("keys"))
	second.opens(1, 3)
	server.SetKey("102", graph.PublicKey{PEM: e.keys[0].PublicKey, Signature: graph.SignatureValid})
	if out := d.must("status", "--address", "localhost:2019", "--address", "10.0.0.2:2019", "--number", "102", "--account", "default"); strings.Count(out, "number 102 has") != 1 || strings.Count(out, "account default at") != 2 {
		t.Errorf("of two edges it says\n%s", out)
	}
	// Each edge must be able to open what WhatsApp seals.
	second.dir = ""
	second.load()
	d.refused([]string{"key 1 of the edge", "number 102: WhatsApp does not hold a valid key of the edge at 10.0.0.2:2019"},
		"status", "--address", "localhost:2019", "--address", "10.0.0.2:2019", "--number", "102")
	// A number that is named belongs to one account.
	e.account("acme", d.path("keys"))
	d.refused([]string{"--number: the edge has several accounts", "--account"}, "status", "--number", "102")
	e.beside = nil
	d.write("keys/rotation.json", "{")
	if out := d.must("status", "--number", "102"); !strings.Contains(out, "whether a rotation is under way cannot be read") {
		t.Errorf("with a damaged note it says\n%s", out)
	}
	if err := os.Remove(d.path("keys/rotation.json")); err != nil {
		t.Fatal(err)
	}

	ours, other := e.keys[0].PublicKey, publicOf(t, 2048)
	for name, c := range map[string]struct {
		key  graph.PublicKey
		want string
		bad  bool
	}{
		"ours":              {graph.PublicKey{PEM: ours, Signature: graph.SignatureValid}, "VALID, key 1 of the edge", false},
		"ours, mismatching": {graph.PublicKey{PEM: ours, Signature: graph.SignatureMismatch}, "MISMATCH (the number was registered anew: set the key again), key 1", true},
		"another's":         {graph.PublicKey{PEM: other, Signature: graph.SignatureValid}, "NOT A KEY OF THE EDGE", true},
		"none":              {graph.PublicKey{}, "no key: register one", true},
		"rubbish":           {graph.PublicKey{PEM: "rubbish", Signature: graph.SignatureValid}, "cannot be read", true},
	} {
		t.Run(name, func(t *testing.T) {
			server.SetKey("101", c.key)
			out, err := d.run("", "status")
			if (err != nil) != c.bad || !strings.Contains(out, "number 101 has ") || !strings.Contains(out, c.want) {
				t.Errorf("error %v; it says\n%s\nexpected %q", err, out, c.want)
			}
		})
	}
	if len(server.Writes()) != 0 {
		t.Error("status changes something at Meta")
	}
}

func TestAnAnswerOfAnotherVersionIsRefused(t *testing.T) {
	d, e := rotating(t)
	d.must("rotate", "--no-register", "--overlap", "0s")
	e.keys[1].Fingerprint = "ab"
	if err := keyring.WriteRotation(d.path("keys"), &keyring.Rotation{New: e.keys[0].Fingerprint, Old: []string{"ab"}}); err != nil {
		t.Fatal(err)
	}
	e.keys[1].LastOpened = d.now
	for _, args := range [][]string{{"status"}, {"register", "--number", "101"}, {"rotate", "--finish", "--no-register"}} {
		d.meta()
		d.refused([]string{"the edge at localhost:2019: its answer is not that of this version"}, args...)
	}
}

func TestReloadSaysWhatChangedOrWhy(t *testing.T) {
	d, e := rotating(t)
	if out := d.must("reload"); out != "default      changed\n" {
		t.Errorf("it says %q", out)
	}
	e.broken = "account default: private_keys: /keys/2026-11-29.pem: private key: it is empty, expected a PEM"
	_, err := d.run("", "reload")
	if want := "the edge at localhost:2019: " + e.broken; err == nil || err.Error() != want {
		t.Errorf("error %v, expected %s", err, want)
	}
}
