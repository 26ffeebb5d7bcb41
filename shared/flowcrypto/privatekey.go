package flowcrypto

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// keyBits is the only size of RSA key that Meta accepts for a business.
const keyBits = 2048

// maxDER bounds a decrypted key in bytes, enough for RSA keys of 16 384 bits:
// checking a larger one could take minutes.
const maxDER = 10 << 10

var errWrongPassphrase = errors.New("the passphrase does not open this private key: check that both belong together")

// ReadPrivateKey reads the RSA-2048 private key of a business from PEM.
//
// It takes every form that the tools Meta documents have produced over the
// years: PKCS#1 plain or with DEK-Info, PKCS#8 plain or encrypted by PBES2
// (PBKDF2 with any HMAC-SHA, or scrypt; 3DES-CBC or AES-CBC). It also takes the
// shapes a PEM gets on its way through environment variables and secret stores:
// with literal \n, CRLF, spaces for line ends, quotes around it, other text
// before it, or the whole of it in base64.
//
// One line end behind passphrase is cut. It is ignored for a key that is not
// encrypted: whatsapp-flows-server asked for a passphrase, said it had used it
// and wrote the key in clear, so many operators hold such a pair.
//
// Errors say what came, what was expected and which command converts it. They
// hold neither key nor passphrase.
func ReadPrivateKey(pemBytes, passphrase []byte) (*rsa.PrivateKey, error) {
	passphrase = bytes.TrimSuffix(bytes.TrimSuffix(passphrase, []byte("\n")), []byte("\r"))
	block, err := findKey(pemBytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, err := readBlock(block, passphrase)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if bits := key.N.BitLen(); bits != keyBits {
		return nil, fmt.Errorf("private key: %w", &KeySizeError{Bits: bits, Public: &key.PublicKey})
	}
	return key, nil
}

func readBlock(block *pem.Block, passphrase []byte) (*rsa.PrivateKey, error) {
	encrypted := block.Type == typeEncryptedPKCS8 || block.Headers["DEK-Info"] != ""
	if encrypted && len(passphrase) == 0 {
		return nil, errors.New("it is encrypted and there is no passphrase: give the passphrase it was made with")
	}

	der := block.Bytes
	if encrypted {
		var err error
		if block.Type == typeEncryptedPKCS8 {
			der, err = decryptPKCS8(block.Bytes, passphrase)
		} else {
			der, err = decryptDEK(block, passphrase)
		}
		if err != nil {
			return nil, err
		}
		defer clear(der)
		// One wrong passphrase in 256 leaves padding that looks right.
		var sequence asn1.RawValue
		if !unmarshal(der, &sequence) || sequence.Tag != asn1.TagSequence {
			return nil, errWrongPassphrase
		}
	}
	if len(der) > maxDER {
		return nil, fmt.Errorf("the %s block holds %d bytes, an RSA key of %d bits has about 1200", block.Type, len(der), keyBits)
	}
	return parseRSA(der, block.Type)
}

// decryptDEK opens the encryption of the PEM itself, which OpenSSL 1 and Node
// write. Its key derivation is one MD5 per block: nothing bounds its cost, and
// nothing has to.
func decryptDEK(block *pem.Block, passphrase []byte) ([]byte, error) {
	//lint:ignore SA1019 weak and deprecated for new keys, yet what operators hold; a local file read once gives no oracle
	der, err := x509.DecryptPEMBlock(block, passphrase)
	switch {
	case err == nil:
		return der, nil
	case errors.Is(err, x509.IncorrectPasswordError):
		return nil, errWrongPassphrase
	default:
		return nil, fmt.Errorf("its DEK-Info (%s) is malformed or of an unsupported cipher: convert it with `%s`", clip(block.Headers["DEK-Info"]), convert)
	}
}

// parseRSA reads a plain key. What is inside decides, not the label: keys wrapped
// by hand or by a secret store often carry the other one.
func parseRSA(der []byte, label string) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if algorithm := pkcs8Algorithm(der); algorithm != "" && algorithm != oidRSA {
			return nil, fmt.Errorf("it is a key of algorithm %s, expected an RSA key of %d bits (%s)", algorithm, keyBits, oidRSA)
		}
		return nil, fmt.Errorf("the %s block is damaged: copy the file again from where it was made", label)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return nil, errEllipticCurve
	case ed25519.PrivateKey:
		return nil, fmt.Errorf("it is an Ed25519 key, expected an RSA key of %d bits", keyBits)
	default:
		return nil, fmt.Errorf("it is an X25519 or another key exchange key, expected an RSA key of %d bits", keyBits)
	}
}

var errEllipticCurve = fmt.Errorf("it is an EC (elliptic curve) key, expected an RSA key of %d bits: WhatsApp encrypts with RSA only", keyBits)
