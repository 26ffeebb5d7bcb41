package flowcrypto_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

func TestAKeyIsWrittenInTheFormThatIsRead(t *testing.T) {
	key := businessKey(t)
	for name, secret := range map[string]string{
		"letters":        "correct horse battery",
		"other scripts":  "пароль-密码-🔑",
		"one character":  "x",
		"a long text":    strings.Repeat("a9", 500),
		"quotes, braces": `"{env.X}' $HOME \n`,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := flowcrypto.EncryptPrivateKey(key, []byte(secret))
			if err != nil {
				t.Fatal(err)
			}
			read, err := flowcrypto.ReadPrivateKey(text, []byte(secret))
			if err != nil || !read.Equal(key) {
				t.Fatalf("read back: %v", err)
			}
			if _, err := flowcrypto.ReadPrivateKey(text, []byte(secret+"x")); err == nil || !strings.Contains(err.Error(), "does not open") {
				t.Errorf("another passphrase: %v", err)
			}
			again, err := flowcrypto.EncryptPrivateKey(key, []byte(secret))
			if err != nil || bytes.Equal(again, text) {
				t.Errorf("written twice, the texts are the same (%v): salt and vector must be new", err)
			}
			format, err := flowcrypto.Inspect(text)
			if err != nil || format.String() != "PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA256 with 600000 iterations, AES-256-CBC" || format.Weakness != "" {
				t.Errorf("its format is %q, weakness %q, %v", format, format.Weakness, err)
			}
		})
	}
}

// OpenSSL reads what we write, and finds in it what we say is in it.
func TestOpenSSLReadsAKeyWeWrote(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: install it (apt-get install openssl)")
	}
	dir := t.TempDir()
	path, pass := filepath.Join(dir, "flow.pem"), filepath.Join(dir, "flow.pass")
	text, err := flowcrypto.EncryptPrivateKey(businessKey(t), []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{path: string(text), pass: passphrase} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	public, err := exec.Command(openssl, "pkey", "-in", path, "-passin", "file:"+pass, "-pubout").CombinedOutput()
	if err != nil || !bytes.Equal(public, flowcrypto.PublicPEM(&businessKey(t).PublicKey)) {
		t.Errorf("openssl pkey: %v\n%s", err, public)
	}
	parsed, err := exec.Command(openssl, "asn1parse", "-in", path).CombinedOutput()
	for _, want := range []string{"PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", "0927C0"} { // 600 000
		if err != nil || !strings.Contains(string(parsed), want) {
			t.Errorf("openssl asn1parse has no %s (%v):\n%s", want, err, parsed)
		}
	}
	if out, err := exec.Command(openssl, "pkey", "-in", path, "-passin", "pass:wrong").CombinedOutput(); err == nil {
		t.Errorf("openssl opens it with a wrong passphrase:\n%s", out)
	}
}

func TestPassphrasesThatWouldNotBeReadBackAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ passphrase, want string }{
		"none":                   {"", "is empty"},
		"a space before it":      {" secret", "white space"},
		"a space behind it":      {"secret ", "white space"},
		"a line end behind it":   {"secret\n", "white space"},
		"two lines":              {"first\nsecond", "one line"},
		"a tab in it":            {"first\tsecond", "control character"},
		"only spaces":            {"   ", "white space"},
		"a NUL, as in UTF-16":    {"s\x00e\x00c", "control character"},
		"a space inside is fine": {"correct horse", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := flowcrypto.CheckPassphrase([]byte(c.passphrase))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, expected %q", err, c.want)
			}
			if _, err := flowcrypto.EncryptPrivateKey(businessKey(t), []byte(c.passphrase)); err == nil {
				t.Error("a key was written with it")
			}
		})
	}
}

