package flowcrypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"
)

// Limits of the key derivation, so that a file cannot keep a process from
// starting. Each is far above what any tool writes by default (OpenSSL: 2 048
// iterations, scrypt N = 16 384 and r = 8) and takes one core about 3 seconds.
const (
	maxIterations   = 5_000_000
	maxScryptMemory = 1 << 21 // N × r, in units of 128 bytes: 256 MiB
	maxScryptWork   = 1 << 23 // N × r × p
)

// Object identifiers, RFC 8018 (PKCS#5 2.1) and RFC 7914 (scrypt).
const (
	oidRSA    = "1.2.840.113549.1.1.1"
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
	oidScrypt = "1.3.6.1.4.1.11591.4.11"

	oidHMACSHA1 = "1.2.840.113549.2.7"
)

var prfs = map[string]func() hash.Hash{
	oidHMACSHA1:           sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
	"1.2.840.113549.2.12": sha512.New512_224,
	"1.2.840.113549.2.13": sha512.New512_256,
}

type blockCipher struct {
	keySize int
	new     func(key []byte) (cipher.Block, error)
}

var ciphers = map[string]blockCipher{
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
}

// pbes1 names the older schemes, PKCS#5 1.5 and PKCS#12, by which one passphrase
// gives at most 160 bits through a hash that is broken.
var pbes1 = map[string]string{
	"1.2.840.113549.1.5.1":    "PBES1 (MD2 and DES)",
	"1.2.840.113549.1.5.3":    "PBES1 (MD5 and DES)",
	"1.2.840.113549.1.5.4":    "PBES1 (MD2 and RC2)",
	"1.2.840.113549.1.5.6":    "PBES1 (MD5 and RC2)",
	"1.2.840.113549.1.5.10":   "PBES1 (SHA-1 and DES)",
	"1.2.840.113549.1.5.11":   "PBES1 (SHA-1 and RC2)",
	"1.2.840.113549.1.12.1.1": "PBES1 (PKCS#12, SHA-1 and RC4-128)",
	"1.2.840.113549.1.12.1.2": "PBES1 (PKCS#12, SHA-1 and RC4-40)",
	"1.2.840.113549.1.12.1.3": "PBES1 (PKCS#12, SHA-1 and 3DES)",
	"1.2.840.113549.1.12.1.4": "PBES1 (PKCS#12, SHA-1 and two-key 3DES)",
	"1.2.840.113549.1.12.1.5": "PBES1 (PKCS#12, SHA-1 and RC2-128)",
	"1.2.840.113549.1.12.1.6": "PBES1 (PKCS#12, SHA-1 and RC2-40)",
}

type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2Params struct {
	KDF    pkix.AlgorithmIdentifier
	Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

var errDamagedPKCS8 = fmt.Errorf("the %s block is damaged: copy the file again from where it was made", typeEncryptedPKCS8)

// decryptPKCS8 opens an EncryptedPrivateKeyInfo (RFC 5958) encrypted by PBES2.
func decryptPKCS8(der, passphrase []byte) ([]byte, error) {
	var info encryptedPrivateKeyInfo
	if !unmarshal(der, &info) {
		return nil, errDamagedPKCS8
	}
	scheme := info.Algorithm.Algorithm.String()
	if name, ok := pbes1[scheme]; ok {
		return nil, fmt.Errorf("it is encrypted by %s, which is not supported, expected PBES2: convert it with `%s` (OpenSSL 3 may need `-provider legacy -provider default` for it)", name, convert)
	}
	if scheme != oidPBES2 {
		return nil, fmt.Errorf("it is encrypted by the scheme %s, expected PBES2 (%s): convert it with `%s`", clip(scheme), oidPBES2, convert)
	}
	var params pbes2Params
	if !unmarshal(info.Algorithm.Parameters.FullBytes, &params) {
		return nil, errDamagedPKCS8
	}

	name := params.Cipher.Algorithm.String()
	c, ok := ciphers[name]
	if !ok {
		return nil, fmt.Errorf("it is encrypted with the cipher %s, expected 3DES-CBC or AES-CBC: convert it with `%s`", clip(name), convert)
	}
	var iv []byte
	if !unmarshal(params.Cipher.Parameters.FullBytes, &iv) {
		return nil, errDamagedPKCS8
	}
	key, err := deriveKey(params.KDF, passphrase, c.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := c.new(key)
	if err != nil {
		return nil, fmt.Errorf("the cipher %s is not available in this process: %w", name, err)
	}
	return decryptCBC(block, iv, info.Data)
}

func deriveKey(kdf pkix.AlgorithmIdentifier, passphrase []byte, size int) ([]byte, error) {
	switch name := kdf.Algorithm.String(); name {
	case oidPBKDF2:
		var p pbkdf2Params
		if !unmarshal(kdf.Parameters.FullBytes, &p) || p.Iterations < 1 || !fits(p.KeyLength, size) {
			return nil, errDamagedPKCS8
		}
		if p.Iterations > maxIterations {
			return nil, tooCostly(fmt.Sprintf("%d iterations of PBKDF2", p.Iterations), fmt.Sprintf("%d", maxIterations))
		}
		prf := oidHMACSHA1 // the default, which DER leaves out
		if len(p.PRF.Algorithm) > 0 {
			prf = p.PRF.Algorithm.String()
		}
		hash, ok := prfs[prf]
		if !ok {
			return nil, fmt.Errorf("its PBKDF2 uses the function %s, expected HMAC with SHA-1 or SHA-2: convert it with `%s`", clip(prf), convert)
		}
		key, err := pbkdf2.Key(hash, string(passphrase), p.Salt, p.Iterations, size)
		if err != nil {
			return nil, fmt.Errorf("pbkdf2 is not available in this process: %w", err)
		}
		return key, nil
	case oidScrypt:
		var p scryptParams
		if !unmarshal(kdf.Parameters.FullBytes, &p) || p.N < 2 || p.R < 1 || p.P < 1 || !fits(p.KeyLength, size) {
			return nil, errDamagedPKCS8
		}
		// Each is bounded by itself first: the product could overflow.
		if p.N > maxScryptMemory || p.R > maxScryptMemory || p.P > maxScryptWork ||
			p.N*p.R > maxScryptMemory || p.N*p.R*p.P > maxScryptWork {
			return nil, tooCostly(fmt.Sprintf("scrypt with N = %d, r = %d, p = %d", p.N, p.R, p.P), fmt.Sprintf("N×r = %d and N×r×p = %d", maxScryptMemory, maxScryptWork))
		}
		key, err := scrypt.Key(passphrase, p.Salt, p.N, p.R, p.P, size)
		if err != nil {
			return nil, errDamagedPKCS8
		}
		return key, nil
	default:
		return nil, fmt.Errorf("its key derivation is %s, expected PBKDF2 (%s) or scrypt (%s): convert it with `%s`", clip(name), oidPBKDF2, oidScrypt, convert)
	}
}

func fits(declared, size int) bool { return declared == 0 || declared == size }

func tooCostly(what, limit string) error {
	return fmt.Errorf("it asks for %s, at most %s are taken: convert it with `%s`", what, limit, convert)
}

func decryptCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errDamagedPKCS8
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errWrongPassphrase
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return nil, errWrongPassphrase
		}
	}
	return plain[:len(plain)-padding], nil
}

// pkcs8Algorithm is the algorithm a PKCS#8 key names, or "" if it is none.
func pkcs8Algorithm(der []byte) string {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
		Rest      []asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return ""
	}
	return info.Algorithm.Algorithm.String()
}

// unmarshal reads DER that nothing may follow.
func unmarshal(der []byte, into any) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
