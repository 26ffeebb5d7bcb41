package flowtoken_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

var (
	secret  = []byte("current-secret")
	now     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	claims  = flowtoken.Claims{Flow: "csat", Account: "shop", Version: "v2", User: "kund-42 ÅÄÖ <&>", Name: "Åsa <&>", Expires: now.Add(48 * time.Hour)}
	secrets = [][]byte{secret}
)

func mint(t testing.TB, secret []byte, c flowtoken.Claims) string {
	t.Helper()
	token, err := flowtoken.Mint(secret, c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forge signs any payload the way Mint does.
func forge(secret []byte, payload string) string {
	signed := "wf1." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestMintedTokenSaysWhatItWasMintedWith(t *testing.T) {
	token := mint(t, secret, claims)
	if !flowtoken.IsSigned(token) {
		t.Errorf("%q does not count as signed", token)
	}
	got, err := flowtoken.Verify(secrets, token, now)
	if err != nil || got != claims {
		t.Errorf("got %+v, %v; expected %+v", got, err, claims)
	}
}

// The form is a contract: tokens live for days in messages already sent.
func TestFormOfATokenIsFixed(t *testing.T) {
	const want = "wf1.eyJmIjoiY3NhdCIsInUiOiJhbm5hIiwiZSI6MTc5NTYwODAwMCwibiI6IkJ3Y0hCd2NIQndjSEJ3Y0gifQ.My5Vf-mgfk1LVUV8Tg7BnpOZ-34UaMq8lLz4_-adhzA"
	c := flowtoken.Claims{Flow: "csat", User: "anna", Expires: now.Add(48 * time.Hour)}
	got, err := flowtoken.Mint(secret, c, bytes.NewReader(bytes.Repeat([]byte{7}, 12)))
	if err != nil || got != want {
		t.Errorf("minted %s, %v; expected %s", got, err, want)
	}
	if again, err := flowtoken.Verify(secrets, want, now); err != nil || again != c {
		t.Errorf("verified %+v, %v; expected %+v", again, err, c)
	}
}

func TestTwoTokensForOneUserDiffer(t *testing.T) {
	first, second := mint(t, secret, claims), mint(t, secret, claims)
	if first == second {
		t.Error("two tokens are equal")
	}
}

func TestTokensOfThePreviousSecretAreAccepted(t *testing.T) {
	token := mint(t, []byte("previous"), claims)
	if _, err := flowtoken.Verify([][]byte{secret, []byte("previous")}, token, now); err != nil {
		t.Error(err)
	}
	if _, err := flowtoken.Verify(secrets, token, now); !errors.Is(err, flowtoken.ErrForged) {
		t.Errorf("after the secret was removed: %v, expected ErrForged", err)
	}
}

func TestTokenExpires(t *testing.T) {
	token := mint(t, secret, claims)
	if _, err := flowtoken.Verify(secrets, token, claims.Expires.Add(-time.Second)); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	got, err := flowtoken.Verify(secrets, token, claims.Expires)
	if !errors.Is(err, flowtoken.ErrExpired) || errors.Is(err, flowtoken.ErrForged) || got != claims {
		t.Errorf("at its end: %+v, %v; expected the claims and ErrExpired", got, err)
	}
}

func TestForgedTokens(t *testing.T) {
	token := mint(t, secret, claims)
	parts := strings.Split(token, ".")
	other := strings.Split(mint(t, secret, claims), ".")
	const nonce = `,"n":"AAAAAAAAAAAAAAAA"}`
	for name, token := range map[string]string{
		"empty":                        "",
		"unsigned":                     "order-17",
		"prefix only":                  "wf1.",
		"no signature":                 "wf1." + parts[1],
		"an empty signature":           "wf1." + parts[1] + ".",
		"the signature of another":     "wf1." + parts[1] + "." + other[2],
		"a signature cut off":          token[:len(token)-1],
		"a signature with padding":     token + "=",
		"a signature with a line end":  token + "\n",
		"a line end in the payload":    "wf1." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2],
		"other bits behind the MAC":    token[:len(token)-1] + string(sibling(token[len(token)-1])),
		"four parts":                   token + ".x",
		"another version":              "wf2." + parts[1] + "." + parts[2],
		"another secret":               mint(t, []byte("guessed"), claims),
		"the empty secret":             forge(nil, `{"e":4000000000`+nonce),
		"too long":                     "wf1." + strings.Repeat("A", 3000) + "." + parts[2],
		"signed, but no JSON":          forge(secret, "hello"),
		"signed, but no expiry":        forge(secret, `{"f":"csat"`+nonce),
		"signed, but a negative one":   forge(secret, `{"e":-1`+nonce),
		"signed, but no nonce":         forge(secret, `{"e":4000000000}`),
		"signed, but a short nonce":    forge(secret, `{"e":4000000000,"n":"AAAA"}`),
		"signed, but a huge expiry":    forge(secret, `{"e":1e300`+nonce),
		"signed, but a user that is 1": forge(secret, `{"u":1,"e":4000000000`+nonce),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := flowtoken.Verify([][]byte{nil, secret}, token, now)
			if !errors.Is(err, flowtoken.ErrForged) || got != (flowtoken.Claims{}) {
				t.Errorf("got %+v, %v; expected ErrForged", got, err)
			}
			if len(token) > 10 && err != nil && strings.Contains(err.Error(), token) {
				t.Error("the error holds the token")
			}
		})
	}
	if _, err := flowtoken.Verify(nil, token, now); !errors.Is(err, flowtoken.ErrForged) {
		t.Errorf("without any secret: %v, expected ErrForged", err)
	}
}

// sibling is the character of base64url that differs in the lowest bit: behind
// 32 bytes the last character has two bits that no byte uses.
func sibling(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func TestMintRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		secret []byte
		claims flowtoken.Claims
		random []byte
		want   string
	}{
		"an empty secret": {nil, claims, make([]byte, 12), "secret is empty"},
		"no expiry":       {secret, flowtoken.Claims{Flow: "csat"}, make([]byte, 12), "no expiry"},
		"a user too long": {secret, flowtoken.Claims{User: strings.Repeat("u", 2000), Expires: claims.Expires}, make([]byte, 12), "at most 2048"},
		"too few random":  {secret, claims, make([]byte, 11), "random bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := flowtoken.Mint(c.secret, c.claims, bytes.NewReader(c.random))
			if token != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, %v; expected an error with %q", token, err, c.want)
			}
		})
	}
}

func TestIsSigned(t *testing.T) {
	for token, want := range map[string]bool{"wf1.x": true, "wf1.": true, "wf1": false, "WF1.x": false, "unused": false, "": false} {
		if got := flowtoken.IsSigned(token); got != want {
			t.Errorf("%q: %v, expected %v", token, got, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(mint(f, secret, claims))
	f.Add(forge(secret, `{"e":4000000000,"n":"AAAAAAAAAAAAAAAA"}`))
	f.Add("wf1..")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := flowtoken.Verify(secrets, token, now)
		if err != nil {
			return
		}
		// Only what carries our MAC, in its one spelling, may pass.
		body, signature, _ := strings.Cut(strings.TrimPrefix(token, "wf1."), ".")
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte("wf1." + body))
		if signature != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) || !now.Before(got.Expires) {
			t.Fatalf("%q passed", token)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	token := mint(b, secret, claims)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := flowtoken.Verify(secrets, token, now); err != nil {
			b.Fatal(err)
		}
	}
}
