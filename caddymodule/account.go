package caddymodule

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"sync/atomic"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const (
	defaultAccount = setting.DefaultAccount

	// defaultTokenExpired is what a user reads when the flow token is dead and
	// the account words it no other way.
	defaultTokenExpired = "This form is no longer available. Please ask for a new one."
)

// Account is one WhatsApp account: its secrets, its private keys and what it
// demands of flow tokens. Every list has the current value first; the others
// are still accepted, so that a secret can be rotated without a gap.
type Account struct {
	// AppSecrets are the app secrets of the Meta app, with which Meta signs
	// requests. Default: META_APP_SECRET, several separated by commas.
	AppSecrets []string `json:"app_secrets,omitempty"`

	// VerifyToken is the token Meta sends when the webhook's URL is set.
	// Default: META_VERIFY_TOKEN. Only the webhook needs it.
	VerifyToken string `json:"verify_token,omitempty"`

	// PrivateKeys are the RSA-2048 keys whose public half was uploaded to
	// WhatsApp. Default: PRIVATE_KEY with PASSPHRASE. Only the flow endpoint
	// needs them.
	PrivateKeys []PrivateKey `json:"private_keys,omitempty"`

	// KeyDirectory holds more of them, which come before the others.
	// Default, when there are no PrivateKeys either: PRIVATE_KEYS_DIR.
	KeyDirectory *KeyDirectory `json:"private_keys_dir,omitempty"`

	// TokenSecrets verify flow tokens that begin `wf1.`. Default:
	// FLOW_TOKEN_SECRET, several separated by commas. Without any, every such
	// token is refused.
	TokenSecrets []string `json:"token_secrets,omitempty"`

	// RequireSignedTokens refuses every flow token that is not signed with one
	// of the TokenSecrets.
	RequireSignedTokens bool `json:"require_signed_tokens,omitempty"`

	// SingleUseTokens refuses a flow token once its flow is completed.
	SingleUseTokens bool `json:"single_use_tokens,omitempty"`

	// DefaultFlow is the flow of a request that names none.
	// Default: DEFAULT_FLOW_NAME.
	DefaultFlow string `json:"default_flow,omitempty"`

	// TokenExpiredMessage is what a user reads when the flow token is forged,
	// expired or used up.
	TokenExpiredMessage string `json:"token_expired_message,omitempty"`

	name        string
	current     atomic.Pointer[credentials]
	defaultFlow string
	expired     string
}

// accountKey is a private key that is ready to use. Decrypter is all the rest
// of the module knows of it, so that a key may live in an HSM or a KMS.
type accountKey struct {
	crypto.Decrypter
	public      *rsa.PublicKey
	fingerprint string // SHA-256 of the public key, hex
	source      string // where it was read: a file, an option, a variable
	origin      origin
	weakness    string // of the encryption it was read from; "" if there is none
	use         *keyUse
}

// provision reads the secrets and everything else. live.Mutex is held.
func (a *Account) provision(name string, env setting.Source) error {
	a.name = name
	c, err := a.readCredentials(env, nil)
	if err != nil {
		return err
	}
	a.current.Store(c)
	if a.defaultFlow, err = resolveText("default_flow", a.DefaultFlow); err != nil {
		return err
	}
	if a.defaultFlow == "" {
		if a.defaultFlow, _, err = env.Lookup("DEFAULT_FLOW_NAME"); err != nil {
			return err
		}
	}
	if a.defaultFlow != "" && !isFlowName(a.defaultFlow) {
		return fmt.Errorf("default_flow is %q, expected %s", a.defaultFlow, flowNameRule)
	}
	if a.expired, err = resolveText("token_expired_message", a.TokenExpiredMessage); err != nil {
		return err
	}
	if a.expired == "" {
		a.expired = defaultTokenExpired
	}
	return nil
}

// requireVerifyToken says what to do when the webhook is served without one.
func (a *Account) requireVerifyToken() error {
	if a.current.Load().verifyToken == "" {
		return fmt.Errorf("account %s: %w", a.name, missing("verify_token", "META_VERIFY_TOKEN"))
	}
	return nil
}
