package flowtoken_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

const (
	appSecret = "test_app_secret"
	// knownJWT carries the token my_flow_token.
	knownJWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJmbG93X3Rva2VuIjoibXlfZmxvd190b2tlbiJ9.tq5lxHEUouqueFNTjUTDW0HLj7rmno_oQeecmJUCyu8"
)

func jwt(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, []byte(appSecret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

func TestKnownSignatureOfAToken(t *testing.T) {
	if got := flowtoken.SignSignature([]byte(appSecret), "my_flow_token"); got != knownJWT {
		t.Errorf("signed %s, expected %s", got, knownJWT)
	}
	if err := flowtoken.VerifySignature(knownJWT, "my_flow_token", [][]byte{[]byte(appSecret)}); err != nil {
		t.Error(err)
	}
	if err := flowtoken.VerifySignature(knownJWT, "my_flow_token", [][]byte{[]byte("new"), []byte(appSecret)}); err != nil {
		t.Errorf("under the previous app secret: %v", err)
	}
}

func TestSignaturesThatAreGenuine(t *testing.T) {
	for name, token := range map[string]string{
		"other claims beside it":         jwt(`{"typ":"JWT","alg":"HS256","kid":"1"}`, `{"iat":1,"exp":2,"flow_token":"tok"}`),
		"an expiry that is over":         jwt(`{"alg":"HS256"}`, `{"exp":1,"flow_token":"tok"}`),
		"escapes in the claim":           jwt(`{"alg":"HS256"}`, `{"flow_token":"\u0074ok"}`),
		"the claim in other letters too": jwt(`{"alg":"HS256"}`, `{"FLOW_TOKEN":"x","flow_token":"tok"}`),
	} {
		t.Run(name, func(t *testing.T) {
			if err := flowtoken.VerifySignature(token, "tok", [][]byte{[]byte(appSecret)}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignaturesThatAreForged(t *testing.T) {
	const hs256 = `{"alg":"HS256","typ":"JWT"}`
	const claim = `{"flow_token":"tok"}`
	good := jwt(hs256, claim)
	unsigned := jwt(`{"alg":"none"}`, claim)
	for name, token := range map[string]string{
		"empty":                    "",
		"two parts":                good[:strings.LastIndexByte(good, '.')],
		"four parts":               good + ".x",
		"no signature":             good[:strings.LastIndexByte(good, '.')+1],
		"alg none":                 unsigned,
		"alg none, no signature":   unsigned[:strings.LastIndexByte(unsigned, '.')+1],
		"alg HS512":                jwt(`{"alg":"HS512"}`, claim),
		"alg in lower case":        jwt(`{"alg":"hs256"}`, claim),
		"alg under another name":   jwt(`{"ALG":"HS256"}`, claim),
		"alg a number":             jwt(`{"alg":256}`, claim),
		"alg null":                 jwt(`{"alg":null}`, claim),
		"critical extensions":      jwt(`{"alg":"HS256","crit":["b64"],"b64":false}`, claim),
		"a header that is no JSON": jwt(`HS256`, claim),
		"padding":                  good + "=",
		"a line end":               good + "\n",
		"claims that are no JSON":  jwt(hs256, `tok`),
		"no claim":                 jwt(hs256, `{}`),
		"a claim of another name":  jwt(hs256, `{"Flow_Token":"tok"}`),
		"a claim of another token": jwt(hs256, `{"flow_token":"other"}`),
		"a claim that is null":     jwt(hs256, `{"flow_token":null}`),
		"a claim that is a number": jwt(hs256, `{"flow_token":1}`),
		"another secret":           flowtoken.SignSignature([]byte("guessed"), "tok"),
		"the empty secret":         flowtoken.SignSignature(nil, "tok"),
		"too long":                 jwt(hs256, `{"flow_token":"tok","x":"`+strings.Repeat("x", 20_000)+`"}`),
	} {
		t.Run(name, func(t *testing.T) {
			err := flowtoken.VerifySignature(token, "tok", [][]byte{{}, []byte(appSecret)})
			if !errors.Is(err, flowtoken.ErrForged) {
				t.Errorf("got %v, expected ErrForged", err)
			}
		})
	}
}
