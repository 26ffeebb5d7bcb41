package callback

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestTheReferenceLibraryAcceptsOurSignatureUnderEachSecret(t *testing.T) {
	body := []byte(`{"event_type":"flow_completed","response_data":{"name":"José 🎉"}}`)
	secrets := []string{NewSecret(), NewSecret()}
	now := time.Now()
	signature, err := Signature(secrets, "01a20978-302d-7d9a-b7bb-52d8ccf9b832", now, body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("webhook-id", "01a20978-302d-7d9a-b7bb-52d8ccf9b832")
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("webhook-signature", signature)
	for i, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(body, h); err != nil {
			t.Errorf("secret %d: %v", i, err)
		}
		if err := verifier.Verify(append(body, ' '), h); err == nil {
			t.Errorf("secret %d: a changed body was accepted", i)
		}
	}
	stranger, err := standardwebhooks.NewWebhook(NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Verify(body, h); err == nil {
		t.Error("a secret that is not ours was accepted")
	}
}

func TestTheExampleOfTheSpecification(t *testing.T) {
	// From the test data of the Standard Webhooks libraries.
	got, err := Signature([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature = %s, want %s", got, want)
	}
}

func TestCheckSecret(t *testing.T) {
	if err := CheckSecret(NewSecret()); err != nil {
		t.Errorf("a new secret: %v", err)
	}
	for name, secret := range map[string]string{
		"without the prefix": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
		"no base64":          "whsec_not base64 at all, is it? no!",
		"URL-safe base64":    "whsec_" + strings.Repeat("_-", 20),
		"too short":          "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)),
		"too long":           "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		"empty":              "",
	} {
		err := CheckSecret(secret)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if body := strings.TrimPrefix(secret, SecretPrefix); body != "" && strings.Contains(err.Error(), body) {
			t.Errorf("%s: the error repeats the secret", name)
		}
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	if _, err := Signature(nil, "id", time.Now(), nil); err == nil {
		t.Error("no error")
	}
}
