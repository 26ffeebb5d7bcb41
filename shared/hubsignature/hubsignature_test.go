package hubsignature_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

const secret = "test_app_secret"

func verifier(t testing.TB, secrets ...string) *hubsignature.Verifier {
	t.Helper()
	raw := make([][]byte, len(secrets))
	for i, s := range secrets {
		raw[i] = []byte(s)
	}
	v, err := hubsignature.New(raw...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The bytes decide: the same JSON with other spaces or escapes has another
// signature.
func TestKnownSignatures(t *testing.T) {
	for _, c := range []struct{ name, body, mac string }{
		{"without spaces", `{"object":"whatsapp_business_account","entry":[]}`, "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"},
		{"with spaces", `{"object": "whatsapp_business_account", "entry": []}`, "56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a"},
		{"with escapes", `{"t":"\u00e4\u00f6\u00e5"}`, "8cc2a80f11313ef9c69ca05a132f3f266a992c9b43953c1a520861f142a45c7a"},
		{"as UTF-8", `{"t":"äöå"}`, "07b8dabf93a804e697507061549bf1050a7e7efcff37c84effe4818d2a4f9c3e"},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := "sha256=" + c.mac
			if got := hubsignature.Sign([]byte(secret), []byte(c.body)); got != header {
				t.Errorf("signed %s, expected %s", got, header)
			}
			mac, ok := verifier(t, secret).Verify(header, []byte(c.body))
			if !ok || hex.EncodeToString(mac[:]) != c.mac {
				t.Errorf("verified %x, %v; expected %s", mac, ok, c.mac)
			}
		})
	}
}

func TestSignatureOverEscapedSlashes(t *testing.T) {
	raw, err := os.ReadFile("testdata/signature.json")
	if err != nil {
		t.Fatal(err)
	}
	var vector struct {
		Secret string `json:"app_secret"`
		Body   string `json:"raw_body"`
		Header string `json:"x_hub_signature_256"`
	}
	if err := json.Unmarshal(raw, &vector); err != nil {
		t.Fatal(err)
	}
	v := verifier(t, vector.Secret)
	if _, ok := v.Verify(vector.Header, []byte(vector.Body)); !ok {
		t.Error("the signed body was refused")
	}
	if _, ok := v.Verify(vector.Header, []byte(strings.ReplaceAll(vector.Body, `\/`, "/"))); ok {
		t.Error("the body without its escapes was accepted")
	}
}

func TestBadSignatures(t *testing.T) {
	body := []byte(`{"entry":[]}`)
	good := hubsignature.Sign([]byte(secret), body)
	v := verifier(t, secret)
	for name, header := range map[string]string{
		"missing":              "",
		"prefix only":          "sha256=",
		"no prefix":            good[len("sha256="):],
		"prefix in upper case": "SHA256=" + good[len("sha256="):],
		"of the legacy scheme": "sha1=" + good[len("sha256="):][:40],
		"cut off":              good[:len(good)-1],
		"too long":             good + "0",
		"a space before":       " " + good[:len(good)-1],
		"not hex":              good[:len(good)-1] + "g",
		"another digit":        flip(good),
		"of another secret":    hubsignature.Sign([]byte("other"), body),
		"of no secret":         hubsignature.Sign(nil, body),
		"of another body":      hubsignature.Sign([]byte(secret), []byte(`{"entry":[1]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			if mac, ok := v.Verify(header, body); ok || mac != [32]byte{} {
				t.Errorf("got %x, %v; expected a refusal", mac, ok)
			}
		})
	}
}

func flip(header string) string {
	last := byte('0')
	if header[len(header)-1] == '0' {
		last = '1'
	}
	return header[:len(header)-1] + string(last)
}

func TestOldAndNewSecretAreAccepted(t *testing.T) {
	body := []byte("body")
	v := verifier(t, "new", "old")
	for _, s := range []string{"new", "old"} {
		if _, ok := v.Verify(hubsignature.Sign([]byte(s), body), body); !ok {
			t.Errorf("a signature under the %s secret was refused", s)
		}
	}
	if _, ok := v.Verify(hubsignature.Sign([]byte("older"), body), body); ok {
		t.Error("a signature under a secret that was removed was accepted")
	}
}

func TestVerifierNeedsSecrets(t *testing.T) {
	if _, err := hubsignature.New(); err == nil {
		t.Error("no secret was accepted")
	}
	if _, err := hubsignature.New([]byte("new"), nil); err == nil {
		t.Error("an empty secret was accepted")
	}
}

func TestVerifierKeepsItsOwnCopyOfSecrets(t *testing.T) {
	s := []byte(secret)
	v, err := hubsignature.New(s)
	if err != nil {
		t.Fatal(err)
	}
	clear(s)
	if _, ok := v.Verify(hubsignature.Sign([]byte(secret), []byte("x")), []byte("x")); !ok {
		t.Error("clearing the caller's slice changed the verifier")
	}
}

func TestVerifierServesManyRequestsAtOnce(t *testing.T) {
	v := verifier(t, "new", "old")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			body := []byte(strings.Repeat("x", i*1000))
			header := hubsignature.Sign([]byte("old"), body)
			for range 200 {
				if _, ok := v.Verify(header, body); !ok {
					t.Error("a good signature was refused")
				}
				if _, ok := v.Verify(flip(header), body); ok {
					t.Error("a bad signature was accepted")
				}
			}
		})
	}
	wait.Wait()
}

func BenchmarkVerifyBad(b *testing.B) {
	body := make([]byte, 1<<10)
	v := verifier(b, "new", "old")
	for _, c := range []struct{ name, header string }{
		{"wrong", hubsignature.Sign([]byte("other"), body)},
		{"malformed", "sha256=0"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := v.Verify(c.header, body); ok {
					b.Fatal("accepted")
				}
			}
		})
	}
}
