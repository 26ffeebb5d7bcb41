package flowcrypto_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

const passphrase = "test-pass"

// forms are the encodings of one and the same key.
var forms = []struct {
	file      string
	encrypted bool
}{
	{"rsa_pkcs1_plain.pem", false},
	{"rsa_pkcs8_plain.pem", false},
	{"rsa_pkcs1_dek_3des.pem", true},
	{"rsa_pkcs1_dek_aes128.pem", true},
	{"rsa_pkcs1_dek_aes256.pem", true},
	{"rsa_pkcs8_pbes2_3des_sha256.pem", true},
	{"rsa_pkcs8_pbes2_aes256_sha1.pem", true},
	{"rsa_pkcs8_pbes2_aes256_sha256.pem", true},
	{"rsa_pkcs8_pbes2_aes192_sha256.pem", true},
	{"rsa_pkcs8_pbes2_aes128_sha224.pem", true},
	{"rsa_pkcs8_pbes2_aes128_sha384.pem", true},
	{"rsa_pkcs8_pbes2_aes128_sha512.pem", true},
	{"rsa_pkcs8_scrypt.pem", true},
}

func TestEveryFormOfOneKeyIsRead(t *testing.T) {
	public := keyFile(t, "rsa_public.pem")
	block, _ := pem.Decode(public)
	sum := sha256.Sum256(block.Bytes)
	want := hex.EncodeToString(sum[:])
	for _, form := range forms {
		t.Run(form.file, func(t *testing.T) {
			var secret []byte
			if form.encrypted {
				secret = []byte(passphrase)
			}
			key, err := flowcrypto.ReadPrivateKey(keyFile(t, form.file), secret)
			if err != nil {
				t.Fatal(err)
			}
			if got := flowcrypto.Fingerprint(&key.PublicKey); got != want {
				t.Errorf("fingerprint %s, expected %s", got, want)
			}
		})
	}
}

