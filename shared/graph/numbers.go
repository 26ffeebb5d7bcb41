package graph

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Number is a phone number of a WhatsApp Business Account.
type Number struct {
	ID           string `json:"id"` // the phone number id
	Display      string `json:"display_phone_number"`
	Name         string `json:"verified_name"`
	Verification string `json:"code_verification_status"` // VERIFIED, NOT_VERIFIED, EXPIRED
	Quality      string `json:"quality_rating"`           // GREEN, YELLOW, RED, UNKNOWN
	Platform     string `json:"platform_type"`            // CLOUD_API, ON_PREMISE, NOT_APPLICABLE
	Status       string `json:"status"`                   // CONNECTED, PENDING, …
	NameStatus   string `json:"name_status"`              // APPROVED, DECLINED, …
}

const numberFields = "id,display_phone_number,verified_name,code_verification_status,quality_rating,platform_type,status,name_status"

// Numbers lists the phone numbers of a WhatsApp Business Account.
func (c *Client) Numbers(ctx context.Context, waba string) ([]Number, error) {
	if err := checkID("WhatsApp Business Account", waba); err != nil {
		return nil, err
	}
	return list[Number](ctx, c, waba+"/phone_numbers", url.Values{"fields": {numberFields}})
}

// PublicKey is what Meta holds for a phone number.
type PublicKey struct {
	PEM string `json:"business_public_key"` // empty: none was ever set
	// Signature is VALID or MISMATCH. After a MISMATCH, which a registration of
	// the number causes, the key must be set again.
	Signature string `json:"business_public_key_signature_status"`
}

// The states of a public key's signature.
const (
	SignatureValid    = "VALID"
	SignatureMismatch = "MISMATCH"
)

// GetPublicKey reads the public key of a phone number; PEM is empty if there is
// none.
func (c *Client) GetPublicKey(ctx context.Context, phoneNumber string) (PublicKey, error) {
	if err := checkID("phone number", phoneNumber); err != nil {
		return PublicKey{}, err
	}
	var answer struct {
		PublicKey
		Data []PublicKey `json:"data"` // Meta answers in this form too
	}
	if err := c.get(ctx, phoneNumber+"/whatsapp_business_encryption", nil, &answer); err != nil {
		return PublicKey{}, err
	}
	if len(answer.Data) > 0 {
		return answer.Data[0], nil
	}
	return answer.PublicKey, nil
}

// SetPublicKey sets the public key of a phone number: a PEM of SPKI, which
// begins with BEGIN PUBLIC KEY. Read it back: Meta takes what it cannot use.
func (c *Client) SetPublicKey(ctx context.Context, phoneNumber, pem string) error {
	if err := checkID("phone number", phoneNumber); err != nil {
		return err
	}
	if strings.Contains(pem, "PRIVATE KEY") {
		return errors.New("this is a private key, which must never leave the edge: give the public one")
	}
	if !strings.Contains(pem, "BEGIN PUBLIC KEY") {
		return errors.New("this is no public key in PEM, expected a text that begins with -----BEGIN PUBLIC KEY-----")
	}
	var done succeeded
	if err := c.postForm(ctx, phoneNumber+"/whatsapp_business_encryption", url.Values{"business_public_key": {pem}}, &done); err != nil {
		return err
	}
	return done.check(fmt.Sprintf("setting the public key of the phone number %s", phoneNumber))
}
