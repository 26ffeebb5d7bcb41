package flowcrypto

import (
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"strings"
)

// Format is how a private key is written down, as far as it shows without the
// passphrase.
type Format struct {
	Label      string // of the PEM: "ENCRYPTED PRIVATE KEY"
	Encoding   string // "PKCS#1" or "PKCS#8"
	Encryption string // "" when it is not encrypted, else such as "PBES2, PBKDF2-HMAC-SHA256 with 600000 iterations, AES-256-CBC"
	Weakness   string // why the file should be written anew; "" when it need not
}

// Encrypted says that a passphrase is needed.
func (f Format) Encrypted() bool { return f.Encryption != "" }

// String is Format in a line.
func (f Format) String() string {
	if !f.Encrypted() {
		return f.Encoding + ", not encrypted"
	}
	return f.Encoding + ", encrypted: " + f.Encryption
}

// KeySizeError is a key that is sound but of a size WhatsApp does not take.
type KeySizeError struct {
	Bits   int
	Public *rsa.PublicKey
}

func (e *KeySizeError) Error() string {
	return fmt.Sprintf("it is an RSA key of %d bits, WhatsApp takes %d only: make one with `caddy whatsapp-flows keys create flow.pem`, then register its public key", e.Bits, keyBits)
}

// Inspect tells the format of a private key without its passphrase. Its errors
// are those of ReadPrivateKey for text that holds no private key at all.
func Inspect(text []byte) (Format, error) {
	block, err := findKey(text)
	if err != nil {
		return Format{}, fmt.Errorf("private key: %w", err)
	}
	f := Format{Label: block.Type, Encoding: "PKCS#8"}
	switch {
	case block.Headers["DEK-Info"] != "":
		f.Encoding = "PKCS#1"
		f.Encryption = "DEK-Info, one MD5 of the passphrase, " + dekCipher(block)
		f.Weakness = "a guess of its passphrase costs one MD5"
	case block.Type == typeEncryptedPKCS8:
		f.Encryption, f.Weakness = pkcs8Encryption(block.Bytes)
	default:
		if block.Type == typePKCS1 {
			f.Encoding = "PKCS#1"
		}
		f.Weakness = "who can read the file has the key"
	}
	return f, nil
}

func dekCipher(block *pem.Block) string {
	name, _, _ := strings.Cut(block.Headers["DEK-Info"], ",")
	return clip(name)
}

var (
	prfNames = map[string]string{
		oidHMACSHA1: "SHA1", "1.2.840.113549.2.8": "SHA224", oidHMACSHA256: "SHA256",
		"1.2.840.113549.2.10": "SHA384", "1.2.840.113549.2.11": "SHA512",
		"1.2.840.113549.2.12": "SHA512-224", "1.2.840.113549.2.13": "SHA512-256",
	}
	cipherNames = map[string]string{
		"1.2.840.113549.3.7": "3DES-CBC", "2.16.840.1.101.3.4.1.2": "AES-128-CBC",
		"2.16.840.1.101.3.4.1.22": "AES-192-CBC", oidAES256CBC: "AES-256-CBC",
	}
)

// pkcs8Encryption names the encryption of an EncryptedPrivateKeyInfo.
func pkcs8Encryption(der []byte) (name, weakness string) {
	var info encryptedPrivateKeyInfo
	if !unmarshal(der, &info) {
		return "damaged", ""
	}
	scheme := info.Algorithm.Algorithm.String()
	if old, ok := pbes1[scheme]; ok {
		return old, "the edge does not read it"
	}
	var params pbes2Params
	if scheme != oidPBES2 || !unmarshal(info.Algorithm.Parameters.FullBytes, &params) {
		return "the scheme " + clip(scheme), ""
	}
	encryption := named(cipherNames, params.Cipher.Algorithm.String())
	if encryption == "3DES-CBC" {
		weakness = "3DES is out of use since 2023"
	}
	switch kdf := params.KDF.Algorithm.String(); kdf {
	case oidPBKDF2:
		var p pbkdf2Params
		if !unmarshal(params.KDF.Parameters.FullBytes, &p) {
			return "damaged", ""
		}
		prf := oidHMACSHA1
		if len(p.PRF.Algorithm) > 0 {
			prf = p.PRF.Algorithm.String()
		}
		if p.Iterations < iterations/6 {
			weakness = fmt.Sprintf("a guess of its passphrase costs %d iterations, %d are what one should cost", p.Iterations, iterations)
		}
		return fmt.Sprintf("PBES2, PBKDF2-HMAC-%s with %d iterations, %s", named(prfNames, prf), p.Iterations, encryption), weakness
	case oidScrypt:
		var p scryptParams
		if !unmarshal(params.KDF.Parameters.FullBytes, &p) {
			return "damaged", ""
		}
		return fmt.Sprintf("PBES2, scrypt with N = %d, r = %d, p = %d, %s", p.N, p.R, p.P, encryption), weakness
	default:
		return fmt.Sprintf("PBES2, key derivation %s, %s", clip(kdf), encryption), weakness
	}
}

func named(names map[string]string, id string) string {
	if name, ok := names[id]; ok {
		return name
	}
	return clip(id)
}