func TestKeysAreReadInTheShapesTheyArriveIn(t *testing.T) {
	for _, file := range []string{"rsa_pkcs1_dek_3des.pem", "rsa_pkcs8_pbes2_aes256_sha256.pem"} {
		text := string(keyFile(t, file))
		line := strings.TrimSpace(text)
		for name, shape := range map[string]string{
			"literal line ends":                  strings.ReplaceAll(line, "\n", `\n`),
			"literal CR and LF":                  strings.ReplaceAll(line, "\n", `\r\n`),
			"CRLF":                               strings.ReplaceAll(text, "\n", "\r\n"),
			"spaces for line ends":               strings.ReplaceAll(line, "\n", " "),
			"double quotes":                      `"` + text + `"`,
			"single quotes":                      `'` + line + `'`,
			"quotes in quotes":                   `'"` + line + `"'`,
			"quotes and literal line ends":       `"` + strings.ReplaceAll(text, "\n", `\n`) + `"`,
			"text before it":                     "Bag Attributes\n    friendlyName: flow\n" + text,
			"a certificate before it":            string(keyFile(t, "certificate.pem")) + text,
			"indented lines":                     "  " + strings.ReplaceAll(text, "\n", "\n    "),
			"a byte order mark":                  "\xef\xbb\xbf" + text,
			"base64 of the PEM":                  base64.StdEncoding.EncodeToString([]byte(text)),
			"base64 of the PEM, in lines":        wrap(base64.StdEncoding.EncodeToString([]byte(text))),
			"base64 of the PEM, no padding":      base64.RawStdEncoding.EncodeToString([]byte(text + "\n")),
			"base64url of the PEM":               base64.URLEncoding.EncodeToString([]byte(text)),
			"base64 of the PEM, quoted":          `"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"`,
			"base64 of the literal line ends":    base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", `\n`))),
			"no line end behind the last dashes": line,
		} {
			t.Run(file+"/"+name, func(t *testing.T) {
				if _, err := flowcrypto.ReadPrivateKey([]byte(shape), []byte(passphrase)); err != nil {
					t.Error(err)
				}
			})
		}
		for name, secret := range map[string]string{"LF": passphrase + "\n", "CRLF": passphrase + "\r\n"} {
			t.Run(file+"/passphrase with "+name, func(t *testing.T) {
				if _, err := flowcrypto.ReadPrivateKey([]byte(text), []byte(secret)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("label of the other form", func(t *testing.T) {
		text := strings.ReplaceAll(string(keyFile(t, "rsa_pkcs1_plain.pem")), "RSA PRIVATE KEY", "PRIVATE KEY")
		if _, err := flowcrypto.ReadPrivateKey([]byte(text), nil); err != nil {
			t.Error(err)
		}
	})
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}

func TestKeysThatAreRefusedSayWhatTheyAre(t *testing.T) {
	plain := string(keyFile(t, "rsa_pkcs8_plain.pem"))
	legacy := string(keyFile(t, "rsa_pkcs1_dek_3des.pem"))
	modern := string(keyFile(t, "rsa_pkcs8_pbes2_aes256_sha256.pem"))
	block, _ := pem.Decode([]byte(plain))
	for _, c := range []struct{ name, text, passphrase, want string }{
		{"nothing", "", "", "it is empty"},
		{"only quotes", `""`, "", "it is empty"},
		{"other text", "sk_live_12345!", "", "no PEM"},
		{"base64 of other text", "aGVsbG8gd29ybGQ=", "", "no PEM"},
		{"too long", strings.Repeat("A", 2<<20), "", "at most 1048576"},
		{"DER", string(block.Bytes), "", "openssl pkey -inform DER"},
		{"base64 of DER", base64.StdEncoding.EncodeToString(block.Bytes), "", "openssl pkey -inform DER"},
		{"the first line only", "-----BEGIN PRIVATE KEY-----", "", "PRIVATE KEY has no END"},
		{"another END", strings.Replace(plain, "END PRIVATE", "END RSA PRIVATE", 1), "", "is followed by END RSA PRIVATE KEY"},
		{"cut in the middle", plain[:600] + plain[1000:], "", "copy the file again"},
		{"not base64 inside", strings.Replace(plain, "M", "!", 1), "", "is not base64"},
		{"an empty block", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "", "damaged"},
		{"headers mangled", strings.Replace(legacy, "DEK-Info", "DEK-Inf", 1), passphrase, "headers of RSA PRIVATE KEY are malformed"},
		{"an unknown DEK cipher", strings.Replace(legacy, "DES-EDE3-CBC", "CAMELLIA-256-CBC", 1), passphrase, "openssl pkcs8 -topk8"},

		{"a public key", string(keyFile(t, "rsa_public.pem")), "", "it is a public key"},
		{"a certificate", string(keyFile(t, "certificate.pem")), "", "it is a certificate"},
		{"a certificate request", "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----", "", "certificate request"},
		{"an OpenSSH key", string(keyFile(t, "openssh.pem")), "", "ssh-keygen -p -m PEM"},
		{"another block", "-----BEGIN PGP MESSAGE-----\nAA==\n-----END PGP MESSAGE-----", "", "type PGP MESSAGE"},
		{"an EC key, PKCS#8", string(keyFile(t, "ec_pkcs8.pem")), "", "EC (elliptic curve) key, expected an RSA key of 2048 bits"},
		{"an EC key, encrypted", string(keyFile(t, "ec_pkcs8_encrypted.pem")), passphrase, "EC (elliptic curve) key"},
		{"an EC key, SEC 1", string(keyFile(t, "ec_sec1.pem")), "", "EC (elliptic curve) key"},
		{"an EC key with parameters", string(keyFile(t, "ec_with_parameters.pem")), "", "EC (elliptic curve) key"},
		{"an Ed25519 key", string(keyFile(t, "ed25519.pem")), "", "Ed25519"},
		{"an X25519 key", string(keyFile(t, "x25519.pem")), "", "X25519"},
		{"an RSA-PSS key", string(keyFile(t, "rsa_pss.pem")), "", "algorithm 1.2.840.113549.1.1.10"},
		{"RSA-4096", string(keyFile(t, "rsa_4096.pem")), "", "RSA key of 4096 bits, WhatsApp takes 2048 only"},
		{"RSA-1024", string(keyFile(t, "rsa_1024.pem")), "", "RSA key of 1024 bits, WhatsApp takes 2048 only"},
		{"RSA-512", string(keyFile(t, "rsa_512.pem")), "", "RSA key of 512 bits, WhatsApp takes 2048 only"},

		{"no passphrase, DEK-Info", legacy, "", "encrypted and there is no passphrase"},
		{"no passphrase, PBES2", modern, "", "encrypted and there is no passphrase"},
		{"a wrong passphrase, DEK-Info", legacy, "wrong", "passphrase does not open"},
		{"a wrong passphrase, PBES2", modern, "wrong", "passphrase does not open"},
		{"a wrong passphrase, scrypt", string(keyFile(t, "rsa_pkcs8_scrypt.pem")), "wrong", "passphrase does not open"},

		{"PBES1, SHA-1 and 3DES", string(keyFile(t, "unsupported_pbes1_sha1_3des.pem")), passphrase, "PBES1 (PKCS#12, SHA-1 and 3DES), which is not supported, expected PBES2: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc"},
		{"PBES1, MD5 and DES", string(keyFile(t, "unsupported_pbes1_md5_des.pem")), passphrase, "PBES1 (MD5 and DES)"},
		{"PBES2, Camellia", string(keyFile(t, "unsupported_pbes2_camellia.pem")), passphrase, "cipher 1.2.392.200011.61.1.1.1.2, expected 3DES-CBC or AES-CBC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := flowcrypto.ReadPrivateKey([]byte(c.text), []byte(c.passphrase))
			if key != nil || err == nil || !strings.HasPrefix(err.Error(), "private key: ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got key %v, error %v; expected an error with %q", key != nil, err, c.want)
			}
			if c.passphrase != "" && strings.Contains(err.Error(), c.passphrase) {
				t.Errorf("the error holds the passphrase: %v", err)
			}
		})
	}
}

func TestPassphraseOfAKeyThatIsNotEncryptedIsIgnored(t *testing.T) {
	for _, file := range []string{"rsa_pkcs8_plain.pem", "rsa_pkcs1_plain.pem"} {
		if _, err := flowcrypto.ReadPrivateKey(keyFile(t, file), []byte("never used")); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// With every wrong passphrase some keys decrypt to bytes whose padding looks
// right; the error must be the same.
func TestWrongPassphraseIsNeverTakenForADamagedKey(t *testing.T) {
	for _, file := range []string{"rsa_pkcs1_dek_3des.pem", "rsa_pkcs8_pbes2_aes256_sha256.pem"} {
		text := keyFile(t, file)
		for i := range 600 {
			_, err := flowcrypto.ReadPrivateKey(text, []byte{'x', byte('a' + i%26), byte('a' + i/26)})
			if err == nil || !strings.Contains(err.Error(), "passphrase does not open") {
				t.Fatalf("%s with wrong passphrase %d: %v", file, i, err)
			}
		}
	}
}

// pbes2 is an encrypted key of the given key derivation around rubbish.
func pbes2(t *testing.T, kdf asn1.RawValue) []byte {
	t.Helper()
	encode := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	cipher := encode(struct {
		ID asn1.ObjectIdentifier
		IV []byte
	}{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, 16)})
	scheme := encode(struct {
		ID     asn1.ObjectIdentifier
		Params asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, encode(struct{ KDF, Cipher asn1.RawValue }{kdf, cipher})})
	info := encode(struct {
		Scheme asn1.RawValue
		Data   []byte
	}{scheme, make([]byte, 32)})
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: info.FullBytes})
}

func TestCostlyKeyDerivationIsRefusedAtOnce(t *testing.T) {
	encode := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	pbkdf2 := func(iterations int) asn1.RawValue {
		return encode(struct {
			ID     asn1.ObjectIdentifier
			Params asn1.RawValue
		}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, encode(struct {
			Salt       []byte
			Iterations int
		}{make([]byte, 8), iterations})})
	}
	scrypt := func(n, r, p int) asn1.RawValue {
		return encode(struct {
			ID     asn1.ObjectIdentifier
			Params asn1.RawValue
		}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}, encode(struct {
			Salt    []byte
			N, R, P int
		}{make([]byte, 8), n, r, p})})
	}
	for _, c := range []struct {
		name string
		kdf  asn1.RawValue
		want string
	}{
		{"2 000 000 000 iterations", pbkdf2(2_000_000_000), "2000000000 iterations of PBKDF2, at most 5000000"},
		{"more iterations than fit 32 bits", pbkdf2(1 << 40), "iterations of PBKDF2, at most 5000000"},
		{"no iterations", pbkdf2(0), "damaged"},
		{"negative iterations", pbkdf2(-1), "damaged"},
		{"scrypt of 4 GiB", scrypt(1<<22, 8, 1), "scrypt with N = 4194304"},
		{"scrypt of endless work", scrypt(2, 1, 1<<30), "scrypt with N = 2"},
		{"scrypt that overflows", scrypt(1<<62, 1<<62, 1<<62), "scrypt with N = 4611686018427387904"},
		{"scrypt of an N that is no power of two", scrypt(1000, 8, 1), "damaged"},
		{"scrypt of negative r", scrypt(1024, -8, 1), "damaged"},
		{"one iteration", pbkdf2(1), "passphrase does not open"},
		{"a small scrypt", scrypt(2, 1, 1), "passphrase does not open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, err := flowcrypto.ReadPrivateKey(pbes2(t, c.kdf), []byte(passphrase))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected an error with %q", err, c.want)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// The commands our errors name must do what they say.
func TestConversionCommandOfTheErrorsWorks(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: install it (apt-get install openssl)")
	}
	out, err := exec.CommandContext(t.Context(), openssl, "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", "testdata/keys/unsupported_pbes1_sha1_3des.pem",
		"-passin", "pass:"+passphrase, "-passout", "pass:"+passphrase).Output()
	if err != nil {
		t.Fatal(err)
	}
	key, err := flowcrypto.ReadPrivateKey(out, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	if !key.Equal(businessKey(t)) {
		t.Error("the converted key is another key")
	}
}

func FuzzReadPrivateKey(f *testing.F) {
	for _, file := range []string{"rsa_pkcs8_plain.pem", "rsa_pkcs1_dek_3des.pem", "rsa_pkcs8_pbes2_aes256_sha1.pem", "rsa_public.pem"} {
		f.Add(keyFile(f, file), []byte(passphrase))
	}
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----"), []byte("x"))
	f.Fuzz(func(t *testing.T, text, secret []byte) {
		before := bytes.Clone(text)
		key, err := flowcrypto.ReadPrivateKey(text, secret)
		if (key == nil) == (err == nil) {
			t.Fatalf("key %v and error %v", key != nil, err)
		}
		if !bytes.Equal(text, before) {
			t.Fatal("the input was modified")
		}
		if key != nil {
			if key.N.BitLen() != 2048 {
				t.Fatalf("a key of %d bits was read", key.N.BitLen())
			}
			if err := key.Validate(); err != nil {
				t.Fatal(err)
			}
			x509.MarshalPKCS1PrivateKey(key)
		}
	})
}