func TestFormatsAreToldWithoutThePassphrase(t *testing.T) {
	for file, want := range map[string]struct{ format, weakness string }{
		"rsa_pkcs1_plain.pem":               {"PKCS#1, not encrypted", "has the key"},
		"rsa_pkcs8_plain.pem":               {"PKCS#8, not encrypted", "has the key"},
		"rsa_pkcs1_dek_3des.pem":            {"PKCS#1, encrypted: DEK-Info, one MD5 of the passphrase, DES-EDE3-CBC", "one MD5"},
		"rsa_pkcs1_dek_aes256.pem":          {"PKCS#1, encrypted: DEK-Info, one MD5 of the passphrase, AES-256-CBC", "one MD5"},
		"rsa_pkcs8_pbes2_3des_sha256.pem":   {"PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA256 with 2048 iterations, 3DES-CBC", "2048 iterations"},
		"rsa_pkcs8_pbes2_aes256_sha1.pem":   {"PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA1 with 2048 iterations, AES-256-CBC", "2048 iterations"},
		"rsa_pkcs8_pbes2_aes128_sha512.pem": {"PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA512 with 2048 iterations, AES-128-CBC", "2048 iterations"},
		"rsa_pkcs8_scrypt.pem":              {"PKCS#8, encrypted: PBES2, scrypt with N = 16384, r = 8, p = 1, AES-256-CBC", ""},
		"unsupported_pbes1_sha1_3des.pem":   {"PKCS#8, encrypted: PBES1 (PKCS#12, SHA-1 and 3DES)", "does not read it"},
		"unsupported_pbes2_camellia.pem":    {"PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA256 with 2048 iterations, 1.2.392.200011.61.1.1.1.2", "2048 iterations"},
	} {
		t.Run(file, func(t *testing.T) {
			format, err := flowcrypto.Inspect(keyFile(t, file))
			if err != nil || format.String() != want.format || !strings.Contains(format.Weakness, want.weakness) || (want.weakness == "") != (format.Weakness == "") {
				t.Errorf("format %q, weakness %q, %v; expected %q, %q", format, format.Weakness, err, want.format, want.weakness)
			}
		})
	}
	if _, err := flowcrypto.Inspect(keyFile(t, "rsa_public.pem")); err == nil || !strings.Contains(err.Error(), "it is a public key") {
		t.Errorf("a public key: %v", err)
	}
}

func TestPublicKeysAreReadAndJudged(t *testing.T) {
	public := &businessKey(t).PublicKey
	large, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	spki := string(flowcrypto.PublicPEM(public))
	pkcs1 := strings.NewReplacer("BEGIN PUBLIC", "BEGIN RSA PUBLIC", "END PUBLIC", "END RSA PUBLIC").Replace
	for name, c := range map[string]struct{ text, want string }{
		"as WhatsApp has it":            {spki, ""},
		"literal line ends":             {strings.ReplaceAll(spki, "\n", `\n`), ""},
		"labelled as PKCS#1, but SPKI":  {pkcs1(spki), ""},
		"a private key":                 {string(keyFile(t, "rsa_pkcs8_plain.pem")), "it is a private key"},
		"a certificate":                 {string(keyFile(t, "certificate.pem")), "of type CERTIFICATE"},
		"no PEM":                        {"hello", "no PEM"},
		"damaged":                       {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "damaged"},
		"not base64":                    {"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "not base64"},
		"of a size WhatsApp refuses":    {string(flowcrypto.PublicPEM(&large.PublicKey)), ""},
		"an enormous text":              {strings.Repeat("A", 2<<20), "at most 1048576"},
		"an elliptic curve":             {ecPublic, "another kind"},
		"an enormous block of a number": {"-----BEGIN PUBLIC KEY-----\n" + strings.Repeat("AAAA", 9000) + "\n-----END PUBLIC KEY-----", "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := flowcrypto.ReadPublicKey([]byte(c.text))
			if c.want != "" {
				if key != nil || err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("key %v, error %v; expected %q", key != nil, err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			refused := flowcrypto.CheckPublicKey(key)
			if ours := key.Equal(public); ours != (refused == nil) {
				t.Errorf("WhatsApp would refuse it: %v", refused)
			}
		})
	}
}

const ecPublic = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----`

func FuzzPublicKeysAndFormats(f *testing.F) {
	for _, file := range []string{"rsa_public.pem", "rsa_pkcs8_scrypt.pem", "rsa_pkcs1_dek_3des.pem", "unsupported_pbes1_md5_des.pem"} {
		f.Add(keyFile(f, file))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := flowcrypto.ReadPublicKey(text); key != nil {
			flowcrypto.Fingerprint(key)
		} else if err == nil {
			t.Fatal("neither key nor error")
		}
		if format, err := flowcrypto.Inspect(text); err == nil && format.Encoding == "" {
			t.Fatal("neither format nor error")
		}
	})
}
