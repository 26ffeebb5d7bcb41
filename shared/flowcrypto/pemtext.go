package flowcrypto

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	typePKCS1          = "RSA PRIVATE KEY"
	typePKCS8          = "PRIVATE KEY"
	typeEncryptedPKCS8 = "ENCRYPTED PRIVATE KEY"

	// maxPEM bounds the text in bytes: a key with its certificate chain and
	// comments is far below.
	maxPEM = 1 << 20

	// convert rewrites a key that we do not read into one that we do.
	convert = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out private.pem"
)

// A PEM that went through an environment variable may have lost its line ends,
// so encoding/pem, which insists on them, cannot find it.
var (
	blockText = regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END ([A-Z0-9 ]+)-----`)
	beginLine = regexp.MustCompile(`-----BEGIN ([A-Z0-9 ]+)-----`)
	dekInfo   = regexp.MustCompile(`^\s*Proc-Type:\s*4,\s*ENCRYPTED\s+DEK-Info:\s*([A-Za-z0-9-]+,[0-9A-Fa-f]+)\s`)
)

// findKey returns the first private key that we can read in text, else an error
// about the first block of another kind.
func findKey(text []byte) (*pem.Block, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("the text is %d bytes, expected a PEM of at most %d", len(text), maxPEM)
	}
	text = clean(text)
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		inner, err := unwrapBase64(text)
		if err != nil {
			return nil, err
		}
		text = clean(inner)
	}

	var other error
	for _, match := range blockText.FindAllSubmatch(text, -1) {
		kind, body := string(match[1]), match[2]
		if end := string(match[3]); end != kind {
			return nil, fmt.Errorf("BEGIN %s is followed by END %s: copy the file again from where it was made", clip(kind), clip(end))
		}
		switch kind {
		case typePKCS1, typePKCS8, typeEncryptedPKCS8:
			return parseBlock(kind, body)
		}
		// A key may come with its certificate or "EC PARAMETERS" before it.
		if refusal := refuse(kind); other == nil || kind != "EC PARAMETERS" {
			other = refusal
		}
	}
	if other != nil {
		return nil, other
	}
	if begin := beginLine.FindSubmatch(text); begin != nil {
		return nil, fmt.Errorf("BEGIN %s has no END: the text is cut off; a variable of several lines often keeps only the first, so name a file instead", clip(string(begin[1])))
	}
	return nil, errNoPEM
}

var errNoPEM = errors.New("there is no PEM in it, expected -----BEGIN RSA PRIVATE KEY-----, PRIVATE KEY or ENCRYPTED PRIVATE KEY")

// clean undoes what shells, .env files and secret stores do to a text of
// several lines.
func clean(text []byte) []byte {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	text = bytes.TrimSpace(text)
	for len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		text = bytes.TrimSpace(text[1 : len(text)-1])
	}
	text = bytes.ReplaceAll(text, []byte(`\r`), nil)
	text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
}

// unwrapBase64 decodes text that is, as a whole, base64 of a PEM.
func unwrapBase64(text []byte) ([]byte, error) {
	if len(text) == 0 {
		return nil, errors.New("it is empty, expected a PEM")
	}
	if len(text) > 1 && text[0] == 0x30 && text[1] >= 0x80 { // a SEQUENCE with a long length
		return nil, errDER
	}
	compact := strings.TrimRight(strings.Join(strings.Fields(string(text)), ""), "=")
	inner, err := base64.RawStdEncoding.DecodeString(compact)
	if err != nil {
		inner, err = base64.RawURLEncoding.DecodeString(compact)
	}
	switch {
	case err != nil:
		return nil, errNoPEM
	case bytes.Contains(inner, []byte("-----BEGIN")):
		return inner, nil
	case len(inner) > 0 && inner[0] == 0x30:
		return nil, errDER
	default:
		return nil, errNoPEM
	}
}

var errDER = errors.New("it is DER (binary), expected PEM: convert it with `openssl pkey -inform DER -in key.der -out private.pem`")

func parseBlock(kind string, body []byte) (*pem.Block, error) {
	block := &pem.Block{Type: kind, Headers: map[string]string{}}
	if header := dekInfo.FindSubmatch(body); header != nil {
		block.Headers["Proc-Type"] = "4,ENCRYPTED"
		block.Headers["DEK-Info"] = string(header[1])
		body = body[len(header[0]):]
		if kind != typePKCS1 {
			return nil, fmt.Errorf("%s has a DEK-Info header, which belongs to %s only", kind, typePKCS1)
		}
	} else if bytes.Contains(body, []byte(":")) {
		return nil, fmt.Errorf("the headers of %s are malformed, expected none, or Proc-Type: 4,ENCRYPTED and DEK-Info", kind)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), ""))
	if err != nil {
		return nil, fmt.Errorf("what is between BEGIN and END %s is not base64: copy the file again from where it was made", kind)
	}
	block.Bytes = der
	return block, nil
}

// refuse names a PEM block that is no private key for a Flow endpoint.
func refuse(kind string) error {
	switch kind {
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return errors.New("it is a public key, expected the private key that belongs to it; the public one is what you upload to Meta")
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return errors.New("it is a certificate, expected a private key; the key of a Flow endpoint has nothing to do with the site's TLS certificate")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return errors.New("it is a certificate request, expected a private key")
	case "EC PRIVATE KEY", "EC PARAMETERS":
		return errEllipticCurve
	case "OPENSSH PRIVATE KEY":
		return errors.New("it is a private key in OpenSSH's own format, expected PEM: if it is an RSA key of 2048 bits, convert a copy with `ssh-keygen -p -m PEM -f copy`")
	default:
		return fmt.Errorf("it is a PEM block of type %s, expected %s, %s or %s", clip(kind), typePKCS1, typePKCS8, typeEncryptedPKCS8)
	}
}

// clip bounds what an error repeats of the input.
func clip(s string) string {
	const limit = 60
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
