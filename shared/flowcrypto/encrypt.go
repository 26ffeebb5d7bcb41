package flowcrypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	oidHMACSHA256 = "1.2.840.113549.2.9"
	oidAES256CBC  = "2.16.840.1.101.3.4.1.42"

	// iterations of PBKDF2-HMAC-SHA256 in the keys we write: what OWASP's
	// Password Storage Cheat Sheet (2023) asks for. OpenSSL's 2 048 are from a
	// time when a guess cost 300 times as much.
	iterations = 600_000

	saltSize = 16
)

// EncryptPrivateKey writes key as an encrypted PKCS#8 PEM: PBES2 with
// PBKDF2-HMAC-SHA256 and AES-256-CBC, the strongest form that every tool reads,
// OpenSSL 1.1 and newer included. It is a form that ReadPrivateKey takes.
//
// passphrase is used as it is. An empty one, and one that ReadPrivateKey or an
// environment variable's file would cut at its ends, are refused.
func EncryptPrivateKey(key *rsa.PrivateKey, passphrase []byte) ([]byte, error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return nil, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	defer clear(plain)
	random := make([]byte, saltSize+aes.BlockSize)
	rand.Read(random) // never fails
	salt, iv := random[:saltSize], random[saltSize:]

	secret, err := pbkdf2.Key(sha256.New, string(passphrase), salt, iterations, ciphers[oidAES256CBC].keySize)
	if err != nil {
		return nil, fmt.Errorf("pbkdf2 is not available in this process: %w", err)
	}
	defer clear(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("aes-256 is not available in this process: %w", err)
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	data := make([]byte, len(plain)+padding)
	copy(data, plain)
	for i := len(plain); i < len(data); i++ {
		data[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)

	der, err := encodePBES2(salt, iv, data)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeEncryptedPKCS8, Bytes: der}), nil
}

func encodePBES2(salt, iv, data []byte) ([]byte, error) {
	kdf, err := algorithm(oidPBKDF2, pbkdf2Params{
		Salt: salt, Iterations: iterations,
		// RFC 8018 wants NULL parameters here, not none.
		PRF: pkix.AlgorithmIdentifier{Algorithm: oid(oidHMACSHA256), Parameters: asn1.NullRawValue},
	})
	if err != nil {
		return nil, err
	}
	encryption, err := algorithm(oidAES256CBC, iv)
	if err != nil {
		return nil, err
	}
	scheme, err := algorithm(oidPBES2, pbes2Params{KDF: kdf, Cipher: encryption})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedPrivateKeyInfo{Algorithm: scheme, Data: data})
}

func algorithm(name string, parameters any) (pkix.AlgorithmIdentifier, error) {
	der, err := asn1.Marshal(parameters)
	return pkix.AlgorithmIdentifier{Algorithm: oid(name), Parameters: asn1.RawValue{FullBytes: der}}, err
}

// oid reads one of our own constants.
func oid(text string) asn1.ObjectIdentifier {
	var id asn1.ObjectIdentifier
	number := 0
	for _, c := range text + "." {
		if c == '.' {
			id, number = append(id, number), 0
			continue
		}
		number = 10*number + int(c-'0')
	}
	return id
}

// CheckPassphrase says what is wrong with a passphrase for a key that is written
// anew. It never repeats it.
func CheckPassphrase(passphrase []byte) error {
	if len(passphrase) == 0 {
		return errors.New("the passphrase is empty")
	}
	if first, last := passphrase[0], passphrase[len(passphrase)-1]; first <= ' ' || last <= ' ' {
		return errors.New("the passphrase begins or ends with white space, which is cut wherever it is read from a file: leave it out")
	}
	for _, b := range passphrase {
		if b < ' ' || b == 0x7f {
			return errors.New("the passphrase holds a line end or another control character: write one line of text")
		}
	}
	return nil
}
