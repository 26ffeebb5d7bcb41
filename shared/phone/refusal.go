package phone

import (
	"context"
	"encoding/json"
	"errors"
)

// The error keys of the client and of Meta's proxy. The first four are those
// the client reports to the endpoint.
const (
	KeyResponseDecryption = "response-decryption-error"
	KeyInvalidTransition  = "invalid-screen-transition"
	KeyPayloadSchema      = "payload-schema-error"
	KeyComponents         = "components-validation-error" // in no page of Meta's
	KeyBusinessDecryption = "business-decryption-error"
	KeyPublicKeyMissing   = "public-key-missing"
	KeyUnexpectedStatus   = "unexpected_http_status_code"
	KeyNoResponse         = "no_http_response_error"
	KeyTimeout            = "timeout_error"
)

// RefusalError says that the client would not take an answer. On a phone the
// user sees "something went wrong".
type RefusalError struct {
	Key    string // one of the Key constants
	Reason string // what came and what was expected; no values of the answer
}

func (e *RefusalError) Error() string {
	return "the client refuses the answer (" + e.Key + "): " + e.Reason
}

// TokenError is status 427: the flow token is no longer valid. The phone shows
// Message, closes the flow, and disables the button of the chat message.
type TokenError struct {
	Message string // error_msg; empty when the body was empty
}

func (e *TokenError) Error() string {
	return "the flow token is no longer valid (status 427): " + e.Message
}

// tokenInvalid reads a 427. A body in clear text loses both the message and the
// disabling of the button, so it counts as a refusal.
func tokenInvalid(envelope *Envelope, body []byte) error {
	if len(body) == 0 {
		return &TokenError{}
	}
	plaintext, err := envelope.Open(body)
	if err != nil {
		return &RefusalError{KeyResponseDecryption, "status 427: " + err.Error()}
	}
	var answer struct {
		Message *string `json:"error_msg"`
	}
	if err := json.Unmarshal(plaintext, &answer); err != nil || answer.Message == nil {
		return &RefusalError{KeyPayloadSchema, "status 427: expected an object with error_msg, a string"}
	}
	return &TokenError{Message: *answer.Message}
}

func refuseTransport(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &RefusalError{KeyTimeout, "no answer in time: " + err.Error()}
	}
	return &RefusalError{KeyNoResponse, err.Error()}
}

// Reported says whether the client tells the endpoint of the refusal. What
// never became an answer, such as a timeout, it reports to Meta alone.
func (e *RefusalError) Reported() bool {
	return e.Key == KeyResponseDecryption || e.Key == KeyInvalidTransition || e.Key == KeyPayloadSchema || e.Key == KeyComponents
}
