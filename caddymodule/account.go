package caddymodule

import (
	"crypto"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

const (
	defaultAccount = "default"

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

	name         string
	signatures   *hubsignature.Verifier
	appSecrets   [][]byte
	tokenSecrets [][]byte
	verifyToken  secret
	keys         []accountKey
	lastKey      atomic.Int32 // index of the key that opened an envelope last
	defaultFlow  string
	expired      string
}

// PrivateKey is one private key as PEM text, usually a placeholder such as
// `{file./run/secrets/flow.pem}`.
type PrivateKey struct {
	// PEM is the key: PKCS#1 or PKCS#8, encrypted or not.
	PEM string `json:"pem,omitempty"`

	// Passphrase opens an encrypted key.
	Passphrase string `json:"passphrase,omitempty"`
}

// accountKey is a private key that is ready to use. Decrypter is all the rest
// of the module knows of it, so that a key may live in an HSM or a KMS.
type accountKey struct {
	crypto.Decrypter
	fingerprint string // beginning of the SHA-256 of the public key, hex
}

func (a *Account) provision(name string, env setting.Source) (err error) {
	a.name = name
	if a.appSecrets, err = resolveSecrets("app_secret", a.AppSecrets, env, "META_APP_SECRET"); err != nil {
		return err
	}
	if len(a.appSecrets) == 0 {
		return missing("app_secret", "META_APP_SECRET")
	}
	if a.signatures, err = hubsignature.New(a.appSecrets...); err != nil {
		return fmt.Errorf("app_secret: %w", err)
	}
	if a.tokenSecrets, err = resolveSecrets("token_secret", a.TokenSecrets, env, "FLOW_TOKEN_SECRET"); err != nil {
		return err
	}
	if a.RequireSignedTokens && len(a.tokenSecrets) == 0 {
		return fmt.Errorf("require_signed_tokens: %w", missing("token_secret", "FLOW_TOKEN_SECRET"))
	}
	verify, err := resolveSecret("verify_token", a.VerifyToken, env, "META_VERIFY_TOKEN")
	if err != nil {
		return err
	}
	a.verifyToken = secret(verify)
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
	return a.provisionKeys(env)
}

func (a *Account) provisionKeys(env setting.Source) error {
	a.keys = nil
	for i, key := range a.PrivateKeys {
		pem, err := resolvePlaceholders(key.PEM)
		if err != nil {
			return fmt.Errorf("private_key %d: %w", i+1, err)
		}
		passphrase, err := resolvePlaceholders(key.Passphrase)
		if err != nil {
			return fmt.Errorf("passphrase of private_key %d: %w", i+1, err)
		}
		if err := a.addKey(pem, passphrase); err != nil {
			return fmt.Errorf("private_key %d: %w", i+1, err)
		}
	}
	if len(a.PrivateKeys) > 0 {
		return nil
	}
	pem, from, err := env.Lookup("PRIVATE_KEY")
	if err != nil || pem == "" {
		return err
	}
	passphrase, _, err := env.Lookup("PASSPHRASE")
	if err != nil {
		return err
	}
	if err := a.addKey(pem, passphrase); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

func (a *Account) addKey(pem, passphrase string) error {
	if len(pem) > 0 && (pem[0] == '/' || pem[0] == '.') {
		return errors.New("this is a path, expected the PEM text of a key: write {file.PATH}")
	}
	key, err := flowcrypto.ReadPrivateKey([]byte(pem), []byte(passphrase))
	if err != nil {
		return err
	}
	ready, err := newAccountKey(key)
	if err != nil {
		return err
	}
	a.keys = append(a.keys, ready)
	return nil
}

// requireKeys says what to do when the flow endpoint is served without a key.
func (a *Account) requireKeys() error {
	if len(a.keys) == 0 {
		return fmt.Errorf("account %s: %w", a.name, missing("private_key", "PRIVATE_KEY"))
	}
	return nil
}

// requireVerifyToken says what to do when the webhook is served without one.
func (a *Account) requireVerifyToken() error {
	if a.verifyToken == "" {
		return fmt.Errorf("account %s: %w", a.name, missing("verify_token", "META_VERIFY_TOKEN"))
	}
	return nil
}

// open tries the keys of the account on an envelope, the one that opened the
// last envelope first: during a rotation phones keep either key for days.
func (a *Account) open(envelope *flowcrypto.Envelope) (plaintext []byte, sealer *flowcrypto.Sealer, fingerprint string, err error) {
	last := int(a.lastKey.Load())
	err = flowcrypto.ErrCannotDecrypt
	for i := range a.keys {
		// last, then the others in the order of the configuration.
		index := i
		if i == 0 {
			index = last
		} else if i <= last {
			index = i - 1
		}
		key := a.keys[index]
		if plaintext, sealer, err = envelope.Open(key.Decrypter); err == nil {
			if index != last {
				a.lastKey.Store(int32(index))
			}
			return plaintext, sealer, key.fingerprint, nil
		}
	}
	return nil, nil, "", err
}
