package flowcrypto

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	typePublic      = "PUBLIC KEY"
	typePKCS1Public = "RSA PUBLIC KEY"
)

// PublicPEM is the public key as WhatsApp takes it: SPKI in PEM, the value of
// business_public_key.
func PublicPEM(public *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typePublic, Bytes: spki(public)})
}

// ReadPublicKey reads an RSA public key from PEM, in the shapes a PEM arrives in
// (see ReadPrivateKey). WhatsApp takes SPKI only ("PUBLIC KEY"): one in PKCS#1
// ("RSA PUBLIC KEY") is returned together with an error that says so. Any size is
// read; CheckPublicKey says whether WhatsApp takes it.
func ReadPublicKey(text []byte) (*rsa.PublicKey, error) {
	key, err := readPublic(text)
	if err != nil {
		return key, fmt.Errorf("public key: %w", err)
	}
	return key, nil
}

// CheckPublicKey says why WhatsApp would refuse the key.
func CheckPublicKey(public *rsa.PublicKey) error {
	if bits := public.N.BitLen(); bits != keyBits {
		return fmt.Errorf("it is an RSA key of %d bits, WhatsApp takes %d only", bits, keyBits)
	}
	return nil
}

func readPublic(text []byte) (*rsa.PublicKey, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("the text is %d bytes, expected a PEM of at most %d", len(text), maxPEM)
	}
	text = clean(text)
	match := blockText.FindSubmatch(text)
	if match == nil {
		return nil, errors.New("there is no PEM in it, expected -----BEGIN PUBLIC KEY-----")
	}
	kind := string(match[1])
	if strings.Contains(kind, "PRIVATE KEY") {
		return nil, errors.New("it is a private key, expected the public key: keep the private one where it is, and give the file that BEGIN PUBLIC KEY stands in")
	}
	if kind != typePublic && kind != typePKCS1Public {
		return nil, fmt.Errorf("it is a PEM block of type %s, expected %s", clip(kind), typePublic)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(match[2])), ""))
	if err != nil {
		return nil, fmt.Errorf("what is between BEGIN and END %s is not base64: copy the file again from where it was made", kind)
	}
	if len(der) > maxDER {
		return nil, fmt.Errorf("the %s block holds %d bytes, an RSA key of %d bits has about 300", kind, len(der), keyBits)
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, errPKCS1Public
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("the %s block is damaged: copy the file again from where it was made", kind)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("it is a public key of another kind (%T), expected RSA: WhatsApp encrypts with RSA only", parsed)
	}
	return key, nil
}

var errPKCS1Public = fmt.Errorf("it is a public key in PKCS#1 (%s), WhatsApp takes %s: convert it with `openssl rsa -RSAPublicKey_in -in old.pub -pubout -out flow.pub`", typePKCS1Public, typePublic)
