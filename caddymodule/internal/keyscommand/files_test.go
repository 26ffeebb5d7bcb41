package keyscommand

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

const keyFiles = "../../../shared/flowcrypto/testdata/keys/"

func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: install it (apt-get install openssl)")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).Output()
	if err != nil {
		t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// fingerprintByOpenSSL is what docs tell operators to compare with.
func fingerprintByOpenSSL(t *testing.T, file, passphrase string) string {
	t.Helper()
	sum := sha256.Sum256(openssl(t, "pkey", "-in", file, "-passin", "pass:"+passphrase, "-pubout", "-outform", "DER"))
	return hex.EncodeToString(sum[:])
}

func TestAKeyIsMadeThatOpenSSLReads(t *testing.T) {
	d := newDesk(t)
	pass := d.write("flow.pass", testPassphrase+"\n")
	out := d.must("create", d.path("flow.pem"), "--passphrase-file", pass)
	want := "public key   " + d.path("flow.pub") + "\nfingerprint  " + fingerprintByOpenSSL(t, d.path("flow.pem"), testPassphrase) + "\n"
	if out != want {
		t.Errorf("it prints\n%s\nexpected\n%s", out, want)
	}
	if info, err := os.Stat(d.path("flow.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	if by := string(openssl(t, "pkey", "-in", d.path("flow.pem"), "-passin", "file:"+pass, "-pubout")); by != d.read("flow.pub") {
		t.Errorf("the public key is\n%s\nby openssl\n%s", d.read("flow.pub"), by)
	}
	if first, _, _ := strings.Cut(d.read("flow.pem"), "\n"); first != "-----BEGIN ENCRYPTED PRIVATE KEY-----" {
		t.Errorf("the key begins %q", first)
	}

	before := d.read("flow.pem")
	d.refused([]string{"flow.pem is there already and is left as it is"}, "create", d.path("flow.pem"), "--passphrase-file", pass)
	d.refused([]string{"flow.pem is there already and is left as it is"}, "create", d.path("flow.pem"), "--passphrase-file", pass, "--public", d.path("other.pub"))
	d.refused([]string{"flow.pub is there already and is left as it is"}, "create", d.path("next.pem"), "--passphrase-file", pass, "--public", d.path("flow.pub"))
	if d.read("flow.pem") != before {
		t.Error("the key was written over")
	}
	if _, err := os.Stat(d.path("other.pub")); err == nil {
		t.Error("a public key without its private one is left lying")
	}
}

func TestPassphrasesComeFromTerminalFileOrInput(t *testing.T) {
	for name, c := range map[string]struct {
		typed []string
		input string
		args  []string
		want  string // of the error
	}{
		"typed twice":               {typed: []string{testPassphrase, testPassphrase}},
		"by standard input":         {input: testPassphrase + "\r\n"},
		"by -":                      {typed: []string{"not asked"}, input: testPassphrase, args: []string{"--passphrase-file", "-"}},
		"typed once, then another":  {typed: []string{testPassphrase, testPassphrase + "x"}, want: "the two passphrases differ"},
		"the terminal is closed":    {typed: []string{}, want: "reading the passphrase from the terminal"},
		"nothing":                   {input: "", want: "the passphrase is empty"},
		"an empty line":             {input: "\n", want: "the passphrase is empty"},
		"a short one":               {input: "eleven_char", want: "has 11 characters, expected at least 12"},
		"a space behind":            {input: testPassphrase + " \n", want: "white space"},
		"that of an example":        {input: "your_passphrase_here", want: "placeholder of an example"},
		"a file that is not there":  {args: []string{"--passphrase-file", "/not/there"}, want: "passphrase: open /not/there"},
		"two ways at once":          {args: []string{"--passphrase-file", "-", "--draw-passphrase", "x"}, want: "expected one of them"},
		"a directory and a file":    {args: []string{"--dir", "x"}, want: "but not both"},
		"an unknown flag, mistyped": {args: []string{"--passphrase-fille", "x"}, want: "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.typed, d.quick = c.typed, true
			out, err := d.run(c.input, append([]string{"create", d.path("k.pem")}, c.args...)...)
			if c.want == "" {
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				fingerprintByOpenSSL(t, d.path("k.pem"), testPassphrase)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
			if left, _ := os.ReadDir(d.dir); len(left) != 0 {
				t.Errorf("something was written: %v", left)
			}
		})
	}
}

func TestADrawnPassphraseStandsInItsFileOnly(t *testing.T) {
	d := newDesk(t)
	d.quick = true
	out := d.must("create", d.path("flow.pem"), "--draw-passphrase", d.path("flow.pass"))
	passphrase := d.read("flow.pass")
	if len(passphrase) < 20 || strings.Contains(out, passphrase) {
		t.Errorf("%d characters were drawn; printed: %s", len(passphrase), out)
	}
	if info, err := os.Stat(d.path("flow.pass")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file: %v, %v", info, err)
	}
	fingerprintByOpenSSL(t, d.path("flow.pem"), passphrase)
}

// What show says of every form is what openssl reads in it.
func TestEveryFormIsShownAsOpenSSLReadsIt(t *testing.T) {
	d := newDesk(t)
	pass := d.write("pass", "test-pass")
	for file, want := range map[string][]string{
		"rsa_pkcs1_plain.pem":               {"PKCS#1, not encrypted", "weak"},
		"rsa_pkcs8_plain.pem":               {"PKCS#8, not encrypted", "weak"},
		"rsa_pkcs1_dek_3des.pem":            {"DEK-Info", "DES-EDE3-CBC", "weak"},
		"rsa_pkcs1_dek_aes128.pem":          {"DEK-Info", "AES-128-CBC"},
		"rsa_pkcs1_dek_aes256.pem":          {"DEK-Info", "AES-256-CBC"},
		"rsa_pkcs8_pbes2_3des_sha256.pem":   {"PBKDF2-HMAC-SHA256", "3DES-CBC"},
		"rsa_pkcs8_pbes2_aes256_sha1.pem":   {"PBKDF2-HMAC-SHA1", "AES-256-CBC"},
		"rsa_pkcs8_pbes2_aes256_sha256.pem": {"PBKDF2-HMAC-SHA256", "AES-256-CBC"},
		"rsa_pkcs8_pbes2_aes192_sha256.pem": {"PBKDF2-HMAC-SHA256", "AES-192-CBC"},
		"rsa_pkcs8_pbes2_aes128_sha224.pem": {"PBKDF2-HMAC-SHA224", "AES-128-CBC"},
		"rsa_pkcs8_pbes2_aes128_sha384.pem": {"PBKDF2-HMAC-SHA384", "AES-128-CBC"},
		"rsa_pkcs8_pbes2_aes128_sha512.pem": {"PBKDF2-HMAC-SHA512", "AES-128-CBC"},
		"rsa_pkcs8_scrypt.pem":              {"scrypt with N = 16384"},
	} {
		t.Run(file, func(t *testing.T) {
			out := d.must("show", keyFiles+file, "--passphrase-file", pass, "--public", keyFiles+"rsa_public.pem")
			want = append(want, "RSA, 2048 bits", fingerprintByOpenSSL(t, keyFiles+file, "test-pass"), "pairs        yes")
			for _, part := range want {
				if !strings.Contains(out, part) {
					t.Errorf("it says\n%s\nexpected %q", out, part)
				}
			}
		})
	}
}

func TestWhatWhatsAppRefusesIsSaid(t *testing.T) {
	d := newDesk(t)
	pass := d.write("pass", "test-pass")
	wrong := d.write("wrong", "not the passphrase")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	otherPublic := d.write("other.pub", string(flowcrypto.PublicPEM(&other.PublicKey)))
	for name, c := range map[string]struct {
		file, pass, public string
		want               []string
	}{
		"4096 bits":                        {"rsa_4096.pem", pass, "", []string{"RSA, 4096 bits", "WhatsApp takes 2048 only"}},
		"1024 bits":                        {"rsa_1024.pem", pass, "", []string{"RSA, 1024 bits", "WhatsApp takes 2048 only"}},
		"an elliptic curve":                {"ec_pkcs8.pem", pass, "", []string{"EC (elliptic curve) key"}},
		"RSA-PSS":                          {"rsa_pss.pem", pass, "", []string{"algorithm 1.2.840.113549.1.1.10"}},
		"PBES1":                            {"unsupported_pbes1_sha1_3des.pem", pass, "", []string{"PBES1", "openssl pkcs8 -topk8"}},
		"Camellia":                         {"unsupported_pbes2_camellia.pem", pass, "", []string{"1.2.392.200011.61.1.1.1.2"}},
		"a certificate":                    {"certificate.pem", pass, "", []string{"it is a certificate"}},
		"a wrong passphrase":               {"rsa_pkcs8_pbes2_aes256_sha256.pem", wrong, "", []string{"does not open this private key"}},
		"another's public key":             {"rsa_pkcs8_plain.pem", pass, otherPublic, []string{"pairs        no", flowcrypto.Fingerprint(&other.PublicKey)}},
		"a private key as the public one":  {"rsa_pkcs8_plain.pem", pass, keyFiles + "rsa_pkcs8_plain.pem", []string{"it is a private key, expected the public key"}},
		"a file that is not there":         {"nothing.pem", pass, "", []string{"no such file"}},
		"a public key of a certificate's?": {"rsa_pkcs8_plain.pem", pass, keyFiles + "certificate.pem", []string{"of type CERTIFICATE"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"show", keyFiles + c.file, "--passphrase-file", c.pass}
			if c.public != "" {
				args = append(args, "--public", c.public)
			}
			d.refused(c.want, args...)
		})
	}
	if out := d.must("show", keyFiles+"rsa_public.pem"); !strings.Contains(out, "public key, SPKI") || !strings.Contains(out, "takes it") {
		t.Errorf("a public key: %s", out)
	}
}

func TestAKeyIsConvertedAndItsFileLeftAlone(t *testing.T) {
	fingerprint := fingerprintByOpenSSL(t, keyFiles+"rsa_pkcs8_plain.pem", "")
	for name, c := range map[string]struct {
		file       string
		passphrase string // of the result; "" is a drawn one
		args       []string
	}{
		"Meta's old form keeps its passphrase": {"rsa_pkcs1_dek_3des.pem", "test-pass", []string{"--passphrase-file", "PASS"}},
		"a plain one gets a passphrase":        {"rsa_pkcs1_plain.pem", testPassphrase, []string{"--new-passphrase-file", "NEW"}},
		"a new passphrase":                     {"rsa_pkcs8_scrypt.pem", testPassphrase, []string{"--passphrase-file", "PASS", "--new-passphrase-file", "NEW"}},
		"a drawn passphrase":                   {"rsa_pkcs8_plain.pem", "", []string{"--draw-passphrase", "DRAWN"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.quick = c.file != "rsa_pkcs1_dek_3des.pem" // one shows the real form
			replace := strings.NewReplacer("PASS", d.write("pass", "test-pass"), "NEW", d.write("new", testPassphrase), "DRAWN", d.path("drawn"))
			before, err := os.ReadFile(keyFiles + c.file)
			if err != nil {
				t.Fatal(err)
			}
			source := d.write("source.pem", string(before))
			args := []string{"convert", source, d.path("flow.pem")}
			for _, arg := range c.args {
				args = append(args, replace.Replace(arg))
			}
			out := d.must(args...)
			if c.passphrase == "" {
				c.passphrase = d.read("drawn")
			}
			if got := fingerprintByOpenSSL(t, d.path("flow.pem"), c.passphrase); got != fingerprint || !strings.Contains(out, fingerprint) {
				t.Errorf("fingerprint %s, expected %s; it says\n%s", got, fingerprint, out)
			}
			if d.read("source.pem") != string(before) {
				t.Error("the source was changed")
			}
			d.refused([]string{"left as it is"}, args...)
		})
	}
	t.Run("from a variable, by standard input", func(t *testing.T) {
		d := newDesk(t)
		d.quick = true
		text, err := os.ReadFile(keyFiles + "rsa_pkcs8_plain.pem")
		if err != nil {
			t.Fatal(err)
		}
		flat := strings.ReplaceAll(string(text), "\n", `\n`)
		if out, err := d.run(flat, "convert", "-", d.path("flow.pem"), "--new-passphrase-file", d.write("new", testPassphrase)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := fingerprintByOpenSSL(t, d.path("flow.pem"), testPassphrase); got != fingerprint {
			t.Errorf("fingerprint %s, expected %s", got, fingerprint)
		}
		encrypted, err := os.ReadFile(keyFiles + "rsa_pkcs8_scrypt.pem")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.run(string(encrypted), "convert", "-", d.path("other.pem")); err == nil || !strings.Contains(err.Error(), "give its passphrase by --passphrase-file") {
			t.Errorf("an encrypted key without a passphrase: %v", err)
		}
	})
}
