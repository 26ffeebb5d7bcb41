package site

import (
	"bytes"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// The example of the Standard Webhooks specification, which its reference
// libraries test themselves with.
const (
	exampleSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	exampleTimestamp = "1614265330"
	exampleBody      = `{"test": 2432232314}`
	exampleSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestReceiverVerifiesSignatures(t *testing.T) {
	receiver, err := NewReceiver(exampleSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = receiver.Close() })

	now := strconv.FormatInt(time.Now().Unix(), 10)
	good := "v1," + receiver.sign(exampleID, now, []byte(exampleBody))
	cases := []struct {
		name, timestamp, signature string
		ok                         bool
	}{
		{"a good signature", now, good, true},
		{"one of two", now, "v1,AAAA " + good, true},
		{"none", now, "", false},
		{"of something else", now, exampleSignature, false},
		{"an old timestamp", exampleTimestamp, exampleSignature, false},
		{"no timestamp", "", good, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodPost, receiver.URL(), bytes.NewReader([]byte(exampleBody)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Webhook-Id", exampleID)
			request.Header.Set("Webhook-Timestamp", c.timestamp)
			request.Header.Set("Webhook-Signature", c.signature)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if ok := response.StatusCode == http.StatusOK; ok != c.ok {
				t.Errorf("status %d, want it taken: %v", response.StatusCode, c.ok)
			}
		})
	}
	t.Run("the specification's example", func(t *testing.T) {
		if got := "v1," + receiver.sign(exampleID, exampleTimestamp, []byte(exampleBody)); got != exampleSignature {
			t.Errorf("signature %s, want %s", got, exampleSignature)
		}
	})
}
