package flowtoken

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"strings"
)

// maxSignatureSize bounds a flow_token_signature in bytes: a token of any length
// WhatsApp accepts, base64, and a header.
const maxSignatureSize = 16 << 10

// VerifySignature checks the flow_token_signature of a request: a JWT in compact
// form, signed by Meta with HS256 under the app secret (its characters, not
// hex-decoded), whose claim flow_token is the token of the same request. No
// other claim is looked at, because Meta documents none. It proves that Meta
// delivered a message with this token; it covers neither screen nor data and
// can be replayed.
//
// Meta sends it with Flow JSON 7.3 or newer and data API 4.0 or newer, never on
// a ping or an error notification. The error wraps ErrForged and holds neither
// the token nor the JWT.
func VerifySignature(jwt, token string, appSecrets [][]byte) error {
	if len(jwt) > maxSignatureSize {
		return fmt.Errorf("flow_token_signature of %d bytes, at most %d are allowed: %w", len(jwt), maxSignatureSize, ErrForged)
	}
	segments := strings.Split(jwt, ".")
	if len(segments) != 3 {
		return fmt.Errorf("flow_token_signature has %d parts, expected the 3 of a JWT: %w", len(segments), ErrForged)
	}
	header, err := segment(segments[0])
	if err != nil {
		return fmt.Errorf("flow_token_signature: its header %w: %w", err, ErrForged)
	}
	if alg, _ := text(header["alg"]); alg != "HS256" {
		return fmt.Errorf("flow_token_signature is not signed with HS256: %w", ErrForged)
	}
	if _, critical := header["crit"]; critical {
		// RFC 7515, 4.1.11: extensions we do not know must not be ignored.
		return fmt.Errorf("flow_token_signature demands extensions we do not have: %w", ErrForged)
	}
	if !signedByAny(appSecrets, segments[0]+"."+segments[1], segments[2]) {
		return fmt.Errorf("flow_token_signature: %w", ErrForged)
	}
	claims, err := segment(segments[1])
	if err != nil {
		return fmt.Errorf("flow_token_signature: its payload %w: %w", err, ErrForged)
	}
	claim, ok := text(claims["flow_token"])
	if !ok || subtle.ConstantTimeCompare([]byte(claim), []byte(token)) != 1 {
		return fmt.Errorf("flow_token_signature is for another flow token: %w", ErrForged)
	}
	return nil
}

// SignSignature makes the flow_token_signature that Meta sends for token under
// an app secret.
func SignSignature(secret []byte, token string) string {
	claims, err := json.Marshal(map[string]string{"flow_token": token})
	if err != nil {
		// A map of strings always has an encoding.
		panic(fmt.Sprintf("flowtoken: encoding claims: %v", err))
	}
	signed := encoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encoding.EncodeToString(claims)
	return signed + "." + mac(secret, signed)
}

// segment reads one JSON part of a JWT. A map, because decoding into a struct
// would take keys in any case.
func segment(encoded string) (map[string]json.RawMessage, error) {
	raw, err := encoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("is not base64url")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("is not a JSON object")
	}
	return fields, nil
}

func text(raw json.RawMessage) (string, bool) {
	var s string
	if raw == nil || json.Unmarshal(raw, &s) != nil || string(raw) == "null" {
		return "", false
	}
	return s, true
}
