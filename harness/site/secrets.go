package site

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// Secrets are those of one throw-away installation.
type Secrets struct {
	Dir            string // holds each under its name, as docker-compose.yml wants them
	AppSecret      string
	VerifyToken    string
	APIToken       string
	CallbackSecret string // whsec_…, as Standard Webhooks writes them
	PrivateKey     *rsa.PrivateKey
}

// The files of a directory of secrets.
const (
	fileAppSecret      = "app_secret"
	fileVerifyToken    = "verify_token"
	filePrivateKey     = "flow.pem"
	filePublicKey      = "flow.pub"
	filePassphrase     = "flow.pass"
	fileDBPassword     = "db_password"
	fileAPIToken       = "api_token"
	fileCallbackSecret = "callback_secret"
)

// WriteSecrets makes a set of throw-away secrets in dir. It never replaces a
// file: those in a directory of secrets may be the real ones.
func WriteSecrets(dir string) (Secrets, error) {
	s := Secrets{Dir: dir}
	// Only the owner may enter the directory; the files are readable because
	// containers see them as other users.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return s, err
	}
	s.PrivateKey = key
	random := make([]byte, 32)
	rand.Read(random)
	s.AppSecret = hex.EncodeToString(random[:16]) // Meta's app secrets are 32 hex digits
	s.VerifyToken = rand.Text()
	s.APIToken = rand.Text()
	s.CallbackSecret = "whsec_" + base64.StdEncoding.EncodeToString(random)
	passphrase := rand.Text()
	block, err := encryptedKey(key, passphrase)
	if err != nil {
		return s, err
	}
	files := map[string]string{
		fileAppSecret:      s.AppSecret,
		fileVerifyToken:    s.VerifyToken,
		fileAPIToken:       s.APIToken,
		fileCallbackSecret: s.CallbackSecret,
		fileDBPassword:     rand.Text(),
		filePassphrase:     passphrase,
		filePrivateKey:     string(pem.EncodeToMemory(block)),
		filePublicKey:      string(flowcrypto.PublicPEM(&key.PublicKey)),
	}
	for name := range files {
		if _, err := os.Lstat(s.path(name)); err == nil {
			return s, fmt.Errorf("%s is there already, and no secret is replaced: use what is there, or, if these are throw-away ones, delete the folder (rm -r %s) and run this again", s.path(name), dir)
		}
	}
	for name, content := range files {
		if err := writeNew(s.path(name), content); err != nil {
			return s, err
		}
	}
	return s, nil
}

// encryptedKey has the form that Meta's own key generator writes: PKCS#1 with a
// DEK-Info header.
func encryptedKey(key *rsa.PrivateKey, passphrase string) (*pem.Block, error) {
	//lint:ignore SA1019 the form is weak, but operators hold it, and this key is thrown away
	return x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte(passphrase), x509.PEMCipherAES256)
}

func writeNew(path, content string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

func (s Secrets) path(name string) string { return filepath.Join(s.Dir, name) }

// EdgeEnv is the part of the edge's environment that names the secrets.
func (s Secrets) EdgeEnv() []string {
	return []string{
		"META_APP_SECRET_FILE=" + s.path(fileAppSecret),
		"META_VERIFY_TOKEN_FILE=" + s.path(fileVerifyToken),
		"PRIVATE_KEY_FILE=" + s.path(filePrivateKey),
		"PASSPHRASE_FILE=" + s.path(filePassphrase),
	}
}

// WorkerEnv is the part of the worker's environment that names the secrets.
func (s Secrets) WorkerEnv() []string {
	return []string{
		"API_TOKEN_FILE=" + s.path(fileAPIToken),
		"CALLBACK_SECRET_FILE=" + s.path(fileCallbackSecret),
	}
}
